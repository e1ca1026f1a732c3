//! What the kernel hands back with a completion, and which operation that was.
//!
//! An operation is named by 64 bits: its kind (8), an index (24) and a generation (32). The index
//! is a connection's slot, a listener or a slot of the sends in flight; the generation says which
//! use of that slot, so that what comes late misses.

use peer::ConnId;

/// Bits of an index.
const INDEX_BITS: u32 = 24;

/// Most slots that an operation can name.
pub(super) const INDEX_MAX: u32 = (1 << INDEX_BITS) - 1;

/// What the kernel was asked to do. The discriminants are the upper byte of the 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum OpKind {
    /// Multishot accept; the index is a listener.
    Accept = 1,
    /// Connect of a connection.
    Connect = 2,
    /// Multishot receive of a connection into small buffers. A completion tells the number of a
    /// buffer, not its group, so the group is part of the name.
    RecvSmall = 3,
    /// Multishot receive of a connection into large buffers.
    RecvLarge = 4,
    /// Send; the index is a slot of the sends in flight.
    Send = 5,
    /// Close of a connection's socket.
    Close = 6,
    /// Multishot poll of the eventfd that wakes the loop.
    Wake = 7,
    /// Write to the eventfd that wakes the chain. Completes only when it fails.
    Notify = 8,
    /// Cancellation of another operation. Completes only when it found none.
    Cancel = 9,
    /// Multishot receive of datagrams.
    RecvDatagrams = 10,
    /// Send of a datagram; the index is a slot of those in flight.
    SendDatagram = 11,
}

impl OpKind {
    const ALL: [Self; 11] = [
        Self::Accept,
        Self::Connect,
        Self::RecvSmall,
        Self::RecvLarge,
        Self::Send,
        Self::Close,
        Self::Wake,
        Self::Notify,
        Self::Cancel,
        Self::RecvDatagrams,
        Self::SendDatagram,
    ];

    /// Whether the kernel answers each such operation with one last completion; the others are
    /// silent when they succeed, and nobody waits for them.
    pub(super) const fn is_awaited(self) -> bool {
        !matches!(self, Self::Notify | Self::Cancel)
    }
}

/// One operation, as it is written into a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Op {
    pub(super) kind: OpKind,
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Op {
    /// An operation of a connection.
    pub(super) const fn of(kind: OpKind, conn: ConnId) -> Self {
        Self { kind, index: conn.index(), generation: conn.generation() }
    }

    /// An operation of which there is only one per index.
    pub(super) const fn at(kind: OpKind, index: u32) -> Self {
        Self { kind, index, generation: 0 }
    }

    /// The connection, if the operation belongs to one.
    pub(super) const fn conn(self) -> ConnId {
        ConnId::new(self.index, self.generation)
    }

    /// The 64 bits.
    pub(super) fn pack(self) -> u64 {
        assert!(self.index <= INDEX_MAX, "the index {} has more than 24 bits", self.index);
        u64::from(self.kind as u8) << 56 | u64::from(self.index) << 32 | u64::from(self.generation)
    }

    /// The operation of 64 bits; `None` if we cannot have made them.
    pub(super) fn unpack(bits: u64) -> Option<Self> {
        let kind = (bits >> 56) as u8;
        let kind = *OpKind::ALL.get(usize::from(kind).checked_sub(1)?)?;
        let index = (bits >> 32) as u32 & INDEX_MAX;
        Some(Self { kind, index, generation: bits as u32 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_numbers() {
        for (position, kind) in OpKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position + 1);
        }
    }

    #[test]
    fn foreign_bits_name_no_operation() {
        assert_eq!(Op::unpack(0), None);
        assert_eq!(Op::unpack(12 << 56), None);
        assert_eq!(Op::unpack(u64::MAX), None);
    }

    #[test]
    #[should_panic(expected = "more than 24 bits")]
    fn an_index_that_does_not_fit_is_our_bug() {
        let _ = Op::at(OpKind::Accept, INDEX_MAX + 1).pack();
    }

    proptest! {
        #[test]
        fn unpack_reverses_pack(
            kind in prop::sample::select(OpKind::ALL.to_vec()),
            index in 0..=INDEX_MAX,
            generation: u32,
        ) {
            let op = Op { kind, index, generation };
            prop_assert_eq!(Op::unpack(op.pack()), Some(op));
            prop_assert_eq!(Op::of(kind, op.conn()), op);
        }

        #[test]
        fn pack_reverses_unpack(bits: u64) {
            if let Some(op) = Op::unpack(bits) {
                prop_assert_eq!(op.pack(), bits);
            }
        }
    }
}
