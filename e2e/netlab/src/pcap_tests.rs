#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::{Family, parse};

const SYN: u8 = 2;
const ACK: u8 = 16;

fn tcp(from: u16, to: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    tcp
}

fn ipv4(body: &[u8], forward: bool) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(u16::try_from(body.len() + 20).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    frame.extend(if forward { [a, b] } else { [b, a] }.concat());
    frame.extend(body);
    frame
}

fn file(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
    ];
    for frame in frames {
        file.extend([0; 8]);
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        file.extend(length);
        file.extend(length);
        file.extend(frame);
    }
    file
}

#[test]
fn a_text_split_over_segments_out_of_order_and_sent_twice_is_found_once() {
    let frames = [
        ipv4(&tcp(4000, 80, 99, SYN, b""), true),
        ipv4(&tcp(80, 4000, 7, SYN | ACK, b""), false),
        ipv4(&tcp(4000, 80, 100, ACK, b"xxSEC"), true),
        ipv4(&tcp(4000, 80, 107, ACK, b"Tyy"), true),
        ipv4(&tcp(4000, 80, 105, ACK, b"RE"), true),
        ipv4(&tcp(4000, 80, 105, ACK, b"RETyy"), true),
    ];
    let traffic = parse(&file(&frames)).unwrap();
    assert_eq!(traffic.occurrences(b"SECRET"), 1);
    assert_eq!(traffic.occurrences(b"SECRETS"), 0);
    let port = &traffic.ports[&(Family::Ipv4, 80)];
    assert_eq!(
        (port.packets, port.connections),
        (6, 1),
        "both directions count for the called port"
    );
    assert_eq!(traffic.ports.len(), 1);
}

#[test]
fn a_cut_packet_or_a_fragment_is_an_error_not_an_absence() {
    let mut cut = file(&[ipv4(&tcp(1, 2, 0, ACK, b"x"), true)]);
    cut[24 + 12] += 1;
    assert!(parse(&cut).unwrap_err().to_string().contains("was cut"));
    let mut fragment = ipv4(&tcp(1, 2, 0, ACK, b"x"), true);
    fragment[14 + 6] = 0x20;
    assert!(
        parse(&file(&[fragment]))
            .unwrap_err()
            .to_string()
            .contains("fragment")
    );
}
