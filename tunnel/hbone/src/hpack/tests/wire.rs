//! Another implementation's blocks read, and ours given to it: the frames are made by hand.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::Encoder;
use super::{Decoder, Fields, fields};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    let mut frame = size.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Our settings: the size of the table.
fn settings(table: u32) -> Vec<u8> {
    let payload = [&[0, 1][..], &table.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// The next frame: kind, flags, payload.
async fn next(io: &mut DuplexStream) -> (u8, u8, Vec<u8>) {
    let mut header = [0; 9];
    io.read_exact(&mut header).await.unwrap();
    let [a, b, c, kind, flags, ..] = header;
    let size = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
    let mut payload = vec![0; size];
    io.read_exact(&mut payload).await.unwrap();
    (kind, flags, payload)
}

/// Reads frames until a block is whole.
async fn block(io: &mut DuplexStream) -> Vec<u8> {
    let mut block = Vec::new();
    loop {
        let (kind, flags, payload) = next(io).await;
        if kind == HEADERS || kind == CONTINUATION {
            // No padding, no priority.
            assert_eq!(flags & 0x28, 0);
            block.extend(payload);
            if flags & END_HEADERS != 0 {
                return block;
            }
        }
    }
}

/// All bytes that a value may have.
fn legal() -> Vec<u8> {
    let all = 0..=255_u8;
    all.filter(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
        .collect()
}

fn sorted(mut fields: Fields) -> Fields {
    fields.sort();
    fields
}

fn listed(headers: &HeaderMap) -> Fields {
    let own = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    headers.iter().map(own).collect()
}

/// Lists of odd values: each byte alone, among others, again and again, and very long.
fn lists() -> Vec<HeaderMap> {
    let legal = legal();
    let mut lists = Vec::new();
    let mut add = |values: Vec<Vec<u8>>| {
        let mut list = HeaderMap::new();
        for (n, value) in values.iter().enumerate() {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            let mut value = HeaderValue::from_bytes(value).unwrap();
            value.set_sensitive(n % 7 == 3);
            list.insert(name, value);
        }
        lists.push(list);
    };
    add(legal.iter().map(|byte| vec![*byte]).collect());
    add(legal.iter().map(|byte| vec![*byte; 9]).collect());
    add(legal.iter().map(|byte| vec![b'a', *byte, b'0']).collect());
    for step in 1..40 {
        let mixed = legal.iter().cycle().step_by(step);
        add(vec![
            mixed.copied().take(step * 7).collect(),
            vec![b'x'; step],
        ]);
    }
    add(vec![legal.iter().cycle().copied().take(30_000).collect()]);
    add(vec![
        Vec::new(),
        b"00-0af7651916cd43dd8448eb211c80319c".to_vec(),
    ]);
    lists
}

fn ask(client: &mut SendRequest<Bytes>, headers: HeaderMap) -> ResponseFuture {
    let mut request = Request::new(());
    *request.uri_mut() = "https://10.0.0.1:8080/a?b".parse().unwrap();
    *request.headers_mut() = headers;
    client.send_request(request, true).unwrap().0
}

async fn read_another(table: u32) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(&settings(4096)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let mut preface = [0; PREFACE.len()];
    far.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    let mut decoder = Decoder::new(usize::try_from(table).unwrap());
    // Kept, that no stream is reset.
    let mut answers = Vec::new();
    for (n, headers) in lists().into_iter().enumerate() {
        if n == 20 {
            far.write_all(&settings(table)).await.unwrap();
        }
        let mut wanted = listed(&headers);
        for (name, value) in [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "10.0.0.1:8080"),
            (":path", "/a?b"),
        ] {
            wanted.push((name.into(), value.into()));
        }
        answers.push(ask(&mut client, headers));
        let block = block(&mut far).await;
        assert!(
            sorted(fields(&mut decoder, &block)) == sorted(wanted),
            "{n}"
        );
    }
    assert!(decoder.table().most() == usize::try_from(table).unwrap());
}

#[tokio::test]
async fn what_another_writes_is_read() {
    for table in [4096, 2000, 100, 0] {
        read_another(table).await;
    }
}

/// Writes one request of a tunnel; returns its fields without the pseudo ones.
fn connect(encoder: &mut Encoder, n: usize, list: &HeaderMap, out: &mut Vec<u8>) -> Fields {
    encoder.begin(out);
    encoder.repeated(b":method", b"CONNECT", out);
    encoder.repeated(b":authority", authority(n).as_bytes(), out);
    let mut written = listed(list);
    for (m, (name, value)) in written.iter().enumerate() {
        if m % 3 == 0 {
            encoder.changing(name, value, out);
        } else {
            encoder.repeated(name, value, out);
        }
    }
    let trace = format!("00-{n:032x}-0000000000000001-00");
    encoder.changing(b"traceparent", trace.as_bytes(), out);
    encoder.repeated(b"via", b"a", out);
    written.push((b"traceparent".to_vec(), trace.into()));
    written.push((b"via".to_vec(), b"a".to_vec()));
    written
}

fn authority(n: usize) -> String {
    format!("10.0.0.{}:8080", n % 29)
}

async fn write_to_another(table: u32) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(PREFACE).await.unwrap();
    far.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut server = h2::server::Builder::new();
    let server = server.header_table_size(table);
    let mut server = server.handshake::<_, Bytes>(near).await.unwrap();
    let (kind, flags, _) = next(&mut far).await;
    assert_eq!((kind, flags & ACK), (SETTINGS, 0));
    far.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    let mut encoder = Encoder::new();
    encoder.limit_table(table);
    let mut answers = Vec::new();
    let lists = lists();
    for n in 0..150 {
        let list = &lists[n % lists.len()];
        let mut block = Vec::new();
        let wanted = connect(&mut encoder, n, list, &mut block);
        let stream = u32::try_from(2 * n + 1).unwrap();
        // What is too long for one frame goes on in another.
        let (head, rest) = block.split_at(block.len().min(16_384));
        let ends = if rest.is_empty() { END_HEADERS } else { 0 };
        far.write_all(&frame(HEADERS, ends, stream, head))
            .await
            .unwrap();
        if !rest.is_empty() {
            let rest = frame(CONTINUATION, END_HEADERS, stream, rest);
            far.write_all(&rest).await.unwrap();
        }
        let (request, answer) = server.accept().await.unwrap().unwrap();
        answers.push((answer, request.uri().clone()));
        assert_eq!(request.method(), http::Method::CONNECT);
        assert_eq!(request.uri().authority().unwrap().as_str(), authority(n));
        assert!(sorted(listed(request.headers())) == sorted(wanted), "{n}");
    }
}

#[tokio::test]
async fn what_we_write_is_read_by_another() {
    for table in [4096, 65_536, 3000, 300, 0] {
        write_to_another(table).await;
    }
}
