//! The clients' own frame writer and reader.
//!
//! Written from the protocol's text and not from `codec`, whose encoders and decoders the engine
//! uses: a mistake that both sides share would cancel out and go unseen. Only names and limits
//! come from `codec`. Called by the fleet. Invariant: cutting the stream anywhere never changes
//! which frames come out.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use codec::{Kind, Network};

/// Magic (2), kind (1), body length (8).
pub(crate) const HEADER_BYTES: usize = 11;

/// The protocol version that the clients speak: that of current grin nodes.
const VERSION: u32 = 1_000;

/// What the clients offer: nothing. Without the bit for kernel announcements they are sent whole
/// transactions, and without the one for peer lists they are not asked for addresses.
const CAPABILITIES: u32 = 0;

const USER_AGENT: &str = "molva-loadgen";

/// Appends a frame whose body `write` appends.
pub(crate) fn frame(
    out: &mut Vec<u8>,
    magic: [u8; 2],
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&magic);
    out.push(kind as u8);
    out.extend_from_slice(&[0; 8]);
    write(out);
    let length = (out.len() - start - HEADER_BYTES) as u64;
    out[start + 3..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a Hand. `local` is told as the address we listen on, which we do not.
pub(crate) fn hand(
    out: &mut Vec<u8>,
    network: &Network,
    nonce: u64,
    local: SocketAddr,
    remote: SocketAddr,
) {
    frame(out, network.magic, Kind::Hand, |body| {
        body.extend_from_slice(&VERSION.to_be_bytes());
        body.extend_from_slice(&CAPABILITIES.to_be_bytes());
        body.extend_from_slice(&nonce.to_be_bytes());
        body.extend_from_slice(&0_u64.to_be_bytes());
        address(body, local);
        address(body, remote);
        body.extend_from_slice(&(USER_AGENT.len() as u64).to_be_bytes());
        body.extend_from_slice(USER_AGENT.as_bytes());
        body.extend_from_slice(&network.genesis.0);
    });
}

/// Appends a Ping or a Pong: difficulty and height, both zero, since the clients have no chain.
pub(crate) fn ping_or_pong(out: &mut Vec<u8>, magic: [u8; 2], kind: Kind) {
    frame(out, magic, kind, |body| body.extend_from_slice(&[0; 16]));
}

/// Appends an empty PeerAddrs.
pub(crate) fn no_addresses(out: &mut Vec<u8>, magic: [u8; 2]) {
    frame(out, magic, Kind::PeerAddrs, |body| body.extend_from_slice(&[0; 4]));
}

fn address(body: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            body.push(0);
            body.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            body.push(1);
            body.extend_from_slice(&ip.octets());
        }
    }
    body.extend_from_slice(&addr.port().to_be_bytes());
}

/// Checks that the body of a Shake has all its fields and our genesis.
pub(crate) fn check_shake(body: &[u8], network: &Network) -> Result<(), String> {
    let agent_length = body
        .get(16..24)
        .map(|bytes| u64::from_be_bytes(bytes.try_into().expect("8 bytes were taken")))
        .ok_or("a Shake too short for its fields")?;
    let agent_end = usize::try_from(agent_length)
        .ok()
        .and_then(|length| length.checked_add(24))
        .ok_or("a Shake with an absurd user agent")?;
    let agent = body.get(24..agent_end).ok_or("a Shake that ends inside its user agent")?;
    std::str::from_utf8(agent).map_err(|_| "a Shake whose user agent is not UTF-8")?;
    match body.get(agent_end..agent_end + 32) {
        Some(genesis) if genesis == network.genesis.0 => Ok(()),
        Some(_) => Err("a Shake of another genesis".into()),
        None => Err("a Shake that ends inside its genesis".into()),
    }
}

/// Bytes received and not yet cut into frames.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Where the first frame not yet taken begins; at most `bytes.len()`.
    start: usize,
    capacity: usize,
}

impl Inbox {
    /// An inbox that offers `capacity` bytes to a read.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > HEADER_BYTES);
        Self { bytes: Vec::with_capacity(capacity), start: 0, capacity }
    }

    /// Lends the buffer to a read, which appends to it. What is taken already is removed first.
    pub(crate) fn lend(&mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve(self.capacity);
        }
        std::mem::take(&mut self.bytes)
    }

    /// Takes the buffer back from a read.
    pub(crate) fn take_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// The next whole frame, as its kind and where its body lies ([`Self::body`]).
    pub(crate) fn next(
        &mut self,
        network: &Network,
    ) -> Result<Option<(Kind, Range<usize>)>, String> {
        let rest = &self.bytes[self.start..];
        if rest.len() < HEADER_BYTES {
            return Ok(None);
        }
        if rest[..2] != network.magic {
            return Err(format!("a frame with magic {:02x?}", &rest[..2]));
        }
        let kind = Kind::from_byte(rest[2]).ok_or_else(|| format!("unknown kind {}", rest[2]))?;
        let length =
            rest[3..HEADER_BYTES].iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        if length > network.limits.body_bytes_max(kind) {
            return Err(format!("a {kind:?} of {length} bytes"));
        }
        let end = HEADER_BYTES + length as usize;
        if rest.len() < end {
            return Ok(None);
        }
        let body = self.start + HEADER_BYTES..self.start + end;
        self.start += end;
        Ok(Some((kind, body)))
    }

    /// The body that [`Self::next`] found; valid until the next [`Self::lend`].
    pub(crate) fn body(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(stream: &[u8], sizes: &[usize]) -> Vec<(Kind, Vec<u8>)> {
        let mut inbox = Inbox::new(16);
        let (mut frames, mut rest, mut turn) = (Vec::new(), stream, 0);
        while !rest.is_empty() {
            let mut buffer = inbox.lend();
            let room = buffer.capacity() - buffer.len();
            let take = sizes[turn % sizes.len()].min(rest.len()).min(room);
            buffer.extend_from_slice(&rest[..take]);
            inbox.take_back(buffer);
            while let Some((kind, range)) = inbox.next(&Network::DEV).unwrap() {
                frames.push((kind, inbox.body(range).to_vec()));
            }
            rest = &rest[take..];
            turn += 1;
        }
        frames
    }

    proptest! {
        #[test]
        fn cutting_the_stream_changes_nothing(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            sizes in prop::collection::vec(1_usize..200, 1..8),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                frame(&mut stream, Network::DEV.magic, Kind::Transaction, |out| {
                    out.extend_from_slice(body);
                });
            }
            let frames = cut(&stream, &sizes);
            prop_assert_eq!(frames.len(), bodies.len());
            for ((kind, body), sent) in frames.iter().zip(&bodies) {
                prop_assert_eq!(*kind, Kind::Transaction);
                prop_assert_eq!(body, sent);
            }
        }
    }

    #[test]
    fn a_hand_has_the_bytes_of_the_protocol() {
        let mut out = Vec::new();
        let addr = "127.0.0.1:256".parse().unwrap();
        hand(&mut out, &Network::DEV, 0x0102, addr, addr);
        let body = 4 + 4 + 8 + 8 + 7 + 7 + 8 + USER_AGENT.len() + 32;
        assert_eq!(out.len(), HEADER_BYTES + body);
        assert_eq!(out[..11], [0x49, 0x2b, 1, 0, 0, 0, 0, 0, 0, 0, body as u8]);
        assert_eq!(out[11..27], [0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(out[35..42], [0, 127, 0, 0, 1, 1, 0]);
        assert_eq!(out[out.len() - 32..], Network::DEV.genesis.0);
    }

    #[test]
    fn a_shake_of_another_genesis_is_refused() {
        let mut shake = vec![0; 16];
        shake.extend_from_slice(&3_u64.to_be_bytes());
        shake.extend_from_slice(b"abc");
        shake.extend_from_slice(&Network::DEV.genesis.0);
        assert_eq!(check_shake(&shake, &Network::DEV), Ok(()));
        assert!(check_shake(&shake[..shake.len() - 1], &Network::DEV).is_err());
        *shake.last_mut().unwrap() ^= 1;
        assert!(check_shake(&shake, &Network::DEV).is_err());
    }

    #[test]
    fn foreign_bytes_are_noticed() {
        let mut inbox = Inbox::new(64);
        let mut buffer = inbox.lend();
        frame(&mut buffer, [1, 2], Kind::Ping, |_| {});
        inbox.take_back(buffer);
        assert!(inbox.next(&Network::DEV).is_err());
    }
}
