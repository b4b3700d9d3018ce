//! Against a control plane whose TLS, HTTP/2 and gRPC are real.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tunnel_control::scripted::{NAME, ScriptedAuthority, ScriptedCall, ScriptedServer};
use tunnel_control::{Connector, ServerSettings};
use tunnel_telemetry::{Telemetry, TelemetrySettings};

use super::{ResourceType, policy, removal, response, spoiled, workload};
use crate::MeshStore;
use crate::xds::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::xds::{Link, NodeFacts, XdsClient, XdsParts, XdsStatus};

use ResourceType::{Address, Authorization};

struct Rig {
    server: ScriptedServer,
    files: TempDir,
    store: Arc<MeshStore>,
    status: watch::Receiver<XdsStatus>,
    telemetry: Telemetry,
    client: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.client.abort();
    }
}

impl Rig {
    async fn start() -> Self {
        Self::with(|_settings| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut ServerSettings)) -> Self {
        let authority = ScriptedAuthority::new();
        let server = ScriptedServer::start(&authority, NAME).await;
        let files = tempfile::tempdir().unwrap();
        authority.write_root(&files.path().join("root.pem"));
        std::fs::write(files.path().join("token"), "first").unwrap();
        let mut settings = ServerSettings {
            server_name: NAME.to_owned(),
            root_cert_file: files.path().join("root.pem"),
            token_file: files.path().join("token"),
            ..ServerSettings::new("127.0.0.1", server.address().port())
        };
        adjust(&mut settings);
        let store = Arc::new(MeshStore::new());
        let sink = Box::new(std::io::sink());
        let (telemetry, _guard) = Telemetry::with_sink(TelemetrySettings::default(), sink).unwrap();
        let client = XdsClient::new(XdsParts {
            connector: Connector::new(settings),
            facts: NodeFacts::default(),
            store: Arc::clone(&store),
            telemetry: telemetry.clone(),
        });
        Self {
            server,
            files,
            store,
            status: client.status(),
            telemetry,
            client: tokio::spawn(client.run()),
        }
    }

    /// The next stream of the client, with its two subscriptions.
    async fn stream(&mut self) -> (ScriptedCall, [DeltaDiscoveryRequest; 2]) {
        let mut call = self.server.call().await;
        let requests = [call.message().await.unwrap(), call.message().await.unwrap()];
        (call, requests)
    }

    /// A stream on which everything has been told: one workload, no policy.
    async fn told(&mut self) -> ScriptedCall {
        let (mut call, _requests) = self.stream().await;
        let one = response(Address, "1", vec![workload("a", "1", 1)]);
        assert!(accepted(&mut call, one).await);
        assert!(accepted(&mut call, response(Authorization, "2", vec![])).await);
        call
    }

    fn workloads(&self) -> Vec<String> {
        let snapshot = self.store.reader().load();
        snapshot.workloads().map(|w| w.uid.to_string()).collect()
    }

    async fn until(&mut self, what: impl FnMut(&XdsStatus) -> bool) -> XdsStatus {
        self.status.wait_for(what).await.unwrap().clone()
    }
}

/// Sends a response and reads what the client says to it.
async fn reply(call: &mut ScriptedCall, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    let nonce = response.nonce.clone();
    call.send(&response);
    let reply: DeltaDiscoveryRequest = call.message().await.unwrap();
    assert_eq!(reply.response_nonce, nonce);
    assert_eq!(reply.type_url, response.type_url);
    reply
}

async fn accepted(call: &mut ScriptedCall, response: DeltaDiscoveryResponse) -> bool {
    reply(call, response).await.error_detail.is_none()
}

#[tokio::test]
async fn nothing_is_published_before_everything_is_told() {
    let mut rig = Rig::start().await;
    let (mut call, requests) = rig.stream().await;
    assert_eq!(
        requests.map(|request| request.type_url),
        ResourceType::ALL.map(|kind| kind.url().to_owned())
    );
    assert!(
        call.path()
            .ends_with("AggregatedDiscoveryService/DeltaAggregatedResources")
    );
    assert_eq!(call.header("authorization"), "Bearer first");

    let one = response(Address, "1", vec![workload("a", "1", 1)]);
    assert!(accepted(&mut call, one).await);
    assert_eq!(rig.store.reader().load().version(), 0);
    assert_eq!(rig.status.borrow().complete_since, None);
    assert!(
        accepted(
            &mut call,
            response(Authorization, "2", vec![policy("p", 1)])
        )
        .await
    );
    assert_eq!(rig.workloads(), ["a"]);
    assert_eq!(rig.store.reader().load().policies().count(), 1);

    let status = rig.until(|status| status.complete_since.is_some()).await;
    assert_eq!((status.link, status.last_nack), (Link::Connected, None));
    let addresses = &status.types[Address as usize];
    assert_eq!((addresses.resources, addresses.responses), (1, 1));
    assert_eq!(addresses.version, "v-1");
}

#[tokio::test]
async fn changes_are_published_as_they_come() {
    let mut rig = Rig::start().await;
    let mut call = rig.told().await;
    let more = response(
        Address,
        "3",
        vec![workload("b", "1", 2), workload("c", "1", 3)],
    );
    assert!(accepted(&mut call, more).await);
    assert_eq!(rig.workloads(), ["a", "b", "c"]);
    assert!(accepted(&mut call, removal(Address, "4", &["a", "c"])).await);
    assert_eq!(rig.workloads(), ["b"]);
    let text = rig.telemetry.encode_metrics();
    for line in [
        "istio_xds_message_total{url=\"type.googleapis.com/istio.workload.Address\"} 3",
        "ambient_xds_resources{url=\"type.googleapis.com/istio.workload.Address\"} 1",
        "ambient_xds_connected 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_bad_resource_is_rejected_and_the_good_ones_beside_it_are_taken() {
    let mut rig = Rig::start().await;
    let mut call = rig.told().await;
    let mixed = response(
        Address,
        "3",
        vec![workload("b", "1", 2), spoiled(workload("a", "2", 3))],
    );
    let detail = reply(&mut call, mixed).await.error_detail.unwrap();
    assert!(
        detail.message.starts_with("a: it cannot be decoded"),
        "{}",
        detail.message
    );
    assert_eq!(rig.workloads(), ["a", "b"]);
    let nack = rig.status.borrow().last_nack.clone().unwrap();
    assert_eq!((nack.kind, nack.rejected), (Address, 1));
    assert!(nack.why.starts_with("a: "), "{}", nack.why);

    let mut foreign = response(Address, "4", vec![]);
    foreign.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    assert!(!accepted(&mut call, foreign).await);
    // And it goes on.
    assert!(
        accepted(
            &mut call,
            response(Address, "5", vec![workload("a", "3", 4)])
        )
        .await
    );
    let ip = "10.0.0.4".parse().unwrap();
    assert!(rig.store.reader().load().workload_by_ip("", ip).is_some());
}

#[tokio::test]
async fn after_an_interruption_only_the_rest_is_asked_for() {
    let mut rig = Rig::start().await;
    let _call = rig.told().await;
    rig.server.cut();
    let (mut call, requests) = rig.stream().await;
    let versions = &requests[Address as usize].initial_resource_versions;
    assert_eq!(versions.len(), 1);
    assert_eq!(versions["a"], "1");
    assert!(
        requests[Authorization as usize]
            .initial_resource_versions
            .is_empty()
    );
    assert_eq!(rig.workloads(), ["a"], "what was known stays in force");
    let status = rig.until(|status| status.link == Link::Connected).await;
    assert!(status.last_failure.is_some());

    let rest = DeltaDiscoveryResponse {
        removed_resources: vec!["a".to_owned()],
        ..response(Address, "1", vec![workload("b", "1", 2)])
    };
    assert!(accepted(&mut call, rest).await);
    assert_eq!(rig.workloads(), ["b"]);
}

#[tokio::test]
async fn an_end_a_refusal_and_rubbish_are_told_and_tried_again() {
    let mut rig = Rig::start().await;
    let call = rig.told().await;
    call.end(0, "");
    rig.until(|status| failure(status).contains("ended the stream"))
        .await;
    let (call, _requests) = rig.stream().await;
    call.end(16, "bad token");
    let status = rig
        .until(|status| failure(status).contains("bad token"))
        .await;
    assert!(
        failure(&status).contains("UNAUTHENTICATED"),
        "{}",
        failure(&status)
    );
    let (mut call, _requests) = rig.stream().await;
    call.send_message(&[0xff, 0xff]);
    rig.until(|status| failure(status).contains("INTERNAL"))
        .await;
    let (mut call, _requests) = rig.stream().await;
    assert_eq!(rig.workloads(), ["a"], "what was known stays in force");
    assert!(
        accepted(
            &mut call,
            response(Address, "1", vec![workload("b", "1", 2)])
        )
        .await
    );
    assert_eq!(rig.workloads(), ["a", "b"]);
    let text = rig.telemetry.encode_metrics();
    for line in [
        "istio_xds_connection_terminations_total{reason=\"Complete\"} 1",
        "istio_xds_connection_terminations_total{reason=\"Error\"} 2",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

fn failure(status: &XdsStatus) -> &str {
    status.last_failure.as_deref().unwrap_or_default()
}

/// What came just before the end is not lost.
#[tokio::test]
async fn the_last_words_before_an_end_count() {
    let mut rig = Rig::start().await;
    let mut call = rig.told().await;
    call.send(&response(Address, "3", vec![workload("b", "1", 2)]));
    call.end(0, "");
    let (_call, requests) = rig.stream().await;
    assert_eq!(requests[0].initial_resource_versions.len(), 2);
    assert_eq!(rig.workloads(), ["a", "b"]);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let mut rig = Rig::with(|settings| {
        settings.keep_alive_interval = Duration::from_millis(100);
        settings.keep_alive_timeout = Duration::from_millis(100);
    })
    .await;
    let _call = rig.told().await;
    rig.server.freeze();
    let status = rig.until(|status| status.last_failure.is_some()).await;
    assert!(
        failure(&status).contains("no sign of life"),
        "{}",
        failure(&status)
    );
    assert_eq!(rig.workloads(), ["a"], "what was known stays in force");
}

#[tokio::test]
async fn roots_and_token_are_those_of_the_moment() {
    let mut rig = Rig::start().await;
    let _call = rig.told().await;
    std::fs::write(rig.files.path().join("token"), "second").unwrap();
    let rotated = ScriptedAuthority::new();
    let other = ScriptedServer::start(&rotated, NAME).await;
    let old = std::mem::replace(&mut rig.server, other);
    // The new server takes the old one's place.
    let at = old.stop().await;
    rig.server = ScriptedServer::start_at(&rotated, NAME, at).await;
    rig.until(|status| failure(status).contains("not signed by a root"))
        .await;
    assert_eq!(rig.workloads(), ["a"], "what was known stays in force");
    rotated.write_root(&rig.files.path().join("root.pem"));
    let (call, _requests) = rig.stream().await;
    assert_eq!(call.header("authorization"), "Bearer second");

    std::fs::remove_file(rig.files.path().join("token")).unwrap();
    drop(call);
    rig.until(|status| failure(status).contains("tokenFile"))
        .await;
}
