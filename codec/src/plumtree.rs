//! Messages of Plumtree: bodies along a tree, ids along the other links, and what mends the tree.
//!
//! Source: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007, section 3. The
//! layouts are written down, field by field, in `docs/wire.md`. Invariant: an id follows from what
//! it names, so that nobody can occupy the id of another's message.

use blake2b_simd::Params;

use crate::extension::{Record, Records};
use crate::limits::{GOSSIP_DATA_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::payload::Hash;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// What neighbours of a broadcast tree say to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlumtreeMessage<'a> {
    /// A message, along the tree.
    Gossip(Gossip<'a>),
    /// Ids of messages, along the other links: "I have".
    Have(Records<'a, HaveGossip>),
    /// Makes the link a part of the tree; with an id, asks for that message too.
    Graft {
        /// Which message, if one is missing.
        id: Option<Hash>,
    },
    /// Takes the link out of the tree.
    Prune,
}

/// A message of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gossip<'a> {
    /// Links that it has come over, this one included; counted as far as it goes.
    pub round: u16,
    /// Drawn by who published it: tells messages apart that say the same.
    pub nonce: [u8; 16],
    /// What it is about; at most [`TOPIC_BYTES_MAX`] bytes.
    pub topic: &'a [u8],
    /// What it says; at most [`GOSSIP_DATA_BYTES_MAX`] bytes.
    pub data: &'a [u8],
}

impl Gossip<'_> {
    /// Its id: BLAKE2b-256 of all that stays the same on the way (nonce, length of the topic as one
    /// byte, topic, data).
    #[must_use]
    pub fn id(&self) -> Hash {
        let mut state = Params::new().hash_length(32).to_state();
        state.update(&self.nonce).update(&[self.topic.len() as u8]);
        state.update(self.topic).update(self.data);
        let mut id = [0; 32];
        id.copy_from_slice(state.finalize().as_bytes());
        Hash(id)
    }
}

/// An id, and how far away from its publisher it is had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HaveGossip {
    /// Which message.
    pub id: Hash,
    /// What [`Gossip::round`] would be over this link.
    pub round: u16,
}

impl Record for HaveGossip {
    const BYTES: usize = 34;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: reader.hash()?, round: reader.u16()? })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.hash(self.id);
        writer.u16(self.round);
    }
}

const GOSSIP: u8 = 0;
const HAVE: u8 = 1;
const GRAFT: u8 = 2;
const GRAFT_AND_SEND: u8 = 3;
const PRUNE: u8 = 4;

impl<'a> Decode<'a> for PlumtreeMessage<'a> {
    fn decode(reader: &mut Reader<'a>, context: &Context<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            GOSSIP => Gossip::decode(reader, context).map(Self::Gossip),
            HAVE => Records::decode(reader, context).map(Self::Have),
            GRAFT => Ok(Self::Graft { id: None }),
            GRAFT_AND_SEND => Ok(Self::Graft { id: Some(reader.hash()?) }),
            PRUNE => Ok(Self::Prune),
            tag => Err(DecodeError::BadTag { tag }),
        }
    }
}

impl<'a> Decode<'a> for Gossip<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let (round, nonce) = (reader.u16()?, *reader.array()?);
        let length = usize::from(reader.u8()?);
        if length > TOPIC_BYTES_MAX {
            return Err(too_long(length, TOPIC_BYTES_MAX));
        }
        let topic = reader.bytes(length)?;
        let length = reader.u32()? as usize;
        if length > GOSSIP_DATA_BYTES_MAX {
            return Err(too_long(length, GOSSIP_DATA_BYTES_MAX));
        }
        Ok(Self { round, nonce, topic, data: reader.bytes(length)? })
    }
}

const fn too_long(length: usize, limit: usize) -> DecodeError {
    DecodeError::TextTooLong { length: length as u64, limit: limit as u64 }
}

impl Encode for PlumtreeMessage<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        match self {
            Self::Gossip(gossip) => {
                let length = gossip.topic.len();
                if length > TOPIC_BYTES_MAX {
                    return Err(EncodeError::TopicTooLong { length, limit: TOPIC_BYTES_MAX });
                }
                writer.u8(GOSSIP);
                writer.u16(gossip.round);
                writer.bytes(&gossip.nonce);
                writer.u8(length as u8);
                writer.bytes(gossip.topic);
                writer.u32(gossip.data.len() as u32);
                writer.bytes(gossip.data);
            }
            Self::Have(records) => {
                writer.u8(HAVE);
                records.encode(writer, version)?;
            }
            Self::Graft { id: None } => writer.u8(GRAFT),
            Self::Graft { id: Some(id) } => {
                writer.u8(GRAFT_AND_SEND);
                writer.hash(*id);
            }
            Self::Prune => writer.u8(PRUNE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::Network;

    const CONTEXT: Context<'_> = Context { version: 1000, network: &Network::DEV };

    fn written(message: &PlumtreeMessage<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut Writer::new(&mut bytes), 1000).unwrap();
        bytes
    }

    /// Reads one message; what is left behind it.
    fn read(bytes: &[u8]) -> Result<(PlumtreeMessage<'_>, usize), DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = PlumtreeMessage::decode(&mut reader, &CONTEXT)?;
        Ok((message, reader.rest().len()))
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written_and_no_part_of_it_is_one(
            which in 0..5,
            round: u16,
            nonce: [u8; 16],
            topic in prop::collection::vec(any::<u8>(), 0..=TOPIC_BYTES_MAX),
            data in prop::collection::vec(any::<u8>(), 0..300),
            ids in prop::collection::vec(any::<([u8; 32], u16)>(), 0..20),
        ) {
            let records: Vec<_> =
                ids.iter().map(|(id, round)| HaveGossip { id: Hash(*id), round: *round }).collect();
            let message = match which {
                0 => PlumtreeMessage::Gossip(Gossip { round, nonce, topic: &topic, data: &data }),
                1 => PlumtreeMessage::Have(Records::new(&records)),
                2 => PlumtreeMessage::Graft { id: None },
                3 => PlumtreeMessage::Graft { id: records.first().map(|one| one.id) },
                _ => PlumtreeMessage::Prune,
            };
            let mut bytes = written(&message);
            prop_assert_eq!(read(&bytes), Ok((message, 0)));
            for length in 0..bytes.len() {
                prop_assert!(read(&bytes[..length]).is_err(), "{} bytes", length);
            }
            bytes.push(7);
            prop_assert_eq!(read(&bytes), Ok((message, 1)));
        }
    }

    #[test]
    fn what_is_too_long_is_neither_written_nor_read() {
        let topic = [b't'; TOPIC_BYTES_MAX + 1];
        let gossip = Gossip { round: 0, nonce: [0; 16], topic: &topic, data: &[] };
        let message = PlumtreeMessage::Gossip(gossip);
        let error = message.encode(&mut Writer::new(&mut Vec::new()), 1000).unwrap_err();
        let limit = TOPIC_BYTES_MAX;
        assert_eq!(error, EncodeError::TopicTooLong { length: limit + 1, limit });
        let mut bytes = written(&PlumtreeMessage::Gossip(Gossip { topic: b"", ..gossip }));
        bytes[19] = limit as u8 + 1;
        let too_long = |length, limit| Err(DecodeError::TextTooLong { length, limit });
        assert_eq!(read(&bytes), too_long(limit as u64 + 1, limit as u64));
        bytes[19] = 0;
        bytes[20..24].copy_from_slice(&(GOSSIP_DATA_BYTES_MAX as u32 + 1).to_be_bytes());
        let limit = GOSSIP_DATA_BYTES_MAX as u64;
        assert_eq!(read(&bytes), too_long(limit + 1, limit));
        assert_eq!(read(&[5]), Err(DecodeError::BadTag { tag: 5 }));
    }

    #[test]
    fn an_id_follows_from_all_but_the_round() {
        let gossip = Gossip { round: 1, nonce: [1; 16], topic: b"ab", data: b"c" };
        assert_eq!(gossip.id(), Gossip { round: 9, ..gossip }.id());
        for other in [
            Gossip { nonce: [2; 16], ..gossip },
            Gossip { topic: b"a", data: b"bc", ..gossip },
            Gossip { data: b"d", ..gossip },
        ] {
            assert_ne!(gossip.id(), other.id());
        }
    }
}
