//! One stream of the discovery protocol, from its first requests to its end.

use super::messages::{Request, Response};
use super::{Life, Memory, Told, lock};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;
use tunnel_control::scripted::ScriptedCall;

/// What was said on a stream.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// When it was opened.
    pub opened: Instant,
    /// When the client had said what it holds.
    pub asked: Instant,
    /// How many resources it held.
    pub known: usize,
    /// Responses.
    pub sent: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many of them were answered.
    pub answered: usize,
    /// When the last answer came.
    pub last_answer: Option<Instant>,
}

type Held = [HashMap<String, String>; 2];

pub(super) async fn serve(mut life: Life, mut call: ScriptedCall) {
    let opened = Instant::now();
    let token = call.header("authorization").to_owned();
    let mut held = Held::default();
    for _ in 0..2 {
        let Some(request) = call.message::<Request>().await else {
            return;
        };
        if let Some(kind) = request.kind() {
            held[kind] = request.initial_resource_versions;
        }
    }
    let known = held.iter().map(HashMap::len).sum();
    let number = begin(&life, token, opened, known);
    let mut sent = None;
    loop {
        let now = life.telling.borrow_and_update().clone();
        let memory = *life.remembering.borrow();
        for (kind, held) in held.iter_mut().enumerate() {
            let message = match &sent {
                None => first(kind, &now, held, memory),
                Some(before) => change(kind, before, &now).map(|response| response.encode_to_vec()),
            };
            if let Some(message) = message {
                let mut seen = lock(&life.seen);
                seen.streams[number].sent += 1;
                seen.streams[number].bytes += message.len();
                drop(seen);
                call.send_message(&message);
            }
        }
        sent = Some(now);
        if !listen(&mut life, &mut call, number).await {
            return;
        }
    }
}

fn begin(life: &Life, token: String, opened: Instant, known: usize) -> usize {
    let mut seen = lock(&life.seen);
    seen.tokens.push(token);
    seen.known.push(known);
    seen.streams.push(Stream {
        opened,
        asked: Instant::now(),
        known,
        sent: 0,
        bytes: 0,
        answered: 0,
        last_answer: None,
    });
    seen.streams.len() - 1
}

/// Hears answers until there is something to tell; not if the stream is over.
async fn listen(life: &mut Life, call: &mut ScriptedCall, number: usize) -> bool {
    loop {
        tokio::select! {
            changed = life.telling.changed() => return changed.is_ok(),
            message = call.message::<Request>() => {
                let Some(request) = message else {
                    return false;
                };
                let mut seen = lock(&life.seen);
                seen.streams[number].answered += 1;
                seen.streams[number].last_answer = Some(Instant::now());
                if let Some(why) = request.error_detail {
                    seen.rejected.push(why.message);
                }
            }
        }
    }
}

/// The first response of a type, which is never left out: all that the client lacks, and what it holds in vain.
fn first(
    kind: usize,
    now: &Told,
    held: &mut HashMap<String, String>,
    memory: Memory,
) -> Option<Vec<u8>> {
    let mut held = std::mem::take(held);
    let crowd = now.crowd.as_deref();
    let mut response = Response::between(kind, None, &now.named[kind])?;
    let wanted = |name: &String| {
        now.named[kind].contains_key(name) || crowd.is_some_and(|crowd| crowd.has(kind, name))
    };
    let gone = held.keys().filter(|name| !wanted(name));
    response.removed.extend(gone.cloned());
    if memory == Memory::Lost {
        held.clear();
    }
    let mut message = crowd.map_or_else(Vec::new, |crowd| crowd.told(kind, &held));
    message.extend(response.encode_to_vec());
    Some(message)
}

/// What leads from one state of a type to another. A crowd is told at the beginning only.
fn change(kind: usize, before: &Told, now: &Told) -> Option<Response> {
    let between = |before: &BTreeMap<_, _>, now| Response::between(kind, Some(before), now);
    between(&before.named[kind], &now.named[kind])
}
