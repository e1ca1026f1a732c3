//! Whom a ban or a list concerns, and the table that finds it by an address.
//!
//! Targets have one canonical form, so that no spelling of an address evades them: IPv4-mapped
//! addresses are IPv4, an IPv6 host is its /64 (whoever has one of its addresses has all), bits
//! beyond the prefix are zero.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::address::{HostKey, Locality, canonical};

/// Whom a ban concerns.
///
/// As text: `192.0.2.7`, `192.0.2.0/24`, `2001:db8:0:1::/64`, `127.0.0.1:3414`, `[::1]:3414`.
/// Reading is lenient where the meaning is clear, and what is read is shown in its canonical form:
///
/// ```
/// use peer::BanTarget;
/// let read = |text: &str| text.parse::<BanTarget>().unwrap().to_string();
/// assert_eq!(read("192.0.2.7/24"), "192.0.2.0/24", "bits beyond the prefix are dropped");
/// assert_eq!(read("192.0.2.7:3414"), "192.0.2.7", "a port tells hosts apart on loopback only");
/// assert_eq!(read("2001:db8::7"), "2001:db8::/64", "an IPv6 host is its /64");
/// assert_eq!(read("::ffff:192.0.2.0/120"), "192.0.2.0/24", "a mapped subnet is IPv4");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BanTarget {
    /// One port of one host: only where a host is told by its port (loopback). Elsewhere the whole
    /// host is meant.
    Endpoint(SocketAddr),
    /// All addresses that begin with these bits; the others are zero. A single host is /32 or /64.
    Subnet {
        /// The first address.
        ip: IpAddr,
        /// How many bits count: up to 32 or 128.
        prefix: u8,
    },
}

/// Text that names nobody to ban.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither an IP, nor an IP and a port, nor a subnet.
    #[error("not an IP address, IP:port or IP/prefix")]
    NoAddress,
    /// What follows the slash is no number of bits.
    #[error("the prefix after the slash is not a number from 0 to {bits_max}")]
    BadPrefix {
        /// Bits of such an address.
        bits_max: u8,
    },
}

impl BanTarget {
    /// The single host behind an address: IPv4 /32, IPv6 /64, on loopback as `locality` counts.
    #[must_use]
    pub fn host(addr: SocketAddr, locality: Locality) -> Self {
        Self::from(locality.host(addr))
    }

    /// All addresses that agree with `ip` in the first `prefix` bits.
    ///
    /// # Errors
    ///
    /// [`TargetError::BadPrefix`] if such an address has fewer bits.
    pub fn subnet(ip: IpAddr, prefix: u8) -> Result<Self, TargetError> {
        let bits_max = bits(ip);
        if prefix > bits_max {
            return Err(TargetError::BadPrefix { bits_max });
        }
        Ok(Self::Subnet { ip, prefix }.canonical())
    }

    /// Whether it concerns this address.
    #[must_use]
    pub fn contains(&self, addr: SocketAddr) -> bool {
        let addr = canonical(addr);
        match self.canonical() {
            Self::Endpoint(own) => own == addr,
            Self::Subnet { ip, prefix } => {
                ip.is_ipv4() == addr.is_ipv4() && ip == masked(addr.ip(), prefix)
            }
        }
    }

    /// The one form of all that mean the same.
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::Endpoint(addr) => {
                let addr = canonical(addr);
                let by_port = addr.ip().is_loopback() && addr.port() != 0;
                if by_port { Self::Endpoint(addr) } else { Self::single(addr.ip()) }
            }
            Self::Subnet { ip, prefix } => {
                let v4 = ip.to_canonical();
                // A prefix that leaves the mapping's own bits open reaches beyond IPv4.
                let (ip, prefix) = match prefix.checked_sub(MAPPED_PREFIX) {
                    Some(prefix) if ip.is_ipv6() && v4.is_ipv4() => (v4, prefix),
                    _ => (ip, prefix),
                };
                let prefix = prefix.min(bits(ip));
                Self::Subnet { ip: masked(ip, prefix), prefix }
            }
        }
    }

    /// The host that has this IP.
    fn single(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        // The neighbours of ::1 are not its owner's.
        let prefix = if ip.is_ipv6() && !ip.is_loopback() { HOST_PREFIX_V6 } else { bits(ip) };
        Self::Subnet { ip: masked(ip, prefix), prefix }
    }
}

/// The least that an IPv6 customer gets (RFC 6177), so the most that a single host is worth.
const HOST_PREFIX_V6: u8 = 64;

/// Bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_PREFIX: u8 = 96;

/// Bits of such an address.
const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits beyond the prefix zero.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    let beyond = u32::from(bits(ip).saturating_sub(prefix));
    // A shift by all bits leaves nothing.
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl From<HostKey> for BanTarget {
    fn from(host: HostKey) -> Self {
        match host.port() {
            Some(port) => Self::Endpoint(SocketAddr::new(host.ip(), port)).canonical(),
            None => Self::single(host.ip()),
        }
    }
}

impl FromStr for BanTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some((ip, prefix)) = text.split_once('/') {
            let ip = ip.parse().map_err(|_| TargetError::NoAddress)?;
            let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
            return match prefix.parse() {
                Ok(prefix) if digits => Self::subnet(ip, prefix),
                _ => Err(TargetError::BadPrefix { bits_max: bits(ip) }),
            };
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::single(ip));
        }
        let addr = text.parse().map_err(|_| TargetError::NoAddress)?;
        Ok(Self::Endpoint(addr).canonical())
    }
}

impl fmt::Display for BanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.canonical() {
            Self::Endpoint(addr) => write!(f, "{addr}"),
            Self::Subnet { ip: IpAddr::V4(ip), prefix: 32 } => write!(f, "{ip}"),
            Self::Subnet { ip, prefix } => write!(f, "{ip}/{prefix}"),
        }
    }
}

/// Values by target, which must be canonical, found by the addresses that they concern.
#[derive(Debug)]
pub(super) struct Targets<T> {
    values: BTreeMap<BanTarget, T>,
    /// How many subnets there are of each length; IPv6 is true. A look-up tries those that occur.
    lengths: BTreeMap<(bool, u8), u32>,
}

impl<T> Default for Targets<T> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<T> Targets<T> {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn get(&self, target: &BanTarget) -> Option<&T> {
        self.values.get(target)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }

    pub(super) fn insert(&mut self, target: BanTarget, value: T) {
        let is_new = self.values.insert(target, value).is_none();
        if let (true, BanTarget::Subnet { ip, prefix }) = (is_new, target) {
            *self.lengths.entry((ip.is_ipv6(), prefix)).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, target: &BanTarget) -> Option<T> {
        let value = self.values.remove(target)?;
        if let BanTarget::Subnet { ip, prefix } = *target
            && let Some(count) = self.lengths.get_mut(&(ip.is_ipv6(), prefix))
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&(ip.is_ipv6(), prefix));
            }
        }
        Some(value)
    }

    /// What concerns this address, the narrowest first. Each length of prefix that occurs is tried,
    /// in O(log n).
    pub(super) fn concerning(&self, addr: SocketAddr) -> impl Iterator<Item = &T> {
        let (addr, v6) = (canonical(addr), canonical(addr).is_ipv6());
        let lengths = self.lengths.range((v6, 0)..=(v6, u8::MAX)).rev();
        let subnets = lengths.map(move |(&(_, prefix), _)| BanTarget::Subnet {
            ip: masked(addr.ip(), prefix),
            prefix,
        });
        let all = std::iter::once(BanTarget::Endpoint(addr)).chain(subnets);
        all.filter_map(|target| self.values.get(&target))
    }
}

/// A list of an operator; what is named twice counts once.
impl FromIterator<BanTarget> for Targets<()> {
    fn from_iter<I: IntoIterator<Item = BanTarget>>(targets: I) -> Self {
        let mut table = Self::default();
        for target in targets {
            table.insert(target.canonical(), ());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn target(text: &str) -> BanTarget {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_an_address_a_64_or_a_port_of_loopback() {
        let host = |text, locality| BanTarget::host(addr(text), locality).to_string();
        assert_eq!(host("[::ffff:192.0.2.7]:99", Locality::Internet), "192.0.2.7");
        assert_eq!(host("[2001:db8:1:2:3::4]:99", Locality::Internet), "2001:db8:1:2::/64");
        assert_eq!(host("127.0.0.1:99", Locality::Internet), "127.0.0.1:99");
        assert_eq!(host("[::1]:99", Locality::Local), "[::1]:99");
        assert_eq!(host("[::1]:99", Locality::Hosts), "::1/128");
        assert_eq!(host("127.1.2.3:99", Locality::Hosts), "127.1.2.3");
    }

    #[test]
    fn text_that_names_nobody_is_refused() {
        for text in ["", "host", "192.0.2", "192.0.2.7 ", "192.0.2.7:", "192.0.2.7:65536", "x/8"] {
            assert_eq!(text.parse::<BanTarget>(), Err(TargetError::NoAddress), "{text:?}");
        }
        for text in ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/999"] {
            let error = text.parse::<BanTarget>().unwrap_err();
            assert_eq!(error, TargetError::BadPrefix { bits_max: 32 }, "{text:?}");
        }
        let error = "2001:db8::/129".parse::<BanTarget>().unwrap_err();
        assert_eq!(error, TargetError::BadPrefix { bits_max: 128 });
    }

    #[test]
    fn a_subnet_of_one_family_holds_nobody_of_the_other() {
        assert!(target("0.0.0.0/0").contains(addr("[::ffff:8.8.8.8]:1")));
        assert!(!target("0.0.0.0/0").contains(addr("[2001:db8::1]:1")));
        assert!(!target("::/0").contains(addr("8.8.8.8:1")));
        assert!(!target("::ffff:8.8.8.8/64").contains(addr("8.8.8.8:1")));
    }

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        let edges = ["::1", "::ffff:127.0.0.1", "127.0.0.1", "::", "0.0.0.0", "::ffff:192.0.2.7"];
        let edges = edges.map(|text| text.parse::<IpAddr>().unwrap());
        prop_oneof![
            any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
            any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
            any::<u32>().prop_map(|n| Ipv4Addr::from_bits(n).to_ipv6_mapped().into()),
            prop::sample::select(edges.to_vec()),
        ]
    }

    fn any_target() -> impl Strategy<Value = BanTarget> {
        let endpoint = |(ip, port)| BanTarget::Endpoint(SocketAddr::new(ip, port));
        prop_oneof![
            (any_ip(), any::<u16>()).prop_map(endpoint),
            (any_ip(), 0..=128_u8).prop_map(|(ip, prefix)| BanTarget::Subnet { ip, prefix }),
        ]
    }

    proptest! {
        /// What is shown reads back as the same in its one form, and holds whom it was made of.
            #[test]
            fn text_leads_back(target in any_target(), port in 1..u16::MAX) {
                let read: BanTarget = target.to_string().parse().unwrap();
                prop_assert_eq!(read, target.canonical());
                prop_assert_eq!(read, read.canonical());
                let own = match target {
                    BanTarget::Endpoint(addr) => addr,
                    BanTarget::Subnet { ip, .. } => SocketAddr::new(ip, port),
                };
                // A short prefix of a mapped address is an IPv6 subnet, where no such host is met.
                if own.ip().is_ipv4() == own.ip().to_canonical().is_ipv4() {
                    prop_assert!(target.contains(own));
                }
            }
    }
}
