//! Peers that do not speak the protocol, or another version of it.

use cni_plugin_handoff::{HEADER_LENGTH, Reply, Request, SPOKEN, Side, encode};
use tokio::time::timeout;

use super::bench::{Bench, PATIENCE, add_request};

async fn answer(bench: &Bench, bytes: &[u8]) -> Option<Reply> {
    let mut plugin = bench.connect().await;
    plugin.send(bytes, None).await;
    timeout(PATIENCE, plugin.try_hear()).await.unwrap()
}

#[tokio::test]
async fn rubbish_is_answered_with_a_reason() {
    let bench = Bench::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        b"AMBT\0\x01\0\0\xff\xff\xff\xff",
    ] {
        let reply = answer(&bench, bytes).await;
        assert!(matches!(&reply, Some(Reply::Failed(_))), "{reply:?}");
    }
    let not_a_request = encode(SPOKEN.max, &serde_json::json!({"dance": 1})).unwrap();
    let reply = answer(&bench, &not_a_request).await;
    assert!(matches!(&reply, Some(Reply::Failed(f)) if f.message.contains("not a request")));
    assert_eq!(
        bench.once(Request::Status, None).await,
        Reply::Ready,
        "others are served"
    );
}

#[tokio::test]
async fn another_version_is_told_whom_to_upgrade() {
    let bench = Bench::new();
    let mut newer = encode(SPOKEN.max, &Request::Status).unwrap();
    newer[4..6].copy_from_slice(&(SPOKEN.max + 1).to_be_bytes());
    match answer(&bench, &newer).await {
        Some(Reply::Upgrade(upgrade)) => assert_eq!(upgrade.which, Side::Agent),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn half_a_request_starts_nothing() {
    let bench = Bench::new();
    let netns = bench.netns("c1");
    let whole = encode(SPOKEN.max, &Request::Add(add_request("c1", "p1", &netns))).unwrap();
    for length in [
        1,
        HEADER_LENGTH - 1,
        HEADER_LENGTH,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        let mut plugin = bench.connect().await;
        plugin.send(&whole[..length], Some(&netns)).await;
    }
    assert_eq!(bench.once(Request::Status, None).await, Reply::Ready);
    assert!(bench.world.state().done.is_empty());
}

#[tokio::test]
async fn a_request_in_pieces_is_understood() {
    let bench = Bench::new();
    let netns = bench.netns("c1");
    let whole = encode(SPOKEN.max, &Request::Add(add_request("c1", "p1", &netns))).unwrap();
    let mut plugin = bench.connect().await;
    plugin.send(&whole[..5], Some(&netns)).await;
    for byte in &whole[5..] {
        plugin.send(&[*byte], None).await;
    }
    assert!(matches!(plugin.hear().await, Reply::Install { .. }));
}

#[tokio::test]
async fn a_plugin_that_speaks_out_of_turn_is_undone() {
    let bench = Bench::new();
    bench.world.state().probing = crate::world::scripted::Goes::Nowhere;
    let mut plugin = bench.installed("c1", "p1").await;
    bench
        .world
        .becomes(|state| state.done.iter().any(|done| done.starts_with("probe")))
        .await;
    plugin.send(b"hello", None).await;
    match plugin.hear().await {
        Reply::Failed(failure) => assert!(failure.message.contains("not asked of it")),
        other => panic!("{other:?}"),
    }
    bench.nothing_is_left().await;
}
