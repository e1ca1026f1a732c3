//! What goes over the wire: the greeting, pings, and the 300-byte payloads of the load.
//!
//! A payload is a number and filler that never varies. Equal numbers are equal payloads; the
//! receiving chain can check every byte.

use std::net::{Ipv4Addr, SocketAddr};

use codec::{
    Capabilities, Context, FRAME_HEADER_BYTES, FrameHeader, Hand, Kind, Message, Network, Ping,
    Pong, Shake,
};

/// The network of the comparison.
pub(super) const NETWORK: Network = Network::DEV;

/// Bytes of a payload's frame, header included: a small transaction.
pub(super) const FRAME_BYTES: usize = 300;

/// Where a payload's frame has its number.
pub(super) const INDEX: std::ops::Range<usize> = FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + 8;

/// Our name in greetings.
const USER_AGENT: &str = "compare";

/// The version told in greetings: grin's since 4.1.0.
const PROTOCOL_VERSION: u32 = 1000;

/// The payload with number 0.
pub(super) fn payload() -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    let (header, body) = frame.split_at_mut(FRAME_HEADER_BYTES);
    let length = body.len() as u64;
    let kind = Kind::Transaction as u8;
    header.copy_from_slice(&FrameHeader { kind, length }.encode(NETWORK.magic));
    for (at, byte) in body.iter_mut().enumerate().skip(8) {
        *byte = (at * 31 + 7) as u8;
    }
    frame
}

/// A ping of a chain that has nothing.
pub(super) fn ping() -> Vec<u8> {
    frame_of(&Message::Ping(Ping { total_difficulty: 0, height: 0 }))
}

/// The answer to a ping.
pub(super) fn pong() -> Vec<u8> {
    frame_of(&Message::Pong(Pong { total_difficulty: 0, height: 0 }))
}

/// The dialler's greeting. Each needs a nonce of its own.
pub(super) fn hand(nonce: u64) -> Vec<u8> {
    hand_of(nonce, Capabilities::UNKNOWN)
}

/// That of somebody who offers these.
pub(super) fn hand_of(nonce: u64, capabilities: Capabilities) -> Vec<u8> {
    // Port 0: it listens nowhere, and is not to be dialled.
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    frame_of(&Message::Hand(Hand {
        version: PROTOCOL_VERSION,
        capabilities,
        nonce,
        total_difficulty: 0,
        sender_addr: addr,
        receiver_addr: addr,
        user_agent: USER_AGENT,
        genesis: NETWORK.genesis,
    }))
}

/// The answer to a hand.
pub(super) fn shake() -> Vec<u8> {
    frame_of(&Message::Shake(Shake {
        version: PROTOCOL_VERSION,
        capabilities: Capabilities::UNKNOWN,
        total_difficulty: 0,
        user_agent: USER_AGENT,
        genesis: NETWORK.genesis,
    }))
}

/// Whether this is the frame of a good hand of our network.
pub(super) fn is_hand(frame: &[u8]) -> bool {
    let context = Context { version: PROTOCOL_VERSION, network: &NETWORK };
    let hand = Message::decode(Kind::Hand, &frame[FRAME_HEADER_BYTES..], &context);
    matches!(hand, Ok(Message::Hand(hand)) if hand.genesis == NETWORK.genesis)
}

fn frame_of(message: &Message<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    let encoded = message.encode_frame(&NETWORK, PROTOCOL_VERSION, &mut frame);
    encoded.expect("greetings and pings have a form in every version");
    frame
}
