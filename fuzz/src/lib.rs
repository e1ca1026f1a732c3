//! What the fuzz targets call: bytes of the fuzzer become the arguments of the codec's laws.
//!
//! The laws are those of its property tests, the very same functions. No input is wasted: each is
//! some argument, and the first bytes are the small choices, so that the fuzzer learns them early.

use codec::{Kind, Network};

#[path = "../../codec/tests/laws/law.rs"]
mod law;

/// From this byte on, what follows is put into the stream without a frame header.
const RAW: u8 = 0xf0;

/// A stream means the same wherever it is cut, attachments included.
///
/// A byte chooses the network, one counts the cuts, of two bytes each. The rest becomes frames: a
/// kind, a length and as many bytes.
pub fn stream(bytes: &[u8]) {
    let [network, cuts, rest @ ..] = bytes else { return };
    let network = network_of(*network);
    let (cuts, rest) = rest.split_at(rest.len().min(2 * usize::from(cuts % 16)));
    let cuts: Vec<_> = cuts.chunks_exact(2).map(|cut| number(cut) as usize).collect();
    let stream = frames(rest, network);
    law::cutting_changes_nothing(&stream, &cuts, network);
    law::giving_up_a_frame_loses_it_alone(&stream, &cuts, network);
    law::single_bytes_change_nothing(&stream, network);
}

/// Any body of any kind is read or refused, and comes back as it was. The first byte is the kind.
pub fn body(bytes: &[u8]) {
    let [kind, body @ ..] = bytes else { return };
    let kind = Kind::from_byte(*kind).unwrap_or(Kind::ALL[usize::from(*kind) % Kind::ALL.len()]);
    law::any_body_is_read_or_refused(kind, body);
}

/// Bytes behind a right code are opened or refused, and come back as they were.
pub fn datagram(bytes: &[u8]) {
    law::any_datagram_is_opened_or_refused(bytes);
}

/// A length over the limit of its kind is refused from the header alone. The bytes are the network,
/// the kind and by how much it is over.
pub fn length(bytes: &[u8]) {
    let [network, kind, excess @ ..] = bytes else { return };
    law::length_over_the_limit_is_refused(*kind, number(excess), network_of(*network));
}

/// The cursor hands out the bytes that it was given. A byte counts the reads, of a byte each.
pub fn reader(bytes: &[u8]) {
    let [reads, rest @ ..] = bytes else { return };
    let (counts, bytes) = rest.split_at(rest.len().min((*reads).into()));
    let counts: Vec<_> = counts.iter().map(|count| u16::from(*count)).collect();
    law::reader_is_a_cursor(bytes, &counts);
}

fn network_of(byte: u8) -> &'static Network {
    &law::NETWORKS[usize::from(byte) % law::NETWORKS.len()]
}

/// Up to the first eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn frames(mut rest: &[u8], network: &Network) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [kind, length, behind @ ..] = rest {
        let (body, behind) = behind.split_at(behind.len().min((*length).into()));
        if *kind < RAW {
            stream.extend(network.magic);
            stream.push(*kind);
            stream.extend(u64::from(*length).to_be_bytes());
        }
        stream.extend(body);
        rest = behind;
    }
    stream
}
