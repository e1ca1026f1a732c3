//! What an address means to us: its canonical form, whose it is, and how near it is to others.
//!
//! Everything that counts by address (connections, bans, book, slots) asks here, so that no two
//! rooms disagree.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address in its one form: an IPv4-mapped IPv6 address is IPv4, flow and scope are dropped.
#[must_use]
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Where an engine lives, which decides what an address tells about its owner.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Locality {
    /// The internet. One host per IPv4 address and per IPv6 /64, of which a customer has at least
    /// one (RFC 6177); but on loopback one per IP and port, as grin counts, since a proxy may sit
    /// there. Groups are IPv4 /16 and IPv6 /32. Unroutable addresses that others tell are not
    /// taken.
    #[default]
    Internet,
    /// Many engines on one machine: on loopback each IP and port is a host and a group of its own.
    /// Every address is taken.
    Local,
    /// An internet made of loopback: each loopback IP is one host, and 127.x.y.z belongs to the
    /// group of 127.x. Every address is taken. For tests of what hosts and groups may do.
    Hosts,
}

/// One host, as far as its address tells: what may hold one connection, one ban, one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostKey {
    ip: IpAddr,
    /// Zero where the IP alone decides.
    port: u16,
}

/// Addresses that one party could easily own together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group(HostKey);

impl HostKey {
    /// The IP; of an IPv6 host the first of its /64.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// The port, where it belongs to the key.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        if self.port == 0 { None } else { Some(self.port) }
    }

    /// 18 bytes that no other key has: the IP as IPv6, the port.
    #[must_use]
    pub const fn bytes(self) -> [u8; 18] {
        let ip = match self.ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut bytes = [0; 18];
        let mut i = 0;
        while i < 16 {
            bytes[i] = ip[i];
            i += 1;
        }
        let [high, low] = self.port.to_be_bytes();
        bytes[16] = high;
        bytes[17] = low;
        bytes
    }
}

impl Group {
    /// 18 bytes that no other group has.
    #[must_use]
    pub const fn bytes(self) -> [u8; 18] {
        self.0.bytes()
    }
}

impl Locality {
    /// The host behind an address.
    #[must_use]
    pub fn host(self, addr: SocketAddr) -> HostKey {
        let addr = canonical(addr);
        let by_port = addr.ip().is_loopback() && self != Self::Hosts;
        let ip = match addr.ip() {
            // The neighbours of ::1 are not its owner's.
            IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from(v6.to_bits() >> 64 << 64).into(),
            ip => ip,
        };
        HostKey { ip, port: if by_port { addr.port() } else { 0 } }
    }

    /// The group that an address belongs to.
    #[must_use]
    pub fn group(self, addr: SocketAddr) -> Group {
        let addr = canonical(addr);
        if self == Self::Local && addr.ip().is_loopback() {
            return Group(self.host(addr));
        }
        let ip = match addr.ip() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                IpAddr::from([a, b, 0, 0])
            }
            IpAddr::V6(v6) => {
                let [a, b, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0))
            }
        };
        Group(HostKey { ip, port: 0 })
    }

    /// Whether an address that somebody told us could be dialled from here.
    #[must_use]
    pub fn is_reachable(self, addr: SocketAddr) -> bool {
        let addr = canonical(addr);
        let ip = addr.ip();
        let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if addr.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast {
            return false;
        }
        self != Self::Internet || is_global(ip)
    }
}

/// Routable on the internet, as far as the registries of special-purpose addresses tell
/// (RFC 6890 and its updates).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(a == 0
                || a >= 240
                || v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xfe == 18))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            // Only 2000::/3 is given out; of it, documentation and benchmarking are no hosts, and
            // Teredo (2001::/32) and 6to4 (2002::/16) are IPv4 hosts with a second group.
            segments[0] & 0xe000 == 0x2000
                && !(segments[0] == 0x2001 && matches!(segments[1], 0 | 0x0db8))
                && segments[0] != 0x2002
                && !(segments[0] == 0x2001 && segments[1] == 2 && segments[2] == 0)
                && segments[0] & 0xfff0 != 0x3ff0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self() {
        let (mapped, plain) = (addr("[::ffff:192.0.2.7]:3414"), addr("192.0.2.7:3414"));
        assert_eq!(canonical(mapped), plain);
        for locality in [Locality::Internet, Locality::Local, Locality::Hosts] {
            assert_eq!(locality.host(mapped), locality.host(plain));
            assert_eq!(locality.group(mapped), locality.group(plain));
        }
    }

    #[test]
    fn the_port_belongs_to_the_host_on_loopback_only() {
        let (one, other) = (addr("127.0.0.1:1"), addr("127.0.0.1:2"));
        assert_ne!(Locality::Internet.host(one), Locality::Internet.host(other));
        assert_ne!(Locality::Local.group(one), Locality::Local.group(other));
        assert_eq!(Locality::Hosts.host(one), Locality::Hosts.host(other));
        let (one, other) = (addr("192.0.2.7:1"), addr("192.0.2.7:2"));
        assert_eq!(Locality::Internet.host(one), Locality::Internet.host(other));
        assert_ne!(Locality::Internet.host(one), Locality::Internet.host(addr("192.0.2.8:1")));
    }

    #[test]
    fn an_ipv6_host_is_its_64() {
        let host = |text| Locality::Internet.host(addr(text));
        assert_eq!(host("[2a01:1:2:3::4]:1"), host("[2a01:1:2:3:ffff::9]:2"));
        assert_ne!(host("[2a01:1:2:3::4]:1"), host("[2a01:1:2:4::4]:1"));
        assert_ne!(Locality::Hosts.host(addr("[::1]:1")), Locality::Hosts.host(addr("[::2]:1")));
    }

    #[test]
    fn groups_are_a_sixteenth_of_ipv4_and_a_quarter_of_ipv6_prefixes() {
        let same = |a: &str, b: &str| {
            Locality::Internet.group(addr(a)) == Locality::Internet.group(addr(b))
        };
        assert!(same("198.51.1.1:1", "198.51.200.9:2") && !same("198.51.1.1:1", "198.52.1.1:1"));
        assert!(same("[2a01:1:2::1]:1", "[2a01:1:ffff::9]:2"));
        assert!(!same("[2a01:1::1]:1", "[2a01:2::1]:1"));
    }

    #[test]
    fn what_is_not_on_the_internet_is_not_reachable_from_it() {
        let refused = "0.1.2.3:1 10.0.0.1:1 100.64.0.1:1 127.0.0.1:1 169.254.1.1:1 172.16.0.1:1 \
            192.0.0.9:1 192.0.2.1:1 192.168.1.1:1 198.18.0.1:1 224.0.0.1:1 255.255.255.255:1 \
            8.8.8.8:0 [::1]:1 [::]:1 [fe80::1]:1 [fc00::1]:1 [2001:db8::1]:1 [ff02::1]:1 \
            [2002:4242:101::1]:1 [2001:0:4242:101::1]:1";
        for text in refused.split_whitespace() {
            assert!(!Locality::Internet.is_reachable(addr(text)), "{text}");
        }
        for text in ["8.8.8.8:3414", "100.128.0.1:1", "[2a01:4f8::1]:3414"] {
            assert!(Locality::Internet.is_reachable(addr(text)), "{text}");
        }
        assert!(Locality::Local.is_reachable(addr("127.0.0.1:1")));
        assert!(!Locality::Local.is_reachable(addr("127.0.0.1:0")));
        // Nobody is there, or everybody.
        for text in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "[::ffff:255.255.255.255]:1"]
        {
            for locality in [Locality::Internet, Locality::Local, Locality::Hosts] {
                assert!(!locality.is_reachable(addr(text)), "{text}");
            }
        }
    }
}
