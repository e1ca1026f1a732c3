//! The greeting: the dialler sends Hand, the other answers Shake, and both know what they share.
//!
//! Source: the grin protocol, handshake. Neither message depends on the protocol version; the
//! version in use is the smaller of the two that were told.

use std::collections::VecDeque;
use std::net::SocketAddr;

use codec::{Capabilities, Hand, Hash, Shake};

use crate::chain::ChainTip;
use crate::config::{DIALED_MAX, HELD_MAX};
use crate::fault::Fault;

/// The protocol version that we speak, and all that are lower. grin has sent 1000 since 4.1.0.
pub(crate) const PROTOCOL_VERSION: u32 = 1000;

/// How many of our own nonces are remembered, to know ourselves when we dial ourselves: of as many
/// dials as can be under way at once.
const NONCES_MAX: usize = DIALED_MAX as usize + HELD_MAX;

/// What both sides agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Agreement {
    /// Protocol version in use.
    pub(crate) version: u32,
    /// What the remote offers.
    pub(crate) capabilities: Capabilities,
    /// The remote's name.
    pub(crate) user_agent: Box<str>,
    /// The remote's total difficulty; it tells no height yet.
    pub(crate) tip: ChainTip,
    /// Where the remote says that it listens, if it does: only the port counts.
    pub(crate) listening_port: Option<u16>,
}

/// What we say of ourselves.
pub(crate) struct Local<'a> {
    pub(crate) genesis: Hash,
    pub(crate) capabilities: Capabilities,
    pub(crate) user_agent: &'a str,
    pub(crate) tip: ChainTip,
    pub(crate) advertised: SocketAddr,
}

impl<'a> Local<'a> {
    /// Our Hand to an address that we dialled.
    pub(crate) fn hand(&self, nonce: u64, remote: SocketAddr) -> Hand<'a> {
        Hand {
            version: PROTOCOL_VERSION,
            capabilities: self.capabilities,
            nonce,
            total_difficulty: self.tip.total_difficulty,
            sender_addr: self.advertised,
            receiver_addr: remote,
            user_agent: self.user_agent,
            genesis: self.genesis,
        }
    }

    /// What a remote offers, as far as we speak of it: the extension takes two.
    fn shared(&self, offered: Capabilities) -> Capabilities {
        if self.capabilities.contains(Capabilities::EXTENSION) {
            offered
        } else {
            Capabilities::from_bits(offered.bits() & !Capabilities::EXTENSION.bits())
        }
    }

    /// Takes a Hand: what was agreed, and our answer.
    pub(crate) fn on_hand(
        &self,
        hand: &Hand<'_>,
        nonces: &Nonces,
    ) -> Result<(Agreement, Shake<'a>), Fault> {
        if hand.genesis != self.genesis {
            return Err(Fault::WrongGenesis(hand.genesis));
        }
        if let Some(dialed) = nonces.dialed_with(hand.nonce) {
            return Err(Fault::Myself(dialed));
        }
        let agreement = Agreement {
            version: hand.version.min(PROTOCOL_VERSION),
            capabilities: self.shared(hand.capabilities),
            user_agent: hand.user_agent.into(),
            tip: ChainTip { height: 0, total_difficulty: hand.total_difficulty },
            listening_port: Some(hand.sender_addr.port()).filter(|port| *port != 0),
        };
        let shake = Shake {
            version: PROTOCOL_VERSION,
            capabilities: self.capabilities,
            total_difficulty: self.tip.total_difficulty,
            user_agent: self.user_agent,
            genesis: self.genesis,
        };
        Ok((agreement, shake))
    }

    /// Takes the Shake that answers our Hand.
    pub(crate) fn on_shake(&self, shake: &Shake<'_>) -> Result<Agreement, Fault> {
        if shake.genesis != self.genesis {
            return Err(Fault::WrongGenesis(shake.genesis));
        }
        Ok(Agreement {
            version: shake.version.min(PROTOCOL_VERSION),
            capabilities: self.shared(shake.capabilities),
            user_agent: shake.user_agent.into(),
            tip: ChainTip { height: 0, total_difficulty: shake.total_difficulty },
            listening_port: None,
        })
    }
}

/// The nonces of our latest dials, and whom we dialled.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    latest: VecDeque<(u64, SocketAddr)>,
}

impl Nonces {
    /// Remembers one more, and forgets the oldest when there are too many.
    pub(crate) fn add(&mut self, nonce: u64, addr: SocketAddr) {
        if self.latest.len() == NONCES_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((nonce, addr));
    }

    fn dialed_with(&self, nonce: u64) -> Option<SocketAddr> {
        self.latest.iter().find(|(mine, _)| *mine == nonce).map(|(_, addr)| *addr)
    }
}
