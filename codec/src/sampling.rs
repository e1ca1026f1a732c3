//! What nodes tell each other to know a few others: the messages of peer sampling.
//!
//! Built and read by the sampling machine of the `peer` crate; a body holds one of them. The layout
//! is in `docs/wire.md`. Ages travel as durations, as no two clocks agree. Invariant: a value has
//! one body, which ends with its last field, and a list has at most [`SIGHTINGS_MAX`] members.

use std::net::SocketAddr;

use crate::addr::read_exact;
use crate::limits::SIGHTINGS_MAX;
use crate::network::Network;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// A node, and how long ago somebody had contact with it. Both are claims of whoever sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Where the node can be reached.
    pub addr: SocketAddr,
    /// Milliseconds since the last contact; the largest number stands for all that are longer.
    pub age_ms: u32,
}

/// One message of peer sampling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SamplingMessage {
    /// A part of the sender's list, and a question for one.
    Request {
        /// Number of the exchange, drawn by the asker.
        exchange: u32,
        /// Whether an answer is wanted.
        wants: bool,
        /// What the sender gives: nothing if it only wants.
        sightings: Vec<Sighting>,
    },
    /// A part of the sender's list, asked for.
    Reply {
        /// Number of the request.
        exchange: u32,
        /// What the sender gives.
        sightings: Vec<Sighting>,
    },
    /// Asks for a sign of life.
    Heartbeat {
        /// Number of the two-way link between the two, as the sender knows it; 0 without one.
        link: u32,
    },
    /// The answer.
    Alive {
        /// Number of the link, as the answerer knows it.
        link: u32,
    },
    /// The sender lists the receiver, and asks to be listed too.
    Link {
        /// Number of the link, drawn by the asker.
        link: u32,
    },
    /// Both list each other now.
    Linked {
        /// Number of the link: the larger one, if both had asked.
        link: u32,
    },
    /// The sender does not list the receiver any more, or will not.
    Unlink {
        /// Number of the link that ends. A later link of the same two has another.
        link: u32,
    },
}

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const HEARTBEAT: u8 = 3;
const ALIVE: u8 = 4;
const LINK: u8 = 5;
const LINKED: u8 = 6;
const UNLINK: u8 = 7;

impl Decode<'_> for SamplingMessage {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let tag = reader.u8()?;
        Ok(match tag {
            REQUEST => Self::Request {
                exchange: reader.u32()?,
                wants: read_flag(reader)?,
                sightings: read_sightings(reader)?,
            },
            REPLY => Self::Reply { exchange: reader.u32()?, sightings: read_sightings(reader)? },
            HEARTBEAT => Self::Heartbeat { link: reader.u32()? },
            ALIVE => Self::Alive { link: reader.u32()? },
            LINK => Self::Link { link: reader.u32()? },
            LINKED => Self::Linked { link: reader.u32()? },
            UNLINK => Self::Unlink { link: reader.u32()? },
            tag => return Err(DecodeError::BadTag { tag }),
        })
    }
}

impl Encode for SamplingMessage {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        let (tag, number) = match self {
            Self::Request { exchange, .. } => (REQUEST, *exchange),
            Self::Reply { exchange, .. } => (REPLY, *exchange),
            Self::Heartbeat { link } => (HEARTBEAT, *link),
            Self::Alive { link } => (ALIVE, *link),
            Self::Link { link } => (LINK, *link),
            Self::Linked { link } => (LINKED, *link),
            Self::Unlink { link } => (UNLINK, *link),
        };
        writer.u8(tag);
        writer.u32(number);
        match self {
            Self::Request { wants, sightings, .. } => {
                writer.u8((*wants).into());
                write_sightings(sightings, writer, version)
            }
            Self::Reply { sightings, .. } => write_sightings(sightings, writer, version),
            Self::Heartbeat { .. }
            | Self::Alive { .. }
            | Self::Link { .. }
            | Self::Linked { .. }
            | Self::Unlink { .. } => Ok(()),
        }
    }
}

/// The bytes of one message, read once without an error: what a [`Message`](crate::Message) holds,
/// which allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SamplingBody<'a>(&'a [u8]);

impl<'a> SamplingBody<'a> {
    /// The body of this message, written to the end of `out`.
    #[must_use]
    pub fn written(message: &SamplingMessage, out: &'a mut Vec<u8>) -> Self {
        let from = out.len();
        let written = message.encode(&mut Writer::new(out), CONTEXT.version);
        written.expect("every version has every message");
        Self(&out[from..])
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> SamplingMessage {
        let read = SamplingMessage::decode(&mut Reader::new(self.0), &CONTEXT);
        read.expect("it was read once")
    }
}

/// What the layout of these messages does not depend on.
const CONTEXT: Context<'_> = Context { version: 0, network: &Network::DEV };

impl<'a> Decode<'a> for SamplingBody<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        SamplingMessage::decode(reader, context)?;
        Ok(Self(&bytes[..bytes.len() - reader.rest().len()]))
    }
}

impl Encode for SamplingBody<'_> {
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

fn read_sightings(reader: &mut Reader<'_>) -> Result<Vec<Sighting>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > SIGHTINGS_MAX {
        let limit = SIGHTINGS_MAX as u64;
        return Err(DecodeError::ListTooLong { count: count as u64, limit });
    }
    let read = |_| {
        let addr = read_exact(reader)?;
        Ok(Sighting { addr, age_ms: reader.u32()? })
    };
    (0..count).map(read).collect()
}

/// Those after the first [`SIGHTINGS_MAX`] are left out.
fn write_sightings(
    sightings: &[Sighting],
    writer: &mut Writer<'_>,
    version: u32,
) -> Result<(), EncodeError> {
    let sightings = &sightings[..sightings.len().min(SIGHTINGS_MAX)];
    writer.u8(sightings.len() as u8);
    for sighting in sightings {
        sighting.addr.encode(writer, version)?;
        writer.u32(sighting.age_ms);
    }
    Ok(())
}

const _: () = assert!(SIGHTINGS_MAX <= u8::MAX as usize, "a list's count has one byte");
const _: () = assert!(1 + 4 + 1 + 1 + SIGHTINGS_MAX * (1 + 16 + 2 + 4) <= 4_096);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &SamplingMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut Writer::new(&mut bytes), 1000).unwrap();
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<SamplingMessage, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = SamplingMessage::decode(&mut reader, &CONTEXT)?;
        reader.finish()?;
        Ok(message)
    }

    fn sighting() -> impl Strategy<Value = Sighting> {
        // An IPv4-mapped address comes back as IPv4.
        let v6 = (0_u16..0xffff, any::<[u16; 2]>(), any::<u16>())
            .prop_map(|(a, [g, h], port)| SocketAddr::from(([0, 0, 0, 0, 0, a, g, h], port)));
        let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        let addr = prop_oneof![v4, v6];
        (addr, any::<u32>()).prop_map(|(addr, age_ms)| Sighting { addr, age_ms })
    }

    fn message() -> impl Strategy<Value = SamplingMessage> {
        let list = || vec(sighting(), 0..=SIGHTINGS_MAX);
        prop_oneof![
            (any::<u32>(), any::<bool>(), list()).prop_map(|(exchange, wants, sightings)| {
                SamplingMessage::Request { exchange, wants, sightings }
            }),
            (any::<u32>(), list())
                .prop_map(|(exchange, sightings)| SamplingMessage::Reply { exchange, sightings }),
            any::<u32>().prop_map(|link| SamplingMessage::Heartbeat { link }),
            any::<u32>().prop_map(|link| SamplingMessage::Alive { link }),
            any::<u32>().prop_map(|link| SamplingMessage::Link { link }),
            any::<u32>().prop_map(|link| SamplingMessage::Linked { link }),
            any::<u32>().prop_map(|link| SamplingMessage::Unlink { link }),
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
        fn every_proper_prefix_and_every_longer_body_is_refused(
            message in message(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(&message);
            let shorter = decoded(&bytes[..cut.index(bytes.len())]);
            prop_assert!(matches!(shorter, Err(DecodeError::EndOfBody { .. })), "{:?}", shorter);
            bytes.push(0);
            prop_assert_eq!(decoded(&bytes), Err(DecodeError::TrailingBytes { count: 1 }));
        }

        #[test]
        fn bytes_from_outside_make_no_panic_and_one_value_has_one_body(
            bytes in vec(any::<u8>(), 0..200),
        ) {
            let Ok(message) = decoded(&bytes) else { return Ok(()) };
            // The family byte has 255 spellings of IPv6, which grin's reader takes.
            prop_assert_eq!(decoded(&encoded(&message)), Ok(message));
        }
    }

    #[test]
    fn the_layout_is_that_of_the_wire_document() {
        let addr = "192.0.2.1:3414".parse().unwrap();
        let sightings = vec![Sighting { addr, age_ms: 1_000 }];
        let request = SamplingMessage::Request { exchange: 7, wants: true, sightings };
        let bytes = [
            1, 0, 0, 0, 7, 1, 1, // tag, exchange, wants, count
            0, 192, 0, 2, 1, 0x0d, 0x56, 0, 0, 3, 0xe8, // address, age
        ];
        assert_eq!(encoded(&request), bytes);
        assert_eq!(encoded(&SamplingMessage::Unlink { link: 258 }), [7, 0, 0, 1, 2]);
    }

    #[test]
    fn unknown_tags_flags_and_long_lists_are_refused() {
        assert_eq!(decoded(&[0, 0, 0, 0, 0]), Err(DecodeError::BadTag { tag: 0 }));
        assert_eq!(decoded(&[8, 0, 0, 0, 0]), Err(DecodeError::BadTag { tag: 8 }));
        assert_eq!(decoded(&[1, 0, 0, 0, 0, 2, 0]), Err(DecodeError::BadTag { tag: 2 }));
        let error = DecodeError::ListTooLong { count: 129, limit: 128 };
        assert_eq!(decoded(&[2, 0, 0, 0, 0, 129]), Err(error));
    }

    #[test]
    fn what_is_sent_is_cut_to_the_limit() {
        let addr = "192.0.2.1:3414".parse().unwrap();
        let sightings = vec![Sighting { addr, age_ms: 0 }; SIGHTINGS_MAX + 1];
        let reply = SamplingMessage::Reply { exchange: 1, sightings };
        let Ok(SamplingMessage::Reply { sightings, .. }) = decoded(&encoded(&reply)) else {
            panic!("a reply comes back")
        };
        assert_eq!(sightings.len(), SIGHTINGS_MAX);
    }
}
