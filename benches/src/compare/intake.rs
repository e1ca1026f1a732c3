//! Our way of taking frames in, for servers with another loop: cut up to 32 frames, fingerprint,
//! touch, then handle; a duplicate is told without a copy, a partial frame is kept apart.

use std::hint;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use codec::{FrameDecoder, Kind, Split, split};
use peer::{Fingerprint, SEEN_SECRET_BYTES, SeenFilter, SeenLimits};

use super::chain::{Lane, Tally};
use super::wire;

/// Frames of one batch, as in the engine.
const BATCH: usize = 32;

/// One connection's stream.
#[derive(Default)]
pub(super) struct Stream {
    decoder: FrameDecoder,
    greeted: bool,
    /// What is to be written back.
    pub(super) reply: Vec<u8>,
}

/// What all connections share.
pub(super) struct Intake {
    seen: SeenFilter,
    prints: Vec<Fingerprint>,
    lane: Lane,
    tally: Arc<Tally>,
}

impl Intake {
    /// Nothing seen yet.
    pub(super) fn new(lane: Lane, tally: Arc<Tally>) -> Self {
        let seen = SeenFilter::new(SeenLimits::default(), &[0x5a; SEEN_SECRET_BYTES]);
        Self { seen, prints: Vec::with_capacity(BATCH), lane, tally }
    }

    /// Takes in what a connection sent.
    pub(super) fn take_in(&mut self, stream: &mut Stream, mut input: &[u8]) -> io::Result<()> {
        let resumed = stream.decoder.resume(&mut input, &wire::NETWORK);
        if let Some(frame) = resumed.map_err(io::Error::other)? {
            let print = self.seen.fingerprint(frame.bytes());
            self.on_frame(stream, frame.kind(), frame.bytes(), print)?;
            self.tally.frames.fetch_add(1, Ordering::Relaxed);
        }
        while !input.is_empty() {
            let rest = self.take_batch(stream, input)?;
            if rest.len() == input.len() {
                return stream.decoder.absorb(rest, &wire::NETWORK).map_err(io::Error::other);
            }
            input = rest;
        }
        Ok(())
    }

    fn take_batch<'a>(&mut self, stream: &mut Stream, input: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut cuts: [(Kind, &[u8]); BATCH] = [(Kind::Error, &[]); BATCH];
        let mut count = 0;
        let mut rest = input;
        self.prints.clear();
        while count < BATCH {
            match split(rest, &wire::NETWORK).map_err(io::Error::other)? {
                Split::Whole(kind, frame) => {
                    cuts[count] = (kind, frame);
                    self.prints.push(self.seen.fingerprint(frame));
                    rest = &rest[frame.len()..];
                    count += 1;
                }
                Split::Unknown(header) => {
                    return Err(io::Error::other(format!("not in this load: {header:?}")));
                }
                Split::Partial(_) => break,
            }
        }
        hint::black_box(self.seen.touch(&self.prints));
        for (at, (kind, frame)) in cuts[..count].iter().enumerate() {
            self.on_frame(stream, *kind, frame, self.prints[at])?;
        }
        self.tally.frames.fetch_add(count as u64, Ordering::Relaxed);
        Ok(rest)
    }

    fn on_frame(
        &mut self,
        stream: &mut Stream,
        kind: Kind,
        frame: &[u8],
        print: Fingerprint,
    ) -> io::Result<()> {
        match kind {
            Kind::Transaction if stream.greeted => {
                if self.seen.lookup(print).is_none() {
                    self.seen.remember(print);
                    self.lane.push(Arc::from(frame));
                }
            }
            kind => answer(kind, frame, &mut stream.greeted, &mut stream.reply)?,
        }
        Ok(())
    }
}

/// Greets, and answers pings; anything else is a fault.
pub(super) fn answer(
    kind: Kind,
    frame: &[u8],
    greeted: &mut bool,
    reply: &mut Vec<u8>,
) -> io::Result<()> {
    match kind {
        Kind::Hand if !*greeted && wire::is_hand(frame) => {
            *greeted = true;
            reply.extend_from_slice(&wire::shake());
        }
        Kind::Ping if *greeted => reply.extend_from_slice(&wire::pong()),
        other => return Err(io::Error::other(format!("not in this load: {other:?}"))),
    }
    Ok(())
}
