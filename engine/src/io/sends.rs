//! The sends that are in the kernel, and the frames that they own meanwhile.
//!
//! Nothing is copied: the parts of a vectored send point into the frames themselves. The frames
//! must stay until the completion, the list of parts only until the kernel has taken the submission
//! (feature SUBMIT_STABLE): so frames live in a slab, and the lists in a pool that starts anew
//! with every submission queue and stays warm.

use std::os::fd::RawFd;
use std::ptr;

use io_uring::{opcode, squeue, types};
use peer::ConnId;
use slab::Slab;

use super::op::{Op, OpKind};
use super::{Completion, Gathered, SEND_FRAMES_MAX};

/// The kernel finishes a send in pieces by itself (a plain one stops at the socket buffer), and
/// a broken connection is an errno, not a signal.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// All sends in the kernel, at most one per connection.
#[derive(Default)]
pub(super) struct Sends {
    in_flight: Slab<InFlight>,
    /// Generation of the next send.
    generation: u32,
    /// Grows to the largest number of vectored sends in one submission queue.
    #[expect(
        clippy::vec_box,
        reason = "the kernel has the address of each while others are added"
    )]
    scatters: Vec<Box<Scatter>>,
    /// How many of them stand in the submission queue.
    scatters_used: usize,
}

struct InFlight {
    conn: ConnId,
    generation: u32,
    gathered: Gathered,
}

impl Sends {
    /// Keeps the frames and makes the submission that sends them.
    pub(super) fn start(
        &mut self,
        conn: ConnId,
        fd: RawFd,
        gathered: Gathered,
    ) -> (Op, squeue::Entry) {
        assert!((1..=SEND_FRAMES_MAX).contains(&gathered.frames.len()), "frames of a send");
        let fd = types::Fd(fd);
        let entry = if let [payload] = gathered.frames.as_slice() {
            let rest = &payload.frame()[gathered.skip..];
            let bytes = u32::try_from(rest.len()).expect("a frame is far below 4 GiB");
            opcode::Send::new(fd, rest.as_ptr(), bytes).flags(SEND_FLAGS).build()
        } else {
            let header = self.next_scatter().fill(&gathered);
            opcode::SendMsg::new(fd, header).flags(SEND_FLAGS as u32).build()
        };
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        let slot = self.in_flight.insert(InFlight { conn, generation, gathered });
        let index = u32::try_from(slot).expect("fewer sends than connections");
        (Op { kind: OpKind::Send, index, generation }, entry)
    }

    /// The kernel has taken every submission: the lists may be written anew.
    pub(super) const fn all_submitted(&mut self) {
        self.scatters_used = 0;
    }

    /// A send has ended, and gives back its frames.
    pub(super) fn finish(&mut self, op: Op, result: Result<usize, i32>) -> Completion {
        let InFlight { conn, generation, gathered } = self.in_flight.remove(op.index as usize);
        assert_eq!(generation, op.generation, "a send completed twice");
        Completion::Sent { conn, gathered, result }
    }

    fn next_scatter(&mut self) -> &mut Scatter {
        if self.scatters_used == self.scatters.len() {
            self.scatters.push(Box::new(Scatter::EMPTY));
        }
        self.scatters_used += 1;
        &mut self.scatters[self.scatters_used - 1]
    }
}

/// The list of the parts of one vectored send; boxed, because the kernel has its address.
struct Scatter {
    header: libc::msghdr,
    parts: [libc::iovec; SEND_FRAMES_MAX],
}

impl Scatter {
    const EMPTY: Self = Self {
        // SAFETY: a message header is integers and pointers, for which zeroes are legal.
        header: unsafe { std::mem::zeroed() },
        parts: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SEND_FRAMES_MAX],
    };

    /// Lists the frames, without the first `skip` bytes.
    fn fill(&mut self, gathered: &Gathered) -> *const libc::msghdr {
        let mut skip = gathered.skip;
        for (part, payload) in self.parts.iter_mut().zip(&gathered.frames) {
            let rest = &payload.frame()[skip..];
            assert!(!rest.is_empty(), "the skip is less than the first frame, and none is empty");
            // The kernel only reads from the parts of a send.
            part.iov_base = rest.as_ptr().cast_mut().cast();
            part.iov_len = rest.len();
            skip = 0;
        }
        self.header.msg_iov = self.parts.as_mut_ptr();
        self.header.msg_iovlen = gathered.frames.len();
        &raw const self.header
    }
}

#[cfg(test)]
mod tests {
    use codec::{Kind, Network, Payload};

    use super::*;

    fn payload(bytes: usize) -> Payload {
        Payload::seal(&Network::DEV, Kind::Transaction, &vec![7; bytes]).unwrap()
    }

    #[test]
    fn parts_point_into_the_frames_themselves() {
        let frames: Vec<_> = (1..=SEND_FRAMES_MAX).map(payload).collect();
        let mut scatter = Box::new(Scatter::EMPTY);
        let header = scatter.fill(&Gathered { frames: frames.clone(), skip: 5 });
        assert_eq!(header, &raw const scatter.header);
        assert_eq!(scatter.header.msg_iovlen, SEND_FRAMES_MAX);
        assert_eq!(scatter.header.msg_iov.cast_const(), scatter.parts.as_ptr());
        for (index, (part, payload)) in scatter.parts.iter().zip(&frames).enumerate() {
            let skip = if index == 0 { 5 } else { 0 };
            assert_eq!(part.iov_base as usize, payload.frame().as_ptr() as usize + skip);
            assert_eq!(part.iov_len, payload.frame().len() - skip);
        }
    }

    #[test]
    fn frames_come_home_uncopied_and_lists_are_used_again() {
        let mut sends = Sends::default();
        let conn = ConnId::new(3, 4);
        for round in 0..3 {
            let frames = vec![payload(1), payload(2)];
            let addresses: Vec<_> = frames.iter().map(|frame| frame.frame().as_ptr()).collect();
            let (op, _) = sends.start(conn, 0, Gathered { frames, skip: round });
            assert_eq!((op.kind, op.generation), (OpKind::Send, round as u32));
            sends.all_submitted();
            let Completion::Sent { conn: whose, gathered, result } = sends.finish(op, Ok(9)) else {
                panic!("a send completes as a send")
            };
            assert_eq!((whose, gathered.skip, result), (conn, round, Ok(9)));
            let home: Vec<_> = gathered.frames.iter().map(|frame| frame.frame().as_ptr()).collect();
            assert_eq!(home, addresses);
        }
        assert_eq!((sends.scatters.len(), sends.in_flight.len()), (1, 0));
    }

    #[test]
    #[should_panic(expected = "a send completed twice")]
    fn a_late_completion_of_a_reused_slot_is_our_bug() {
        let mut sends = Sends::default();
        let one = || Gathered { frames: vec![payload(1)], skip: 0 };
        let (first, _) = sends.start(ConnId::new(0, 0), 0, one());
        let _home = sends.finish(first, Ok(12));
        let _second = sends.start(ConnId::new(1, 0), 0, one());
        let _twice = sends.finish(first, Ok(12));
    }
}
