//! A network is a value: what two nodes must agree on before they can talk.

use crate::format::PayloadFormat;
use crate::frame::Kind;
use crate::limits::Limits;
use crate::payload::{Hash, PayloadId};

/// Everything that makes one network different from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// Name for people: logs, flags.
    pub name: &'static str,
    /// First two bytes of each frame.
    pub magic: [u8; 2],
    /// Identity of the chain, compared in the handshake.
    pub genesis: Hash,
    /// Default port to listen on.
    pub port: u16,
    /// Sizes on the wire.
    pub limits: Limits,
    /// How an id follows from a body.
    pub format: PayloadFormat,
    /// Whether kernels of the kind "no recent duplicate" are legal. Off on grin's networks.
    pub nrd_kernels: bool,
}

impl Network {
    /// grin's main network.
    pub const GRIN_MAIN: Self = Self {
        name: "grin-main",
        magic: [0x61, 0x3d],
        genesis: Hash::from_hex("40adad0aec27797b48840aa9e00472015c21baea118ce7a2ff1a82c0f8f5bf82"),
        port: 3414,
        limits: Limits::MAINNET,
        format: PayloadFormat::Grin,
        nrd_kernels: false,
    };

    /// grin's test network.
    pub const GRIN_TEST: Self = Self {
        name: "grin-test",
        magic: [0x53, 0x3b],
        genesis: Hash::from_hex("edc758c1370d43e1d733f70f58cf187c3be8242830429b1676b89fd91ccf2dab"),
        port: 13414,
        limits: Limits::MAINNET,
        format: PayloadFormat::Grin,
        nrd_kernels: false,
    };

    /// A network for development: bodies are opaque bytes whose id is their BLAKE2b-256.
    pub const DEV: Self = Self {
        name: "dev",
        magic: [0x49, 0x2b],
        genesis: Hash::from_hex("6d6f6c76612d6465760000000000000000000000000000000000000000000000"),
        port: 23414,
        limits: Limits::MAINNET,
        format: PayloadFormat::Opaque,
        nrd_kernels: false,
    };

    /// The id of a body of this kind. The same as the [`Payload::id`](crate::Payload::id) of the
    /// sealed body.
    #[must_use]
    pub fn id(&self, kind: Kind, body: &[u8]) -> PayloadId {
        self.format.id(kind, body, &self.limits)
    }

    /// The preset of this name: `grin-main`, `grin-test` or `dev`.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        [Self::GRIN_MAIN, Self::GRIN_TEST, Self::DEV].into_iter().find(|preset| preset.name == name)
    }
}
