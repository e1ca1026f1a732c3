//! What the nodes of an overlay say to each other to stay connected: the messages of HyParView.
//!
//! Built and read by the machine of the `peer` crate; a body holds one of them. Source: Leitão,
//! Pereira, Rodrigues, "HyParView", DSN 2007; epochs, the reply to Join and the nonce of a shuffle
//! are ours. The layout is in `docs/wire.md`. Invariant: a value has one body, which ends with its
//! last field, and a list has at most [`SHUFFLE_ADDRS_MAX`] members.

use std::net::SocketAddr;

use crate::addr::read_exact;
use crate::limits::SHUFFLE_ADDRS_MAX;
use crate::network::Network;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// How much somebody wants a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// It may be refused.
    Low,
    /// Room is to be made for it.
    High,
}

/// One message of HyParView.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HyParViewMessage {
    /// The sender is new in the overlay and wants a link to the receiver. Answered by
    /// [`NeighborReply`](Self::NeighborReply).
    Join {
        /// Number of the link, drawn by the asker.
        epoch: u64,
    },
    /// Somebody joined, and looks for more neighbours.
    ForwardJoin {
        /// Who.
        peer: SocketAddr,
        /// Hops left.
        ttl: u8,
    },
    /// The sender wants a link to the receiver. Answered by
    /// [`NeighborReply`](Self::NeighborReply).
    Neighbor {
        /// How much.
        priority: Priority,
        /// Number of the link, drawn by the asker.
        epoch: u64,
    },
    /// Answers Join and Neighbor.
    NeighborReply {
        /// Whether the link stands.
        accepted: bool,
        /// Number of the link, as it was asked.
        epoch: u64,
    },
    /// The link has ended.
    Disconnect {
        /// Whether the sender stays in the overlay, and may be asked again.
        alive: bool,
        /// Number of the link that has ended; later links of the same two have others.
        epoch: u64,
    },
    /// A part of somebody's views, on a random walk to a stranger.
    Shuffle {
        /// Whose.
        origin: SocketAddr,
        /// Number of the exchange, drawn by the origin.
        nonce: u64,
        /// Hops left.
        ttl: u8,
        /// The part; the origin itself belongs to it unsaid.
        addrs: Vec<SocketAddr>,
    },
    /// The stranger's answer, straight to the origin.
    ShuffleReply {
        /// Number of the exchange.
        nonce: u64,
        /// As large a part of the stranger's passive view.
        addrs: Vec<SocketAddr>,
    },
}

const JOIN: u8 = 1;
const FORWARD_JOIN: u8 = 2;
const NEIGHBOR: u8 = 3;
const NEIGHBOR_REPLY: u8 = 4;
const DISCONNECT: u8 = 5;
const SHUFFLE: u8 = 6;
const SHUFFLE_REPLY: u8 = 7;

impl Decode<'_> for HyParViewMessage {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            JOIN => Self::Join { epoch: reader.u64()? },
            FORWARD_JOIN => Self::ForwardJoin { peer: read_exact(reader)?, ttl: reader.u8()? },
            NEIGHBOR => {
                let priority = if read_flag(reader)? { Priority::High } else { Priority::Low };
                Self::Neighbor { priority, epoch: reader.u64()? }
            }
            NEIGHBOR_REPLY => {
                Self::NeighborReply { accepted: read_flag(reader)?, epoch: reader.u64()? }
            }
            DISCONNECT => Self::Disconnect { alive: read_flag(reader)?, epoch: reader.u64()? },
            SHUFFLE => Self::Shuffle {
                origin: read_exact(reader)?,
                nonce: reader.u64()?,
                ttl: reader.u8()?,
                addrs: read_addrs(reader)?,
            },
            SHUFFLE_REPLY => {
                Self::ShuffleReply { nonce: reader.u64()?, addrs: read_addrs(reader)? }
            }
            tag => return Err(DecodeError::BadTag { tag }),
        })
    }
}

impl Encode for HyParViewMessage {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        let mut numbered = |tag, flag: Option<bool>, number| {
            writer.u8(tag);
            if let Some(flag) = flag {
                writer.u8(flag.into());
            }
            writer.u64(number);
        };
        match self {
            Self::Join { epoch } => numbered(JOIN, None, *epoch),
            Self::Neighbor { priority, epoch } => {
                numbered(NEIGHBOR, Some(*priority == Priority::High), *epoch);
            }
            Self::NeighborReply { accepted, epoch } => {
                numbered(NEIGHBOR_REPLY, Some(*accepted), *epoch);
            }
            Self::Disconnect { alive, epoch } => numbered(DISCONNECT, Some(*alive), *epoch),
            Self::ForwardJoin { peer, ttl } => {
                writer.u8(FORWARD_JOIN);
                peer.encode(writer, version)?;
                writer.u8(*ttl);
            }
            Self::Shuffle { origin, nonce, ttl, addrs } => {
                writer.u8(SHUFFLE);
                origin.encode(writer, version)?;
                writer.u64(*nonce);
                writer.u8(*ttl);
                write_addrs(addrs, writer, version)?;
            }
            Self::ShuffleReply { nonce, addrs } => {
                numbered(SHUFFLE_REPLY, None, *nonce);
                write_addrs(addrs, writer, version)?;
            }
        }
        Ok(())
    }
}

/// The bytes of one message, read once without an error: what a [`Message`](crate::Message) holds,
/// which allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HyParViewBody<'a>(&'a [u8]);

impl<'a> HyParViewBody<'a> {
    /// The body of this message, written to the end of `out`.
    #[must_use]
    pub fn written(message: &HyParViewMessage, out: &'a mut Vec<u8>) -> Self {
        let from = out.len();
        let written = message.encode(&mut Writer::new(out), CONTEXT.version);
        written.expect("every version has every message");
        Self(&out[from..])
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> HyParViewMessage {
        let read = HyParViewMessage::decode(&mut Reader::new(self.0), &CONTEXT);
        read.expect("it was read once")
    }
}

/// What the layout of these messages does not depend on.
const CONTEXT: Context<'_> = Context { version: 0, network: &Network::DEV };

impl<'a> Decode<'a> for HyParViewBody<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        HyParViewMessage::decode(reader, context)?;
        Ok(Self(&bytes[..bytes.len() - reader.rest().len()]))
    }
}

impl Encode for HyParViewBody<'_> {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        writer.bytes(self.0);
        Ok(())
    }
}

/// One byte that is 0 or 1: a value has one body.
fn read_flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        tag => Err(DecodeError::BadTag { tag }),
    }
}

fn read_addrs(reader: &mut Reader<'_>) -> Result<Vec<SocketAddr>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > SHUFFLE_ADDRS_MAX {
        let limit = SHUFFLE_ADDRS_MAX as u64;
        return Err(DecodeError::ListTooLong { count: count as u64, limit });
    }
    (0..count).map(|_| read_exact(reader)).collect()
}

/// Those after the first [`SHUFFLE_ADDRS_MAX`] are left out.
fn write_addrs(
    addrs: &[SocketAddr],
    writer: &mut Writer<'_>,
    version: u32,
) -> Result<(), EncodeError> {
    let addrs = &addrs[..addrs.len().min(SHUFFLE_ADDRS_MAX)];
    writer.u8(addrs.len() as u8);
    addrs.iter().try_for_each(|addr| addr.encode(writer, version))
}

const _: () = assert!(SHUFFLE_ADDRS_MAX <= u8::MAX as usize, "a list's count has one byte");
const _: () = assert!(1 + 19 + 8 + 1 + 1 + SHUFFLE_ADDRS_MAX * 19 <= 4_096);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &HyParViewMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut Writer::new(&mut bytes), 1000).unwrap();
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<HyParViewMessage, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = HyParViewMessage::decode(&mut reader, &CONTEXT)?;
        reader.finish()?;
        Ok(message)
    }

    fn addr() -> impl Strategy<Value = SocketAddr> {
        // An IPv4-mapped address comes back as IPv4.
        let v6 = (0_u16..0xffff, any::<[u16; 2]>(), any::<u16>())
            .prop_map(|(a, [g, h], port)| SocketAddr::from(([0, 0, 0, 0, 0, a, g, h], port)));
        let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        prop_oneof![v4, v6]
    }

    fn message() -> impl Strategy<Value = HyParViewMessage> {
        use HyParViewMessage::*;
        let list = || vec(addr(), 0..=SHUFFLE_ADDRS_MAX);
        let priority = prop_oneof![Just(Priority::Low), Just(Priority::High)];
        prop_oneof![
            any::<u64>().prop_map(|epoch| Join { epoch }),
            (addr(), any::<u8>()).prop_map(|(peer, ttl)| ForwardJoin { peer, ttl }),
            (priority, any::<u64>()).prop_map(|(priority, epoch)| Neighbor { priority, epoch }),
            any::<(bool, u64)>().prop_map(|(accepted, epoch)| NeighborReply { accepted, epoch }),
            any::<(bool, u64)>().prop_map(|(alive, epoch)| Disconnect { alive, epoch }),
            (addr(), any::<u64>(), any::<u8>(), list())
                .prop_map(|(origin, nonce, ttl, addrs)| { Shuffle { origin, nonce, ttl, addrs } }),
            (any::<u64>(), list()).prop_map(|(nonce, addrs)| ShuffleReply { nonce, addrs }),
        ]
    }

    proptest! {
        #[test]
        fn a_message_comes_back_and_fits_in_its_body(message in message()) {
            let bytes = encoded(&message);
            prop_assert!(bytes.len() <= 4_096);
            prop_assert_eq!(decoded(&bytes), Ok(message));
        }

        #[test]
        fn every_proper_prefix_and_every_longer_body_is_refused(message in message()) {
            let mut bytes = encoded(&message);
            for length in 0..bytes.len() {
                let error = decoded(&bytes[..length]).unwrap_err();
                prop_assert!(matches!(error, DecodeError::EndOfBody { .. }), "{:?}", error);
            }
            bytes.push(0);
            prop_assert_eq!(decoded(&bytes), Err(DecodeError::TrailingBytes { count: 1 }));
        }

        #[test]
        fn bytes_from_outside_make_no_panic_and_one_value_has_one_body(
            tag in 0..9_u8,
            bytes in vec(any::<u8>(), 0..200),
        ) {
            let Ok(message) = decoded(&[&[tag], &bytes[..]].concat()) else { return Ok(()) };
            // The family byte has 255 spellings of IPv6, which grin's reader takes.
            prop_assert_eq!(decoded(&encoded(&message)), Ok(message));
        }
    }

    #[test]
    fn the_layout_is_that_of_the_wire_document() {
        use HyParViewMessage::*;
        let addr: SocketAddr = "192.0.2.1:3414".parse().unwrap();
        let wire = [0, 192, 0, 2, 1, 0x0d, 0x56];
        let number = [0, 0, 0, 0, 0, 0, 1, 2];
        let cases: [(HyParViewMessage, Vec<&[u8]>); 7] = [
            (Join { epoch: 258 }, vec![&[1], &number]),
            (ForwardJoin { peer: addr, ttl: 6 }, vec![&[2], &wire, &[6]]),
            (Neighbor { priority: Priority::High, epoch: 258 }, vec![&[3, 1], &number]),
            (NeighborReply { accepted: false, epoch: 258 }, vec![&[4, 0], &number]),
            (Disconnect { alive: true, epoch: 258 }, vec![&[5, 1], &number]),
            (
                Shuffle { origin: addr, nonce: 258, ttl: 6, addrs: vec![addr] },
                vec![&[6], &wire, &number, &[6, 1], &wire],
            ),
            (ShuffleReply { nonce: 258, addrs: vec![addr] }, vec![&[7], &number, &[1], &wire]),
        ];
        for (message, bytes) in cases {
            assert_eq!(encoded(&message), bytes.concat(), "{message:?}");
        }
    }

    #[test]
    fn unknown_tags_flags_and_long_lists_are_refused() {
        for tag in [0, 8, 255] {
            assert_eq!(decoded(&[tag; 40]), Err(DecodeError::BadTag { tag }));
        }
        for tag in [NEIGHBOR, NEIGHBOR_REPLY, DISCONNECT] {
            let error = DecodeError::BadTag { tag: 2 };
            assert_eq!(decoded(&[tag, 2, 0, 0, 0, 0, 0, 0, 0, 0]), Err(error));
        }
        let error = DecodeError::ListTooLong { count: 33, limit: 32 };
        assert_eq!(decoded(&[SHUFFLE_REPLY, 0, 0, 0, 0, 0, 0, 0, 0, 33]), Err(error));
    }

    #[test]
    fn what_is_sent_is_cut_to_the_limit() {
        let addrs = vec!["192.0.2.1:3414".parse().unwrap(); SHUFFLE_ADDRS_MAX + 1];
        let bytes = encoded(&HyParViewMessage::ShuffleReply { nonce: 1, addrs });
        let Ok(HyParViewMessage::ShuffleReply { addrs, .. }) = decoded(&bytes) else {
            panic!("a reply comes back")
        };
        assert_eq!(addrs.len(), SHUFFLE_ADDRS_MAX);
    }
}
