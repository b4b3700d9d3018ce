#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn serve(site: Site) -> SocketAddr {
    let listener = Listener::new(
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        "a test",
    )
    .unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(listener.serve(site, Box::pin(pending())));
    address
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn check(address: SocketAddr, request: &str, status: &str, body: &str) {
    let answer = ask(address, request).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{request}: {answer}"
    );
    assert!(answer.contains(body), "{request}: {answer}");
}

#[tokio::test]
async fn readiness_follows_the_pending_tasks() {
    let readiness = Readiness::default();
    let (first, again, second) = (
        readiness.task("restore"),
        readiness.task("restore"),
        readiness.task("mesh file"),
    );
    let address = serve(readiness_site(readiness.clone()));
    check(
        address,
        "GET /healthz/ready",
        "500",
        "pending: mesh file, restore",
    )
    .await;
    second.done();
    first.done();
    check(address, "GET /healthz/ready", "500", "pending: restore").await;
    drop(again);
    check(address, "GET /healthz/ready", "200", "ready").await;
    assert!(readiness.is_ready());
}

#[tokio::test]
async fn metrics_are_served_under_both_names() {
    let address = serve(metrics_site(Arc::new(|| "things_total 1\n".to_owned())));
    for path in ["/metrics", "/stats/prometheus"] {
        let answer = ask(address, &format!("GET {path}")).await;
        assert!(
            answer.contains("application/openmetrics-text") && answer.contains("things_total 1")
        );
    }
}

#[tokio::test]
async fn administration_answers_its_pages_only() {
    let quitting = Arc::new(AtomicBool::new(false));
    let level = Arc::new(Mutex::new("info".to_owned()));
    let (quit, stored) = (Arc::clone(&quitting), Arc::clone(&level));
    let address = serve(admin_site(AdminPages {
        config_dump: Arc::new(|| "{\"workloads\":[]}".to_owned()),
        logging: Arc::new(move |wanted| match wanted {
            Some("bad") => Err("no such level".to_owned()),
            Some(wanted) => {
                wanted.clone_into(&mut stored.lock().unwrap());
                Ok("changed".to_owned())
            }
            None => Ok(stored.lock().unwrap().clone()),
        }),
        explain: Arc::new(|pod| {
            let pod = pod.to_owned();
            Box::pin(async move {
                // An answer that is not there at once.
                tokio::task::yield_now().await;
                match pod.as_str() {
                    "" => Err("no pod".to_owned()),
                    pod => Ok(format!("{{\"pod\":\"{pod}\"}}")),
                }
            })
        }),
        quit: Arc::new(move || quit.store(true, Ordering::SeqCst)),
    }));
    check(address, "GET /", "200", "href=\"/config_dump\"").await;
    check(address, "GET /config_dump", "200", "workloads").await;
    check(address, "GET /nothing", "404", "no such page").await;
    check(address, "GET /explain?pod=n/a", "200", "{\"pod\":\"n/a\"}").await;
    check(address, "GET /explain", "400", "no pod").await;
    check(address, "GET /quitquitquit", "405", "not allowed").await;
    assert!(
        !quitting.load(Ordering::SeqCst),
        "reading must not stop the agent"
    );
    check(address, "POST /logging", "200", "info").await;
    check(
        address,
        "POST /logging?level=info,tunnel%3Ddebug",
        "200",
        "changed",
    )
    .await;
    assert_eq!(*level.lock().unwrap(), "info,tunnel=debug");
    check(address, "POST /logging?level=bad", "400", "no such level").await;
    check(address, "POST /quitquitquit", "200", "shutdown").await;
    assert!(quitting.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let address = serve(Site::new("test"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHos").await.unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let outcome = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut rest)).await;
    assert!(outcome.is_ok(), "still open after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_header_bomb_is_refused() {
    let address = serve(Site::new("test"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let bomb = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(64 * 1024));
    // The server may close before all of it is written.
    let _sent = stream.write_all(bomb.as_bytes()).await;
    let mut answer = Vec::new();
    let _ended = stream.read_to_end(&mut answer).await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{answer:?}"
    );
}
