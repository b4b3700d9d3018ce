//! Against an authority whose TLS, HTTP/2 and gRPC are real.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tunnel_control::scripted::{NAME, ScriptedAuthority, ScriptedCall, ScriptedServer};
use tunnel_control::{Connector, ServerSettings};
use tunnel_model::Identity;

use super::identity;
use crate::istiod::{CertificateRequest, CertificateResponse, IstiodCa};
use crate::{CredentialSettings, Credentials};

struct Rig {
    server: ScriptedServer,
    authority: ScriptedAuthority,
    files: TempDir,
    credentials: Credentials,
    web: Identity,
}

impl Rig {
    async fn start(request_timeout: Duration) -> Self {
        let authority = ScriptedAuthority::new();
        let server = ScriptedServer::start(&authority, NAME).await;
        let files = tempfile::tempdir().unwrap();
        authority.write_root(&files.path().join("root.pem"));
        std::fs::write(files.path().join("token"), "first").unwrap();
        let connector = Connector::new(ServerSettings {
            server_name: NAME.to_owned(),
            root_cert_file: files.path().join("root.pem"),
            token_file: files.path().join("token"),
            cluster_id: "Kubernetes".to_owned(),
            ..ServerSettings::new("127.0.0.1", server.address().port())
        });
        let settings = CredentialSettings {
            ttl: Duration::from_secs(3600),
            request_timeout,
            ..CredentialSettings::default()
        };
        let (credentials, owner) = Credentials::start(settings, Arc::new(IstiodCa::new(connector)));
        tokio::spawn(owner);
        let web = identity("web");
        credentials.hold(web.clone());
        Self {
            server,
            authority,
            files,
            credentials,
            web,
        }
    }

    async fn asked(&mut self) -> (ScriptedCall, CertificateRequest) {
        let mut call = self.server.call().await;
        let request = call.message().await.unwrap();
        (call, request)
    }

    fn chain(&self, csr: &str, identity: Option<&str>) -> CertificateResponse {
        CertificateResponse {
            cert_chain: vec![
                self.authority.sign(csr, identity),
                self.authority.root_pem(),
            ],
        }
    }

    /// Waits until a request has failed with these words, sees that nothing is served, and has the
    /// next request made at once.
    async fn failed(&self, words: &str) {
        let mut revision = self.credentials.revision();
        let told = |_: &u64| {
            let error = self.credentials.last_error(&self.web);
            error.is_some_and(|error| error.contains(words))
        };
        revision.wait_for(told).await.unwrap();
        assert!(self.credentials.current(&self.web).is_none());
        self.credentials.ask_again();
    }
}

#[tokio::test]
async fn a_certificate_is_asked_for_on_behalf_of_a_workload() {
    let mut rig = Rig::start(Duration::from_secs(10)).await;
    let (call, request) = rig.asked().await;
    assert_eq!(
        call.path(),
        "/istio.v1.auth.IstioCertificateService/CreateCertificate"
    );
    assert_eq!(call.header("authorization"), "Bearer first");
    assert_eq!(call.header("clusterid"), "Kubernetes");
    assert_eq!(request.validity_duration, 3600);
    let metadata = request.metadata.unwrap();
    assert_eq!(metadata.text("ImpersonatedIdentity"), rig.web.as_str());
    call.answer(&rig.chain(&request.csr, None));
    let got = rig.credentials.certificate(&rig.web).await;
    assert_eq!(got.identity, rig.web);
}

#[tokio::test]
async fn what_goes_wrong_is_told_and_never_served() {
    let mut rig = Rig::start(Duration::from_secs(10)).await;
    let (call, _request) = rig.asked().await;
    call.end(16, "no such pod");
    rig.failed("refused: no such pod (UNAUTHENTICATED)").await;

    let (call, _request) = rig.asked().await;
    call.end(13, "out of ink");
    rig.failed("failed: out of ink (INTERNAL)").await;

    let (call, request) = rig.asked().await;
    let eve = "spiffe://cluster.local/ns/shop/sa/eve";
    call.answer(&rig.chain(&request.csr, Some(eve)));
    rig.failed(&format!("a certificate for {eve} when asked for"))
        .await;

    let (call, request) = rig.asked().await;
    let mut answer = rig.chain(&request.csr, None);
    answer.cert_chain.pop();
    call.answer(&answer);
    rig.failed("holds no certificate chain with a root").await;

    let (call, request) = rig.asked().await;
    let mut answer = rig.chain(&request.csr, None);
    answer.cert_chain[1] = ScriptedAuthority::new().root_pem();
    call.answer(&answer);
    rig.failed("does not verify").await;

    let (mut call, _request) = rig.asked().await;
    call.send_message(&[0xff]);
    rig.failed("failed: ").await;

    let (call, _request) = rig.asked().await;
    rig.server.cut();
    rig.failed("cannot be reached").await;
    drop(call);

    let (call, request) = rig.asked().await;
    call.answer(&rig.chain(&request.csr, None));
    assert_eq!(
        rig.credentials.certificate(&rig.web).await.identity,
        rig.web
    );
}

#[tokio::test]
async fn a_slow_authority_is_left_and_asked_on_a_new_connection() {
    let mut rig = Rig::start(Duration::from_millis(300)).await;
    let _unanswered = rig.asked().await;
    rig.server.freeze();
    rig.failed("300ms").await;
    // The frozen connection would not carry a second request.
    let (call, request) = rig.asked().await;
    call.answer(&rig.chain(&request.csr, None));
    assert_eq!(
        rig.credentials.certificate(&rig.web).await.identity,
        rig.web
    );
}

#[tokio::test]
async fn roots_and_token_are_those_of_the_moment() {
    let mut rig = Rig::start(Duration::from_secs(10)).await;
    let (call, _request) = rig.asked().await;
    let rotated = ScriptedAuthority::new();
    let elsewhere = ScriptedServer::start(&rotated, NAME).await;
    let at = std::mem::replace(&mut rig.server, elsewhere).stop().await;
    drop(call);
    rig.server = ScriptedServer::start_at(&rotated, NAME, at).await;
    rig.failed("").await;
    rig.failed("not signed by a root").await;
    rotated.write_root(&rig.files.path().join("root.pem"));
    std::fs::write(rig.files.path().join("token"), "second").unwrap();
    rig.authority = rotated;
    rig.credentials.ask_again();
    let (call, request) = rig.asked().await;
    assert_eq!(call.header("authorization"), "Bearer second");
    call.answer(&rig.chain(&request.csr, None));
    assert_eq!(
        rig.credentials.certificate(&rig.web).await.identity,
        rig.web
    );
}
