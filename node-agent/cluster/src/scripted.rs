//! An API server that does what a test says: lists, watches and single objects, and every way in
//! which they fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::access::Access;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Pieces = mpsc::UnboundedSender<Result<Frame<Bytes>, io::Error>>;

/// What the API server has, and how it behaves.
#[derive(Default)]
pub(crate) struct State {
    objects: BTreeMap<String, Value>,
    /// What happened: version, path of the kind, event.
    log: Vec<(u64, &'static str, Value)>,
    version: u64,
    watches: Vec<(&'static str, Pieces)>,
    /// Requests, in order: method, path, query.
    pub(crate) asked: Vec<String>,
    /// Bodies of what was written, in order.
    pub(crate) written: Vec<(String, Value)>,
    /// Each request is answered with this status.
    pub(crate) refuses: Option<u16>,
    /// Writes are.
    pub(crate) refuses_writes: Option<u16>,
    /// Requests are heard and not answered.
    pub(crate) hangs: bool,
    /// Lists cannot be streamed.
    pub(crate) pages_only: bool,
    /// So many objects in a page.
    pub(crate) page: usize,
    /// What happened before this version is forgotten.
    pub(crate) forgot: u64,
    /// The token that is accepted, if one is asked for.
    pub(crate) token: Option<String>,
}

/// The server; clones share it.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    address: SocketAddr,
    directory: Arc<tempfile::TempDir>,
}

pub(crate) const PODS: &str = "/api/v1/pods";
pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";

impl Api {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            state: Arc::default(),
            changes: watch::Sender::new(0),
            address: listener.local_addr().unwrap(),
            directory: Arc::new(tempfile::tempdir().unwrap()),
        };
        api.state().page = 500;
        let served = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = served.clone();
                let service = service_fn(move |request| served.clone().answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        api
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until it was used as wanted; a test's own time limit ends the wait.
    pub(crate) async fn becomes(&self, wanted: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !wanted(&self.state()) {
            changes.changed().await.unwrap();
        }
    }

    /// The way to it; the token lies in a file of its own.
    pub(crate) fn access(&self) -> Access {
        let path = self.directory.path().join("kubeconfig");
        self.write_token("first");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
             users: [{{name: u, user: {{tokenFile: {}}}}}]\n",
            self.address,
            self.token_file().display()
        );
        std::fs::write(&path, text).unwrap();
        Access::Kubeconfig(path)
    }

    pub(crate) fn write_token(&self, token: &str) {
        std::fs::write(self.token_file(), token).unwrap();
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    pub(crate) fn apply(&self, kind: &'static str, object: Value) {
        self.change(|state| state.apply(kind, object));
    }

    pub(crate) fn delete(&self, kind: &'static str, namespace: &str, name: &str) {
        self.change(|state| {
            let object = state.objects.remove(&key(kind, namespace, name)).unwrap();
            state.happen("DELETED", kind, object);
        });
    }

    /// Ends all watches: whole, or in the middle of a line.
    pub(crate) fn end_watches(&self, abruptly: bool) {
        self.change(|state| {
            for (_, watch) in state.watches.drain(..) {
                if abruptly {
                    let _gone = watch.send(Ok(Frame::data(Bytes::from_static(b"{\"type\":\"ADD"))));
                    let _gone = watch.send(Err(io::Error::other("cut")));
                }
            }
        });
    }

    /// Tells all watches how far they are.
    pub(crate) fn bookmark(&self) {
        self.change(|state| {
            let mark = json!({"type": "BOOKMARK", "object": {
                "kind": "x", "apiVersion": "v1", "metadata": {"resourceVersion": state.version.to_string()}}});
            state.watches.retain(|(_, watch)| watch.send(Ok(line(&mark))).is_ok());
        });
    }

    /// Tells all watches of an error, as a watch does.
    pub(crate) fn fail_watches(&self, code: u16) {
        self.change(|state| {
            let event = json!({"type": "ERROR", "object": status(code)});
            for (_, watch) in state.watches.drain(..) {
                let _gone = watch.send(Ok(line(&event)));
            }
        });
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let bearer = parts.headers.get("authorization").cloned();
        let bearer = bearer.map(|value| value.to_str().unwrap().to_owned());
        let answer = {
            let mut state = self.state();
            state.asked.push(format!("{} {path}?{query}", parts.method));
            if state.hangs {
                None
            } else if let Some(code) = state.refusal(&parts.method, bearer.as_deref()) {
                Some(document(code, &status(code)))
            } else if parts.method == Method::GET {
                Some(state.read(path, query))
            } else {
                let written = serde_json::from_slice(&body).unwrap();
                state
                    .written
                    .push((format!("{} {path}", parts.method), written));
                Some(document(
                    200,
                    &json!({"metadata": {"name": "x"}, "spec": {}}),
                ))
            }
        };
        self.changes.send_modify(|count| *count += 1);
        match answer {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }
}

impl State {
    fn refusal(&self, method: &Method, bearer: Option<&str>) -> Option<u16> {
        let unknown = self.token.as_ref().is_some_and(|token| {
            bearer.is_none_or(|bearer| bearer.strip_prefix("Bearer ") != Some(token))
        });
        let refuses_writes = self.refuses_writes.filter(|_| method != Method::GET);
        self.refuses.or(unknown.then_some(401)).or(refuses_writes)
    }

    fn apply(&mut self, kind: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = key(kind, &text("namespace"), &text("name"));
        let before = self.objects.insert(key, object.clone());
        self.version -= 1;
        let what = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.happen(what, kind, object);
    }

    fn happen(&mut self, what: &str, kind: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let event = json!({"type": what, "object": object});
        self.log.push((self.version, kind, event.clone()));
        self.watches
            .retain(|(watched, watch)| *watched != kind || watch.send(Ok(line(&event))).is_ok());
    }

    fn read(&mut self, path: &str, query: &str) -> Response<Body> {
        let kind = match path {
            PODS => PODS,
            NAMESPACES => NAMESPACES,
            single => return self.single(single),
        };
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        if value("watch") != Some("true") {
            let from = value("continue").and_then(|text| text.parse().ok());
            let first =
                value("fieldSelector").and_then(|text| text.strip_prefix("status.podIP%3D"));
            return self.list(kind, from, first);
        }
        let from = value("resourceVersion")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        match value("sendInitialEvents") {
            Some(_) if self.pages_only => document(422, &status(422)),
            Some(_) => self.watch(kind, None),
            None if from < self.forgot => document(410, &status(410)),
            None => self.watch(kind, Some(from)),
        }
    }

    fn single(&self, path: &str) -> Response<Body> {
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        let key = match parts[..] {
            ["namespaces", name] => key(NAMESPACES, "", name),
            ["namespaces", namespace, "pods", name] => key(PODS, namespace, name),
            _ => panic!("asked for {path}"),
        };
        match self.objects.get(&key) {
            Some(object) => document(200, object),
            None => document(404, &status(404)),
        }
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        let prefix = format!("{kind} ");
        let ours = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix));
        ours.map(|(_, object)| object.clone()).collect()
    }

    /// `first`: the first address of the pods that are wanted.
    fn list(&self, kind: &str, from: Option<usize>, first: Option<&str>) -> Response<Body> {
        let (mut all, from) = (self.of(kind), from.unwrap_or(0));
        if let Some(first) = first {
            let first = first.replace("%3A", ":");
            all.retain(|object| object["status"]["podIP"] == first.as_str());
        }
        let end = (from + self.page).min(all.len());
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if end < all.len() {
            metadata["continue"] = end.to_string().into();
        }
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": all[from..end]});
        document(200, &list)
    }

    fn watch(&mut self, kind: &'static str, from: Option<u64>) -> Response<Body> {
        let (pieces, mut read) = mpsc::unbounded_channel();
        let say = |event: &Value| pieces.send(Ok(line(event))).unwrap();
        if let Some(from) = from {
            let since = self
                .log
                .iter()
                .filter(|(version, of, _)| *version > from && *of == kind);
            since.for_each(|(_, _, event)| say(event));
        } else {
            for object in self.of(kind) {
                say(&json!({"type": "ADDED", "object": object}));
            }
            say(
                &json!({"type": "BOOKMARK", "object": {"kind": "x", "apiVersion": "v1", "metadata": {
                "resourceVersion": self.version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}}}}),
            );
        }
        self.watches.push((kind, pieces));
        let body = StreamBody::new(stream::poll_fn(move |context| read.poll_recv(context)));
        Response::new(body.boxed_unsync())
    }

    /// How many watches there are.
    pub(crate) fn watched(&self) -> usize {
        self.watches
            .iter()
            .filter(|(_, watch)| !watch.is_closed())
            .count()
    }
}

fn key(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

fn line(event: &Value) -> Frame<Bytes> {
    Frame::data(Bytes::from(format!("{event}\n")))
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
           "message": format!("scripted to say {code}"), "reason": "Scripted"})
}

fn document(code: u16, document: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(document.to_string()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

/// A pod of a namespace; `mode` is its label.
pub(crate) fn pod(namespace: &str, name: &str, uid: &str, mode: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": uid,
                        "labels": {"istio.io/dataplane-mode": mode}},
           "spec": {"serviceAccountName": "sa"}, "status": {"phase": "Running"}})
}

/// A namespace; `mode` is its label.
pub(crate) fn namespace(name: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"istio.io/dataplane-mode": mode}}})
}
