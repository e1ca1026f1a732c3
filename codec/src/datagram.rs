//! Datagrams of a cluster: probes, their answers, and the news that ride on them.
//!
//! Sources: Das, Gupta, Motivala, "SWIM", DSN 2002; Dadgar, Phillips, Currey, "Lifeguard", 2017;
//! the keyed code, the tokens and the exchange of known events are ours. The layout is in
//! `docs/wire.md`. Invariant: what was opened was sealed with the key of the cluster by who has the
//! address that it came from, for who has the address that it came to; it is whole, and not longer
//! than [`DATAGRAM_BYTES_MAX`].

use std::fmt;
use std::net::SocketAddr;

use blake2b_simd::Params;

use crate::addr::{read_exact, write_addr};
use crate::limits::{DATAGRAM_BYTES_MAX, EVENT_DATA_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::wire::{DecodeError, Reader, Writer};

/// The secret that makes nodes a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(pub [u8; 32]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Bytes that the secret of a cluster has at least: as many as its key, so that it is no weaker.
pub const SECRET_BYTES_MIN: usize = 32;

/// A secret that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a secret of {length} bytes, and at least {SECRET_BYTES_MIN} are wanted")]
pub struct SecretTooShort {
    /// Bytes that it has.
    pub length: usize,
}

impl ClusterKey {
    /// The key that follows from a secret of [`SECRET_BYTES_MIN`] bytes or more: its BLAKE2b of 32
    /// bytes, personalised with `molva-cluster`. A text of so many bytes in hexadecimal digits,
    /// with or without white space around it, means these bytes: what a file holds is the secret,
    /// whoever reads it.
    ///
    /// # Errors
    ///
    /// [`SecretTooShort`].
    pub fn of_secret(secret: &[u8]) -> Result<Self, SecretTooShort> {
        let meant = hexadecimal(secret.trim_ascii());
        let secret = meant.as_deref().unwrap_or(secret);
        let length = secret.len();
        if length < SECRET_BYTES_MIN {
            return Err(SecretTooShort { length });
        }
        let hash = Params::new().hash_length(32).personal(b"molva-cluster").hash(secret);
        let mut key = [0; 32];
        key.copy_from_slice(hash.as_bytes());
        Ok(Self(key))
    }
}

/// What an even number of digits means, if they are enough for a secret.
fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>();
    bytes.filter(|bytes| bytes.len() >= SECRET_BYTES_MIN)
}

/// Bytes of the keyed code, which come first: 16 of BLAKE2b over the [`Ends`] and all that follows.
pub const DATAGRAM_CODE_BYTES: usize = 16;

/// Bytes before the call: code, incarnation, both tokens.
pub const DATAGRAM_HEAD_BYTES: usize = DATAGRAM_CODE_BYTES + 8 + 8 + 8;

/// Bytes of the shortest datagram: its head, and a call without fields.
pub const DATAGRAM_BYTES_MIN: usize = DATAGRAM_HEAD_BYTES + 1;

/// Between whom a datagram travels, by the addresses that name them. They are not in it: its code
/// covers them, so that what was caught between two is nothing between others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Who sends it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
}

impl Ends {
    /// The way back.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// Why a datagram is none of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// Fewer bytes than the shortest one has.
    #[error("datagram of {length} bytes, at least {DATAGRAM_BYTES_MIN}")]
    TooShort {
        /// Bytes that came.
        length: usize,
    },
    /// More bytes than there may be.
    #[error("datagram of {length} bytes, at most {limit}")]
    TooLong {
        /// Bytes that came.
        length: usize,
        /// Most that there may be.
        limit: usize,
    },
    /// Sealed with another key or between others, or altered.
    #[error("the code of a datagram is not of this cluster, or not of these addresses")]
    WrongCode,
    /// Sealed by a member, and yet malformed.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// One datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// How often the sender was born, or had to say that it lives.
    pub incarnation: u64,
    /// What the receiver is to echo, to show that it is at its address.
    pub token: u64,
    /// The token that the receiver gave last; 0 if it gave none.
    pub echo: u64,
    /// What is asked or answered.
    pub call: Call,
    /// What rides on it.
    pub news: NewsList<'a>,
}

/// What a datagram asks or answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Nothing: it only brings news.
    Tell,
    /// Are you there?
    Ping {
        /// Chosen by the asker.
        number: u32,
    },
    /// Here, or the one is that was asked for.
    Ack {
        /// That of the question.
        number: u32,
    },
    /// Is this one there? I do not hear it.
    PingFor {
        /// Chosen by the asker.
        number: u32,
        /// Whom it is about.
        target: SocketAddr,
    },
    /// I do not hear it either; but you and I hear each other.
    Nack {
        /// That of the question.
        number: u32,
    },
    /// These events are known to me: send what I lack.
    Sync {
        /// Whether it answers another one.
        reply: bool,
    },
}

/// What was last heard of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It answered, or said so itself.
    Alive,
    /// It did not answer this one.
    Suspect {
        /// Who suspects it.
        by: SocketAddr,
    },
    /// It did not deny that in time.
    Dead,
    /// It said goodbye.
    Left,
}

/// 16 bytes that name an event: BLAKE2b of its time, nonce, topic and data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId(pub [u8; 16]);

/// Something that happened, for all members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// When it was published, by the clock of who did: milliseconds since 1970 began.
    pub time: u64,
    /// Drawn by who published it: tells events apart that say the same.
    pub nonce: u64,
    /// What it is about; at most [`TOPIC_BYTES_MAX`] bytes.
    pub topic: &'a [u8],
    /// What it says; at most [`EVENT_DATA_BYTES_MAX`] bytes.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// What names it, so that nobody can put another one in its place.
    #[must_use]
    pub fn id(&self) -> EventId {
        let mut state = Params::new().hash_length(16).to_state();
        state.update(&self.time.to_be_bytes()).update(&self.nonce.to_be_bytes());
        state.update(&[self.topic.len() as u8]);
        state.update(self.topic).update(self.data);
        let mut id = [0; 16];
        id.copy_from_slice(state.finalize().as_bytes());
        EventId(id)
    }
}

/// One piece of news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News<'a> {
    /// Of a member.
    Member {
        /// Which one.
        addr: SocketAddr,
        /// In which of its incarnations.
        incarnation: u64,
        /// What was heard.
        life: Life,
    },
    /// An event.
    Event(Event<'a>),
    /// The sender knows this event.
    Known(EventId),
}

const ALIVE: u8 = 1;
const SUSPECT: u8 = 2;
const DEAD: u8 = 3;
const LEFT: u8 = 4;
const EVENT: u8 = 5;
const KNOWN: u8 = 6;

const TELL: u8 = 0;
const PING: u8 = 1;
const ACK: u8 = 2;
const PING_FOR: u8 = 3;
const NACK: u8 = 4;
const SYNC: u8 = 5;
const SYNC_REPLY: u8 = 6;

/// News one behind the other: those that were written, or that came and were read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewsList<'a>(&'a [u8]);

impl<'a> NewsList<'a> {
    /// News that [`News::write`] wrote, one behind the other.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], if they are anything else.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        while !reader.rest().is_empty() {
            News::read(&mut reader)?;
        }
        Ok(Self(bytes))
    }

    /// The news, in their order.
    pub fn iter(&self) -> impl Iterator<Item = News<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            if reader.rest().is_empty() { None } else { News::read(&mut reader).ok() }
        })
    }
}

/// Bytes of an IPv6 address with its family and port.
const ADDR_BYTES_MAX: usize = 1 + 16 + 2;

fn read_text<'a>(
    reader: &mut Reader<'a>,
    length: usize,
    limit: usize,
) -> Result<&'a [u8], DecodeError> {
    if length > limit {
        return Err(DecodeError::TextTooLong { length: length as u64, limit: limit as u64 });
    }
    reader.bytes(length)
}

impl<'a> News<'a> {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        match self {
            Self::Member { addr, incarnation, life } => {
                writer.u8(match life {
                    Life::Alive => ALIVE,
                    Life::Suspect { .. } => SUSPECT,
                    Life::Dead => DEAD,
                    Life::Left => LEFT,
                });
                write_addr(addr, &mut writer);
                writer.u64(*incarnation);
                if let Life::Suspect { by } = life {
                    write_addr(by, &mut writer);
                }
            }
            Self::Event(event) => {
                assert!(event.topic.len() <= TOPIC_BYTES_MAX, "checked when it was published");
                assert!(event.data.len() <= EVENT_DATA_BYTES_MAX, "checked when it was published");
                writer.u8(EVENT);
                writer.u64(event.time);
                writer.u64(event.nonce);
                writer.u8(event.topic.len() as u8);
                writer.bytes(event.topic);
                writer.u16(event.data.len() as u16);
                writer.bytes(event.data);
            }
            Self::Known(id) => {
                writer.u8(KNOWN);
                writer.bytes(&id.0);
            }
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let tag = reader.u8()?;
        match tag {
            ALIVE | SUSPECT | DEAD | LEFT => {
                let (addr, incarnation) = (read_exact(reader)?, reader.u64()?);
                let life = match tag {
                    ALIVE => Life::Alive,
                    SUSPECT => Life::Suspect { by: read_exact(reader)? },
                    DEAD => Life::Dead,
                    _ => Life::Left,
                };
                Ok(Self::Member { addr, incarnation, life })
            }
            EVENT => {
                let (time, nonce, length) = (reader.u64()?, reader.u64()?, reader.u8()?);
                let topic = read_text(reader, length.into(), TOPIC_BYTES_MAX)?;
                let length = reader.u16()?;
                let data = read_text(reader, length.into(), EVENT_DATA_BYTES_MAX)?;
                Ok(Self::Event(Event { time, nonce, topic, data }))
            }
            KNOWN => Ok(Self::Known(EventId(*reader.array()?))),
            tag => Err(DecodeError::BadTag { tag }),
        }
    }
}

impl Call {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            TELL => Self::Tell,
            PING => Self::Ping { number: reader.u32()? },
            ACK => Self::Ack { number: reader.u32()? },
            PING_FOR => Self::PingFor { number: reader.u32()?, target: read_exact(reader)? },
            NACK => Self::Nack { number: reader.u32()? },
            SYNC => Self::Sync { reply: false },
            SYNC_REPLY => Self::Sync { reply: true },
            tag => return Err(DecodeError::BadTag { tag }),
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let (tag, number) = match self {
            Self::Tell => (TELL, None),
            Self::Ping { number } => (PING, Some(number)),
            Self::Ack { number } => (ACK, Some(number)),
            Self::PingFor { number, .. } => (PING_FOR, Some(number)),
            Self::Nack { number } => (NACK, Some(number)),
            Self::Sync { reply: false } => (SYNC, None),
            Self::Sync { reply: true } => (SYNC_REPLY, None),
        };
        writer.u8(tag);
        if let Some(number) = number {
            writer.u32(*number);
        }
        if let Self::PingFor { target, .. } = self {
            write_addr(target, writer);
        }
    }
}

impl<'a> Datagram<'a> {
    /// The bytes that travel.
    ///
    /// # Panics
    ///
    /// If they would be more than [`DATAGRAM_BYTES_MAX`]: whoever adds news counts their bytes.
    #[must_use]
    pub fn seal(&self, key: &ClusterKey, ends: Ends) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DATAGRAM_HEAD_BYTES + 32 + self.news.0.len());
        bytes.resize(DATAGRAM_CODE_BYTES, 0);
        let mut writer = Writer::new(&mut bytes);
        for number in [self.incarnation, self.token, self.echo] {
            writer.u64(number);
        }
        self.call.write(&mut writer);
        writer.bytes(self.news.0);
        assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "{} bytes", bytes.len());
        Self::write_code(key, ends, &mut bytes);
        bytes
    }

    /// Puts the code of all that follows into the first [`DATAGRAM_CODE_BYTES`], of which there
    /// must be as many.
    pub fn write_code(key: &ClusterKey, ends: Ends, bytes: &mut [u8]) {
        let (place, rest) = bytes.split_at_mut(DATAGRAM_CODE_BYTES);
        place.copy_from_slice(code(key, ends, rest).as_bytes());
    }

    /// Whether any datagram has so many bytes: it takes no look at them to refuse others.
    ///
    /// # Errors
    ///
    /// [`DatagramError::TooShort`], [`DatagramError::TooLong`].
    pub const fn check_length(length: usize) -> Result<(), DatagramError> {
        let limit = DATAGRAM_BYTES_MAX;
        if length > limit {
            return Err(DatagramError::TooLong { length, limit });
        }
        if length < DATAGRAM_BYTES_MIN { Err(DatagramError::TooShort { length }) } else { Ok(()) }
    }

    /// What these bytes say, if a member of the cluster wrote them that has the address `from`, for
    /// the one that has the address `to`.
    ///
    /// # Errors
    ///
    /// [`DatagramError`].
    pub fn open(key: &ClusterKey, ends: Ends, bytes: &'a [u8]) -> Result<Self, DatagramError> {
        Self::check_length(bytes.len())?;
        let mut reader = Reader::new(bytes);
        let claimed = reader.bytes(DATAGRAM_CODE_BYTES)?;
        if code(key, ends, reader.rest()) != *claimed {
            return Err(DatagramError::WrongCode); // compared in constant time
        }
        let [incarnation, token, echo] = [reader.u64()?, reader.u64()?, reader.u64()?];
        let call = Call::read(&mut reader)?;
        Ok(Self { incarnation, token, echo, call, news: NewsList::new(reader.rest())? })
    }
}

/// Covers both addresses as they stand in a datagram, and in their one form.
fn code(key: &ClusterKey, ends: Ends, bytes: &[u8]) -> blake2b_simd::Hash {
    let mut addrs = Vec::with_capacity(2 * ADDR_BYTES_MAX);
    for addr in [ends.from, ends.to] {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        write_addr(&addr, &mut Writer::new(&mut addrs));
    }
    let mut state = Params::new().hash_length(DATAGRAM_CODE_BYTES).key(&key.0).to_state();
    state.update(&addrs).update(bytes).finalize()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    const KEY: ClusterKey = ClusterKey([7; 32]);

    fn ends() -> Ends {
        Ends { from: ([192, 0, 2, 1], 1).into(), to: ([192, 0, 2, 2], 2).into() }
    }

    fn addrs() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        // No mapped ones, which are read as IPv4.
        let v6 = any::<([u8; 14], u16)>().prop_map(|(low, port)| {
            let mut ip = [0x20; 16];
            ip[2..].copy_from_slice(&low);
            SocketAddr::from((ip, port))
        });
        let loopback = any::<u16>().prop_map(|port| (Ipv6Addr::LOCALHOST, port).into());
        prop_oneof![v4, v6, loopback]
    }

    fn calls() -> impl Strategy<Value = Call> {
        (0..7, any::<u32>(), addrs()).prop_map(|(which, number, target)| match which {
            0 => Call::Tell,
            1 => Call::Ping { number },
            2 => Call::Ack { number },
            3 => Call::PingFor { number, target },
            4 => Call::Nack { number },
            _ => Call::Sync { reply: which == 6 },
        })
    }

    fn news(which: u8, addr: SocketAddr, number: u64, data: &[u8]) -> News<'_> {
        let member = |life| News::Member { addr, incarnation: number, life };
        match which {
            0 => member(Life::Alive),
            1 => member(Life::Suspect { by: addr }),
            2 => member(Life::Dead),
            3 => member(Life::Left),
            4 => News::Known(EventId([number as u8; 16])),
            _ => {
                let topic = &data[..data.len() / 3];
                News::Event(Event { time: number / 3, nonce: number, topic, data })
            }
        }
    }

    proptest! {
        #[test]
        fn a_datagram_is_opened_as_it_was_sealed_and_no_part_of_it_is_one(
            head: [u64; 3],
            (from, to, another) in (addrs(), addrs(), addrs()),
            call in calls(),
            said in prop::collection::vec(
                (0u8..6, addrs(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..60)),
                0..8,
            ),
            at: prop::sample::Index,
        ) {
            let mut bytes = Vec::new();
            let said: Vec<_> =
                said.iter().map(|(which, addr, n, data)| news(*which, *addr, *n, data)).collect();
            said.iter().for_each(|one| one.write(&mut bytes));
            let [incarnation, token, echo] = head;
            let list = NewsList::new(&bytes).unwrap();
            let datagram = Datagram { incarnation, token, echo, call, news: list };
            let ends = Ends { from, to };
            let mut sealed = datagram.seal(&KEY, ends);
            let opened = Datagram::open(&KEY, ends, &sealed);
            prop_assert_eq!(opened, Ok(datagram));
            // What was caught between two is nothing between others.
            for others in [Ends { from: another, to }, Ends { from, to: another }, ends.turned()] {
                let opened = Datagram::open(&KEY, others, &sealed);
                prop_assert_eq!(opened.is_ok(), others == ends);
            }
            prop_assert!(datagram.news.iter().eq(said));
            let other = ClusterKey([8; 32]);
            prop_assert_eq!(Datagram::open(&other, ends, &sealed), Err(DatagramError::WrongCode));
            let at = at.index(sealed.len());
            prop_assert!(Datagram::open(&KEY, ends, &sealed[..at]).is_err());
            sealed[at] ^= 1;
            prop_assert_eq!(Datagram::open(&KEY, ends, &sealed), Err(DatagramError::WrongCode));
        }

        #[test]
        fn no_bytes_of_a_member_make_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = code(&KEY, ends(), &body).as_bytes().to_vec();
            bytes.extend(&body);
            if let Ok(datagram) = Datagram::open(&KEY, ends(), &bytes) {
                datagram.news.iter().for_each(drop);
            }
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        let long = vec![0; DATAGRAM_BYTES_MAX + 1];
        let (length, limit) = (long.len(), DATAGRAM_BYTES_MAX);
        let error = DatagramError::TooLong { length, limit };
        assert_eq!(Datagram::open(&KEY, ends(), &long), Err(error));
        let news = NewsList::default();
        let shortest = Datagram { incarnation: 1, token: 1, echo: 0, call: Call::Tell, news };
        let shortest = shortest.seal(&KEY, ends());
        assert_eq!(shortest.len(), DATAGRAM_BYTES_MIN);
        let length = DATAGRAM_BYTES_MIN - 1;
        let opened = Datagram::open(&KEY, ends(), &shortest[..length]);
        assert_eq!(opened, Err(DatagramError::TooShort { length }));
        let mut bytes = Vec::new();
        News::Event(Event { time: 1, nonce: 1, topic: b"", data: b"" }).write(&mut bytes);
        bytes[17] = TOPIC_BYTES_MAX as u8 + 1;
        assert!(matches!(NewsList::new(&bytes), Err(DecodeError::TextTooLong { .. })));
        bytes[17] = 0;
        bytes[18..].copy_from_slice(&(EVENT_DATA_BYTES_MAX as u16 + 1).to_be_bytes());
        assert!(matches!(NewsList::new(&bytes), Err(DecodeError::TextTooLong { .. })));
        assert_eq!(NewsList::new(&[7]), Err(DecodeError::BadTag { tag: 7 }));
    }

    /// Who listens on an IPv6 socket may see an IPv4 sender as a mapped one.
    #[test]
    fn a_mapped_end_is_its_ipv4_self_and_scopes_are_nothing() {
        let news = NewsList::default();
        let datagram = Datagram { incarnation: 1, token: 1, echo: 0, call: Call::Tell, news };
        let parse = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let plain = Ends { from: parse("192.0.2.1:5"), to: parse("[fe80::1]:6") };
        let other = Ends { from: parse("[::ffff:192.0.2.1]:5"), to: parse("[fe80::1%7]:6") };
        assert_eq!(Datagram::open(&KEY, other, &datagram.seal(&KEY, plain)), Ok(datagram));
        assert_eq!(Datagram::open(&KEY, plain, &datagram.seal(&KEY, other)), Ok(datagram));
    }

    #[test]
    fn digits_are_bytes_if_they_are_enough_and_even() {
        let text = "0aF9".repeat(16);
        assert_eq!(hexadecimal(text.as_bytes()), Some([0x0a, 0xf9].repeat(16)));
        for text in ["0".repeat(62), "0".repeat(65), "x".repeat(64), String::new()] {
            assert_eq!(hexadecimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_key_follows_from_all_of_a_secret_that_is_long_enough() {
        let secret = [7; SECRET_BYTES_MIN + 1];
        let key = ClusterKey::of_secret(&secret).unwrap();
        assert_ne!(ClusterKey::of_secret(&secret[1..]), Ok(key.clone()));
        assert_ne!(key.0, secret[..32]);
        for text in ["07".repeat(SECRET_BYTES_MIN + 1), format!(" {}\n", "07".repeat(33))] {
            assert_eq!(ClusterKey::of_secret(text.as_bytes()), Ok(key.clone()), "{text:?}");
        }
        let text = "07".repeat(SECRET_BYTES_MIN - 1);
        assert!(ClusterKey::of_secret(text.as_bytes()).is_ok(), "no digits, but 62 bytes");
        let error = SecretTooShort { length: SECRET_BYTES_MIN - 1 };
        assert_eq!(ClusterKey::of_secret(&secret[2..]), Err(error));
        assert!(!format!("{key:?}").contains(&format!("{}", key.0[0])), "a secret in a log");
    }

    #[test]
    fn an_id_follows_from_all_of_an_event() {
        let event = Event { time: 1, nonce: 1, topic: b"ab", data: b"c" };
        for other in [
            Event { time: 2, ..event },
            Event { nonce: 2, ..event },
            Event { topic: b"a", data: b"bc", ..event },
            Event { data: b"d", ..event },
        ] {
            assert_ne!(event.id(), other.id());
        }
    }

    /// The datagram of docs/wire.md, made by another implementation of BLAKE2b.
    #[test]
    fn the_example_of_the_documentation_is_one() {
        let secret: [u8; 32] = std::array::from_fn(|place| place as u8);
        let key = ClusterKey::of_secret(&secret).unwrap();
        let (addr, by) = (([192, 0, 2, 1], 3414).into(), (Ipv6Addr::LOCALHOST, 3416).into());
        let life = Life::Suspect { by };
        let event = Event { time: 1_700_000_000_000, nonce: 5, topic: b"t", data: b"hi" };
        let mut bytes = Vec::new();
        News::Member { addr, incarnation: 9, life }.write(&mut bytes);
        News::Event(event).write(&mut bytes);
        let (call, news) = (Call::Ping { number: 7 }, NewsList::new(&bytes).unwrap());
        let ends = Ends { from: ([192, 0, 2, 3], 3414).into(), to: addr };
        let sealed = Datagram { incarnation: 1, token: 2, echo: 3, call, news }.seal(&key, ends);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = include_str!("../../docs/wire.md");
        let (_, rest) = text.split_once("Datagram  ").unwrap();
        let example: String = rest.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(hex(&sealed), example);
        let named = |name: &str, value: &[u8]| {
            assert!(text.contains(&format!("{name}{}", hex(value))), "{name}{}", hex(value));
        };
        named("Key       ", &key.0);
        named("Event id  ", &event.id().0);
    }

    /// The largest event fits beside the longest head, call and topic.
    #[test]
    fn every_event_fits_into_a_datagram() {
        let (topic, data) = ([0; TOPIC_BYTES_MAX], [0; EVENT_DATA_BYTES_MAX]);
        let mut bytes = Vec::new();
        News::Event(Event { time: 1, nonce: 1, topic: &topic, data: &data }).write(&mut bytes);
        let call = Call::PingFor { number: 1, target: ([0x20; 16], 1).into() };
        let news = NewsList::new(&bytes).unwrap();
        let datagram = Datagram { incarnation: 1, token: 1, echo: 1, call, news };
        assert!(datagram.seal(&KEY, ends()).len() <= DATAGRAM_BYTES_MAX);
    }
}
