//! Reading a capture: who sent how much to which port, and what TCP carried, in order.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Version 4.
    Ipv4,
    /// Version 6.
    Ipv6,
}

/// What went to one server port (in both directions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortTraffic {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire, headers too.
    pub bytes: u64,
    /// Connections that were begun.
    pub connections: u64,
}

/// A capture, read.
#[derive(Debug, Default)]
pub struct Traffic {
    /// By family and the port of the side that was called.
    pub ports: BTreeMap<(Family, u16), PortTraffic>,
    /// Bytes of packets that are neither TCP nor UDP (ARP, ICMP), by a word for them.
    pub other: BTreeMap<String, u64>,
    streams: HashMap<(SocketAddr, SocketAddr), Stream>,
    datagrams: Vec<Vec<u8>>,
}

/// One direction of a TCP connection: pieces by their place relative to the first.
#[derive(Debug, Default)]
struct Stream {
    first: Option<u32>,
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Stream {
    fn add(&mut self, sequence: u32, payload: &[u8]) {
        let first = *self.first.get_or_insert(sequence);
        let place = sequence.wrapping_sub(first);
        let piece = self.pieces.entry(place).or_default();
        // A retransmission may be longer than what it repeats.
        if payload.len() > piece.len() {
            *piece = payload.to_vec();
        }
    }

    /// The bytes in order, overlaps once; a hole in the capture just closes up.
    fn bytes(&self) -> Vec<u8> {
        let (mut whole, mut next) = (Vec::new(), 0_u64);
        for (&place, piece) in &self.pieces {
            let (place, end) = (u64::from(place), u64::from(place) + piece.len() as u64);
            if end > next {
                let known = usize::try_from(next.saturating_sub(place)).unwrap_or(usize::MAX);
                whole.extend_from_slice(piece.get(known..).unwrap_or_default());
                next = end;
            }
        }
        whole
    }
}

impl Traffic {
    /// How often a text occurs in what the applications or proxies sent: TCP streams in order, and datagrams.
    #[must_use]
    pub fn occurrences(&self, text: &[u8]) -> usize {
        let streams = self
            .streams
            .values()
            .map(|stream| count(&stream.bytes(), text));
        let datagrams = self.datagrams.iter().map(|datagram| count(datagram, text));
        streams.chain(datagrams).sum()
    }

    /// All that was sent to or from a port, in both families.
    #[must_use]
    pub fn port(&self, port: u16) -> PortTraffic {
        let mut sum = PortTraffic::default();
        for ((_, known), traffic) in &self.ports {
            if *known == port {
                sum.packets += traffic.packets;
                sum.bytes += traffic.bytes;
                sum.connections += traffic.connections;
            }
        }
        sum
    }

    fn other(&mut self, what: &str, bytes: usize) {
        *self.other.entry(what.to_owned()).or_default() += bytes as u64;
    }
}

fn count(bytes: &[u8], text: &[u8]) -> usize {
    bytes
        .windows(text.len())
        .filter(|window| *window == text)
        .count()
}

/// Reads a pcap file of Ethernet frames.
pub(crate) fn parse(file: &[u8]) -> Result<Traffic> {
    let header = file.get(..24).context("the capture has no header")?;
    ensure!(
        header[..4] == [0xd4, 0xc3, 0xb2, 0xa1],
        "not a little-endian pcap file"
    );
    ensure!(header[20..24] == [1, 0, 0, 0], "not a capture of Ethernet");
    let mut packets = Vec::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let head = rest.get(..16).context("a packet without a whole header")?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (kept, length) = (word(8) as usize, word(12) as usize);
        ensure!(
            kept == length,
            "a packet of {length} bytes was cut to {kept}"
        );
        packets.push(rest.get(16..16 + kept).context("the last packet is cut")?);
        rest = &rest[16 + kept..];
    }
    let mut traffic = Traffic::default();
    let mut servers = HashMap::new();
    for packet in packets {
        frame(&mut traffic, &mut servers, packet)?;
    }
    Ok(traffic)
}

/// Which end of a pair of addresses was called: learned from the connection's first packet.
type Servers = HashMap<(SocketAddr, SocketAddr), u16>;

fn frame(traffic: &mut Traffic, servers: &mut Servers, packet: &[u8]) -> Result<()> {
    let ip = packet.get(14..).context("a frame without a header")?;
    match [packet[12], packet[13]] {
        [0x08, 0x00] => ipv4(traffic, servers, packet.len(), ip),
        [0x86, 0xdd] => ipv6(traffic, servers, packet.len(), ip),
        [0x08, 0x06] => {
            traffic.other("arp", packet.len());
            Ok(())
        }
        [a, b] => {
            traffic.other(&format!("ethertype {a:02x}{b:02x}"), packet.len());
            Ok(())
        }
    }
}

fn ipv4(traffic: &mut Traffic, servers: &mut Servers, size: usize, ip: &[u8]) -> Result<()> {
    ensure!(ip.len() >= 20, "a short IPv4 packet");
    let (more, offset) = (ip[6] & 0x20 != 0, u16::from_be_bytes([ip[6] & 0x1f, ip[7]]));
    ensure!(
        !more && offset == 0,
        "a fragment: its content would be missed"
    );
    let address =
        |at: usize| IpAddr::from(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
    let (start, end) = (
        usize::from(ip[0] & 15) * 4,
        usize::from(u16::from_be_bytes([ip[2], ip[3]])),
    );
    // Length 0 is a packet of more than 64 KiB that the card would have split.
    let body = if end == 0 {
        ip.get(start..)
    } else {
        ip.get(start..end)
    };
    let body = body.context("a cut IPv4 packet")?;
    let packet = Packet {
        size,
        family: Family::Ipv4,
        from: address(12),
        to: address(16),
        body,
    };
    transport(traffic, servers, ip[9], &packet)
}

fn ipv6(traffic: &mut Traffic, servers: &mut Servers, size: usize, ip: &[u8]) -> Result<()> {
    ensure!(ip.len() >= 40, "a short IPv6 packet");
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&ip[at..at + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    let (mut kind, mut start) = (ip[6], 40);
    let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    let end = if length == 0 { ip.len() } else { 40 + length };
    // Hop-by-hop, routing and destination options; a fragment would hide its content.
    while matches!(kind, 0 | 43 | 60) {
        let option = ip.get(start..start + 2).context("a cut IPv6 option")?;
        kind = option[0];
        start += usize::from(option[1]) * 8 + 8;
    }
    if kind == 44 {
        bail!("a fragment: its content would be missed");
    }
    let body = ip.get(start..end).context("a cut IPv6 packet")?;
    let packet = Packet {
        size,
        family: Family::Ipv6,
        from: address(8),
        to: address(24),
        body,
    };
    transport(traffic, servers, kind, &packet)
}

struct Packet<'a> {
    size: usize,
    family: Family,
    from: IpAddr,
    to: IpAddr,
    body: &'a [u8],
}

fn transport(
    traffic: &mut Traffic,
    servers: &mut Servers,
    kind: u8,
    packet: &Packet<'_>,
) -> Result<()> {
    let body = packet.body;
    if kind != TCP && kind != UDP {
        traffic.other(&format!("{:?} protocol {kind}", packet.family), packet.size);
        return Ok(());
    }
    ensure!(
        body.len() >= if kind == TCP { 20 } else { 8 },
        "a short packet"
    );
    let from = SocketAddr::new(packet.from, u16::from_be_bytes([body[0], body[1]]));
    let to = SocketAddr::new(packet.to, u16::from_be_bytes([body[2], body[3]]));
    let (server, begun) = if kind == UDP {
        traffic.datagrams.push(body[8..].to_vec());
        (from.port().min(to.port()), false)
    } else {
        segment(traffic, servers, from, to, body)?
    };
    let port = traffic.ports.entry((packet.family, server)).or_default();
    port.packets += 1;
    port.bytes += packet.size as u64;
    port.connections += u64::from(begun);
    Ok(())
}

/// Keeps a TCP segment's content; which port was called, and whether this begins a connection.
fn segment(
    traffic: &mut Traffic,
    servers: &mut Servers,
    from: SocketAddr,
    to: SocketAddr,
    body: &[u8],
) -> Result<(u16, bool)> {
    let (syn, ack) = (body[13] & 2 != 0, body[13] & 16 != 0);
    let pair = if from < to { (from, to) } else { (to, from) };
    if syn {
        servers.insert(pair, if ack { from.port() } else { to.port() });
    }
    let start = usize::from(body[12] >> 4) * 4;
    let payload = body.get(start..).context("a cut TCP packet")?;
    if !payload.is_empty() {
        let sequence = u32::from_be_bytes([body[4], body[5], body[6], body[7]]);
        traffic
            .streams
            .entry((from, to))
            .or_default()
            .add(sequence, payload);
    }
    // Seen from its middle, a connection's server is most likely the lower port.
    let server = servers
        .get(&pair)
        .copied()
        .unwrap_or(from.port().min(to.port()));
    Ok((server, syn && !ack))
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
