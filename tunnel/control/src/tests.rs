//! Against a server whose TLS and HTTP/2 are real.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::scripted::{NAME, ScriptedAuthority, ScriptedServer, babbler};
use crate::{Connection, Connector, ControlError, ServerSettings, TlsFault};

#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(string, tag = "1")]
    text: String,
}

fn words(text: &str) -> Words {
    Words {
        text: text.to_owned(),
    }
}

const ASK: &str = "/test.Service/Ask";

struct Files {
    directory: TempDir,
}

impl Files {
    fn new(authority: &ScriptedAuthority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Self { directory };
        authority.write_root(&files.root());
        std::fs::write(files.token(), "first").unwrap();
        files
    }

    fn root(&self) -> PathBuf {
        self.path().join("root.pem")
    }

    fn token(&self) -> PathBuf {
        self.path().join("token")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn settings(&self, port: u16) -> ServerSettings {
        ServerSettings {
            server_name: NAME.to_owned(),
            root_cert_file: self.root(),
            token_file: self.token(),
            cluster_id: "Kubernetes".to_owned(),
            ..ServerSettings::new("127.0.0.1", port)
        }
    }

    fn connector(&self, port: u16) -> Connector {
        Connector::new(self.settings(port))
    }
}

async fn start() -> (ScriptedServer, Files, Connector) {
    let authority = ScriptedAuthority::new();
    let server = ScriptedServer::start(&authority, NAME).await;
    let files = Files::new(&authority);
    let connector = files.connector(server.address().port());
    (server, files, connector)
}

async fn ask(connection: &Connection, text: &str) -> Result<Words, ControlError> {
    connection.ask(ASK, words(text)).await
}

#[tokio::test]
async fn questions_carry_the_token_of_the_moment_and_the_cluster() {
    let (mut server, files, connector) = start().await;
    let connection = connector.connect().await.unwrap();
    for token in ["first", "second"] {
        std::fs::write(files.token(), token).unwrap();
        let answering = async {
            let mut call = server.call().await;
            assert_eq!(call.path(), ASK);
            assert_eq!(call.header("authorization"), format!("Bearer {token}"));
            assert_eq!(call.header("clusterid"), "Kubernetes");
            let question: Words = call.message().await.unwrap();
            call.answer(&words(&format!("{}!", question.text)));
        };
        let (answer, ()) = tokio::join!(ask(&connection, "hello"), answering);
        assert_eq!(answer.unwrap().text, "hello!");
    }
    std::fs::remove_file(files.token()).unwrap();
    let error = ask(&connection, "hello").await.unwrap_err();
    assert!(matches!(error, ControlError::TokenFile { .. }), "{error}");
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_server_is_believed_by_the_roots_of_the_moment() {
    let (server, files, connector) = start().await;
    let _connection = connector.connect().await.unwrap();

    let rotated = ScriptedAuthority::new();
    let at = server.stop().await;
    let _server = ScriptedServer::start_at(&rotated, NAME, at).await;
    let error = connector.connect().await.unwrap_err();
    let untrusted = TlsFault::Untrusted {
        roots: files.root(),
    };
    assert_eq!(error, ControlError::Tls(untrusted));
    rotated.write_root(&files.root());
    let connection = connector.connect().await.unwrap();

    for (content, why) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----", "")] {
        std::fs::write(files.root(), content).unwrap();
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error, ControlError::RootFile { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    std::fs::remove_file(files.root()).unwrap();
    let error = connector.connect().await.unwrap_err();
    assert!(matches!(error, ControlError::RootFile { .. }), "{error}");
    assert!(!connection.is_closed(), "what works goes on working");
}

#[tokio::test]
async fn a_server_of_another_name_is_not_spoken_to() {
    let authority = ScriptedAuthority::new();
    let server = ScriptedServer::start(&authority, "other.example").await;
    let files = Files::new(&authority);
    let connector = files.connector(server.address().port());
    let error = connector.connect().await.unwrap_err();
    let wanted = NAME.to_owned();
    assert_eq!(error, ControlError::Tls(TlsFault::OtherName { wanted }));

    let mut settings = files.settings(server.address().port());
    settings.server_name = "not a name".to_owned();
    let error = Connector::new(settings).connect().await.unwrap_err();
    assert!(matches!(error, ControlError::ServerName(_)), "{error}");
}

#[tokio::test]
async fn what_the_server_says_is_told_apart() {
    let (mut server, _files, connector) = start().await;
    let connection = connector.connect().await.unwrap();
    for (status, kind) in [
        (16, "refused"),
        (7, "refused"),
        (14, "unavailable"),
        (12, "failed"),
    ] {
        let answering = async {
            let call = server.call().await;
            call.end(status, "told to");
        };
        let (answer, ()) = tokio::join!(ask(&connection, ""), answering);
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains("told to"), "{error}");
    }
}

#[tokio::test]
async fn a_conversation_goes_both_ways_to_its_end() {
    let (mut server, _files, connector) = start().await;
    let connection = connector.connect().await.unwrap();
    let (questions, queue) = mpsc::channel(4);
    questions.send(words("one")).await.unwrap();
    let answers = connection.converse::<Words, Words>(ASK, queue, 1 << 20);
    let mut answers = answers.await.unwrap();
    let weak = connection.downgrade();
    // The conversation outlives the handle it was opened with.
    drop(connection);
    assert!(weak.usable().is_some());
    let greeting = async {
        let mut call = server.call().await;
        let first: Words = call.message().await.unwrap();
        assert_eq!(first.text, "one");
        call.send(&words("1"));
        call
    };
    let (answer, mut call) = tokio::join!(answers.next(), greeting);
    assert_eq!(answer.unwrap().unwrap().text, "1");
    questions.send(words("two")).await.unwrap();
    let second: Words = call.message().await.unwrap();
    assert_eq!(second.text, "two");
    call.end(0, "");
    assert_eq!(answers.next().await.unwrap(), None);
    drop(answers);
    assert!(weak.usable().is_none());
}

#[tokio::test]
async fn a_conversation_can_be_refused() {
    let (mut server, _files, connector) = start().await;
    let connection = connector.connect().await.unwrap();
    let (_questions, queue) = mpsc::channel::<Words>(1);
    let answers = connection.converse::<Words, Words>(ASK, queue, 1 << 20);
    let mut answers = answers.await.unwrap();
    let refusing = async { server.call().await.end(16, "no token of mine") };
    let (answer, ()) = tokio::join!(answers.next(), refusing);
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), "refused", "{error}");
}

/// A conversation in which the server has said one thing.
async fn conversing(
    server: &mut ScriptedServer,
    connector: &Connector,
    largest: usize,
) -> (
    crate::Answers<Words>,
    crate::scripted::ScriptedCall,
    mpsc::Sender<Words>,
) {
    let connection = connector.connect().await.unwrap();
    let (questions, queue) = mpsc::channel(4);
    let answers = connection.converse::<Words, Words>(ASK, queue, largest);
    let mut answers = answers.await.unwrap();
    let greeting = async {
        let mut call = server.call().await;
        call.send(&words("1"));
        call
    };
    let (answer, call) = tokio::join!(answers.next(), greeting);
    assert_eq!(answer.unwrap().unwrap().text, "1");
    (answers, call, questions)
}

#[tokio::test]
async fn a_server_that_goes_away_is_noticed() {
    let (mut server, _files, connector) = start().await;
    let (mut answers, _call, _questions) = conversing(&mut server, &connector, 1 << 20).await;
    server.cut();
    let error = answers.next().await.unwrap_err();
    assert_eq!(error.kind(), "unavailable", "{error}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let (mut server, files, _connector) = start().await;
    let connector = Connector::new(ServerSettings {
        keep_alive_interval: Duration::from_millis(100),
        keep_alive_timeout: Duration::from_millis(100),
        ..files.settings(server.address().port())
    });
    let (mut answers, _call, _questions) = conversing(&mut server, &connector, 1 << 20).await;
    server.freeze();
    let error = answers.next().await.unwrap_err();
    assert_eq!(error.kind(), "unavailable", "{error}");
    assert!(error.to_string().contains("no sign of life"), "{error}");
}

#[tokio::test]
async fn rubbish_ends_a_conversation_and_nothing_else() {
    let (mut server, _files, connector) = start().await;
    let frames: [&'static [u8]; 3] = [
        // A message that is no protobuf, a compressed one, one that is larger than allowed.
        b"\x00\x00\x00\x00\x02\xff\xff",
        b"\x01\x00\x00\x00\x01x",
        b"\x00\x7f\xff\xff\xffx",
    ];
    for frame in frames {
        let (mut answers, mut call, _questions) = conversing(&mut server, &connector, 64).await;
        call.send_bytes(Bytes::from_static(frame));
        let error = answers.next().await.unwrap_err();
        assert_eq!(error.kind(), "failed", "{frame:?}: {error}");
    }
    let port = babbler(b"220 mail.example ESMTP\r\n").await.port();
    let settings = ServerSettings {
        port,
        ..connector.settings().clone()
    };
    let error = Connector::new(settings).connect().await.unwrap_err();
    assert!(
        matches!(error, ControlError::Tls(TlsFault::Other(_))),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_and_nobody_in_time_are_told_apart() {
    let authority = ScriptedAuthority::new();
    let files = Files::new(&authority);
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let connector = Connector::new(ServerSettings {
        connect_timeout: Duration::from_millis(50),
        ..files.settings(port)
    });
    let error = connector.connect().await.unwrap_err();
    assert!(matches!(error, ControlError::TimedOut { .. }), "{error}");
    drop(silent);
    let error = files.connector(port).connect().await.unwrap_err();
    assert!(matches!(error, ControlError::Connect { .. }), "{error}");
    // Too long to be asked for, so that no name server has to be there.
    let unknown = ServerSettings {
        host: "x".repeat(300),
        ..files.settings(port)
    };
    let error = Connector::new(unknown).connect().await.unwrap_err();
    assert!(matches!(error, ControlError::Resolve { .. }), "{error}");
}
