//! Addresses on the wire.
//!
//! A family byte (0 is IPv4, anything else IPv6), the address, the port. Reading has grin's quirk:
//! an IPv6 address that is IPv4-mapped or IPv4-compatible becomes IPv4, so that `::1` comes back as
//! `0.0.0.1` and `::` as `0.0.0.0`. Writing does not normalise. In messages of our own an address
//! is the name of a node, and none is read as another one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PEER_ADDRS_MAX;
use crate::wire::{Context, Decode, DecodeError, Encode, EncodeError, Reader, Writer};

const FAMILY_IPV4: u8 = 0;
const FAMILY_IPV6: u8 = 1;

impl Decode<'_> for SocketAddr {
    fn decode(reader: &mut Reader<'_>, _: &Context<'_>) -> Result<Self, DecodeError> {
        read_addr(reader)
    }
}

impl Encode for SocketAddr {
    fn encode(&self, writer: &mut Writer<'_>, _: u32) -> Result<(), EncodeError> {
        write_addr(self, writer);
        Ok(())
    }
}

pub(crate) fn write_addr(addr: &SocketAddr, writer: &mut Writer<'_>) {
    match addr.ip() {
        IpAddr::V4(v4) => {
            writer.u8(FAMILY_IPV4);
            writer.bytes(&v4.octets());
        }
        IpAddr::V6(v6) => {
            writer.u8(FAMILY_IPV6);
            writer.bytes(&v6.octets());
        }
    }
    writer.u16(addr.port());
}

fn read_addr(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = if reader.u8()? == FAMILY_IPV4 {
        Ipv4Addr::from(*reader.array()?).into()
    } else {
        let ip = Ipv6Addr::from(*reader.array()?);
        ip.to_ipv4().map_or_else(|| ip.into(), Into::into)
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

/// Without grin's quirk: as it stands, but for an IPv4-mapped one, which is IPv4.
pub(crate) fn read_exact(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip = match reader.u8()? {
        FAMILY_IPV4 => IpAddr::from(*reader.array::<4>()?),
        FAMILY_IPV6 => IpAddr::from(*reader.array::<16>()?).to_canonical(),
        tag => return Err(DecodeError::BadTag { tag }),
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

/// The addresses of a PeerAddrs, at most [`PEER_ADDRS_MAX`]: borrowed from the values that are to
/// be sent, or from the bytes that came.
#[derive(Clone, Copy)]
pub struct PeerAddrs<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Values(&'a [SocketAddr]),
    /// So many addresses were read from these bytes once, without an error.
    Wire {
        count: usize,
        bytes: &'a [u8],
    },
}

impl<'a> PeerAddrs<'a> {
    /// Addresses to send; those after the first [`PEER_ADDRS_MAX`] are left out.
    #[must_use]
    pub fn new(addrs: &'a [SocketAddr]) -> Self {
        Self(Source::Values(&addrs[..addrs.len().min(PEER_ADDRS_MAX)]))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Values(addrs) => addrs.len(),
            Source::Wire { count, .. } => count,
        }
    }

    /// Whether there is none. Such an answer is legal.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let (values, bytes): (&[SocketAddr], &[u8]) = match self.0 {
            Source::Values(addrs) => (addrs, &[]),
            Source::Wire { bytes, .. } => (&[], bytes),
        };
        let mut reader = Reader::new(bytes);
        let read = std::iter::from_fn(move || {
            if reader.rest().is_empty() { None } else { read_addr(&mut reader).ok() }
        });
        values.iter().copied().chain(read)
    }
}

impl<'a> Decode<'a> for PeerAddrs<'a> {
    fn decode(reader: &mut Reader<'a>, _: &Context<'_>) -> Result<Self, DecodeError> {
        let count = reader.u32()?;
        if count as usize > PEER_ADDRS_MAX {
            let limit = PEER_ADDRS_MAX as u64;
            return Err(DecodeError::ListTooLong { count: count.into(), limit });
        }
        let bytes = reader.rest();
        for _ in 0..count {
            read_addr(reader)?;
        }
        let bytes = &bytes[..bytes.len() - reader.rest().len()];
        Ok(Self(Source::Wire { count: count as usize, bytes }))
    }
}

impl Encode for PeerAddrs<'_> {
    fn encode(&self, writer: &mut Writer<'_>, version: u32) -> Result<(), EncodeError> {
        writer.u32(self.len() as u32);
        self.iter().try_for_each(|addr| addr.encode(writer, version))
    }
}

impl PartialEq for PeerAddrs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PeerAddrs<'_> {}

impl fmt::Debug for PeerAddrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    const CONTEXT: Context<'_> = Context { version: 1000, network: &Network::GRIN_MAIN };

    fn there_and_back(addr: &str) -> String {
        let addr: SocketAddr = addr.parse().unwrap();
        let mut bytes = Vec::new();
        addr.encode(&mut Writer::new(&mut bytes), 1000).unwrap();
        let mut reader = Reader::new(&bytes);
        let read = SocketAddr::decode(&mut reader, &CONTEXT).unwrap();
        reader.finish().unwrap();
        read.to_string()
    }

    #[test]
    fn mapped_and_compatible_addresses_become_ipv4() {
        assert_eq!(there_and_back("192.0.2.1:3414"), "192.0.2.1:3414");
        assert_eq!(there_and_back("[2001:db8::1]:1"), "[2001:db8::1]:1");
        assert_eq!(there_and_back("[::ffff:192.0.2.33]:3414"), "192.0.2.33:3414");
        assert_eq!(there_and_back("[::1]:3414"), "0.0.0.1:3414");
        assert_eq!(there_and_back("[::]:0"), "0.0.0.0:0");
    }

    #[test]
    fn any_family_but_zero_is_ipv6() {
        let mut bytes = vec![0x80];
        bytes.extend_from_slice(&[0x20; 16]);
        bytes.extend_from_slice(&[0, 7]);
        let addr = SocketAddr::decode(&mut Reader::new(&bytes), &CONTEXT).unwrap();
        assert!(addr.is_ipv6());
        assert_eq!(addr.port(), 7);
    }

    #[test]
    fn a_list_over_the_limit_is_refused_by_its_count() {
        let bytes = 257_u32.to_be_bytes();
        let list = PeerAddrs::decode(&mut Reader::new(&bytes), &CONTEXT);
        assert_eq!(list, Err(DecodeError::ListTooLong { count: 257, limit: 256 }));
    }

    #[test]
    fn what_is_sent_is_cut_to_the_limit() {
        let addrs = vec!["192.0.2.1:3414".parse().unwrap(); PEER_ADDRS_MAX + 1];
        assert_eq!(PeerAddrs::new(&addrs).len(), PEER_ADDRS_MAX);
    }
}
