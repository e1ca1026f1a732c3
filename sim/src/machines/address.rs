//! Which address stands for which node.

use std::net::SocketAddr;

/// Groups (IPv4 /16) that nodes are spread over: as many as there are between 1.0 and 223.255
/// without the loopback net, about.
const GROUPS: usize = 50_000;

/// First byte of the addresses of liars; no other node has it.
const LIARS: u8 = 201;

const PORT: u16 = 3_414;

/// Nodes by their numbers: honest ones, each in a group of its own as long as there are enough, and
/// behind them liars, who have a few groups only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    honest: usize,
    liar_groups: usize,
}

impl Addresses {
    /// Honest nodes only.
    #[must_use]
    pub const fn honest() -> Self {
        Self { honest: usize::MAX, liar_groups: 1 }
    }

    /// So many honest nodes; whoever comes behind them has one of so many groups, 256 at most.
    #[must_use]
    pub const fn with_liars(honest: usize, groups: usize) -> Self {
        assert!(groups > 0 && groups <= 256);
        Self { honest, liar_groups: groups }
    }

    /// The address of a node.
    #[must_use]
    pub fn of(&self, node: usize) -> SocketAddr {
        let (first, second, rest) = match node.checked_sub(self.honest) {
            Some(liar) => (LIARS, liar % self.liar_groups, liar / self.liar_groups),
            None => {
                let group = node % GROUPS;
                let first = 1 + (group / 256) as u8;
                (first + u8::from(first >= 127), group % 256, node / GROUPS)
            }
        };
        let [high, low] = (rest as u16).to_be_bytes();
        SocketAddr::from(([first, second as u8, high, low], PORT))
    }

    /// The node with this address.
    #[must_use]
    pub fn node(&self, addr: SocketAddr) -> Option<usize> {
        let SocketAddr::V4(v4) = addr else { return None };
        let [first, second, high, low] = v4.ip().octets();
        let (second, rest) = (usize::from(second), usize::from(u16::from_be_bytes([high, low])));
        if first == LIARS {
            return self.honest.checked_add(rest * self.liar_groups + second);
        }
        let first = usize::from(first - u8::from(first > 127)).checked_sub(1)?;
        Some(rest * GROUPS + first * 256 + second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_address() {
        for addresses in [Addresses::honest(), Addresses::with_liars(90_000, 7)] {
            for node in (0..100_000).step_by(37).chain([0, 49_999, 50_000, 89_999, 90_000]) {
                assert_eq!(addresses.node(addresses.of(node)), Some(node));
            }
        }
    }

    #[test]
    fn liars_are_crowded() {
        let addresses = Addresses::with_liars(10, 3);
        let group = |node| match addresses.of(node) {
            SocketAddr::V4(v4) => [v4.ip().octets()[0], v4.ip().octets()[1]],
            SocketAddr::V6(_) => unreachable!("all are IPv4"),
        };
        assert_eq!(group(10), group(13));
        assert_ne!(group(10), group(11));
        assert_ne!(group(0), group(3));
    }
}
