//! The backend of an engine that is synced from: honest, or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use molva::{ChainSide, ChainTip, ConnId, FromChain, Kind, Payload, Request, ToChain};

use super::blocks::{Blocks, NETWORK, difficulty};
use crate::waiting::Waiting;

/// Most events taken at a time.
const BATCH: usize = 256;

/// Bytes of blocks in one answer to a range: what the wire's rule says.
const RANGE_BYTES_MAX: usize = codec::limits::RANGE_BYTES_MAX;

/// How a peer behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// As it should.
    Good,
    /// Twenty times slower.
    Slow,
    /// It shows headers, and never a block.
    Stalled,
    /// Its blocks are not what their headers say.
    Liar,
}

pub(super) struct Server {
    pub(super) side: ChainSide,
    pub(super) blocks: Arc<Blocks>,
    pub(super) manner: Manner,
    pub(super) over: Arc<AtomicBool>,
}

impl Server {
    /// Until the run is over; `Err` if the engine ended of itself.
    pub(super) fn run(mut self) -> Result<(), String> {
        let height = self.blocks.len() as u64;
        let tip = ChainTip { height, total_difficulty: difficulty(height) };
        self.side.counters().set_tip(tip);
        let (mut events, mut waiting) = (Vec::with_capacity(BATCH), Waiting::default());
        while !self.over.load(Ordering::Relaxed) {
            let patience = waiting.patience();
            self.side.recv_batch(&mut events, BATCH, patience).map_err(|end| end.to_string())?;
            for event in events.drain(..) {
                if let ToChain::Requested { from, request } = event {
                    self.answer(from.conn, &request, &mut waiting);
                }
            }
            waiting.send(&self.side).map_err(|_| "an engine ended".to_owned())?;
        }
        Ok(())
    }

    fn answer(&self, to: ConnId, request: &Request, waiting: &mut Waiting) {
        let (first, count) = match request {
            Request::Headers(locator) => {
                let headers = self.blocks.headers(locator).into_iter();
                return headers.for_each(|payload| {
                    waiting.push(FromChain::Deliver { to, payload });
                });
            }
            Request::Block(id) => (*id, 1),
            Request::Blocks { first, count } => (*first, usize::from(*count)),
            _ => return,
        };
        if self.manner == Manner::Stalled {
            return;
        }
        let Some(height) = self.blocks.height(first) else {
            return waiting.push(FromChain::NotFound { to, kind: Kind::Block, id: first });
        };
        let mut bytes = 0;
        for height in height..height + count {
            let Some(block) = self.blocks.at(height) else { return };
            bytes += block.frame().len();
            if bytes > RANGE_BYTES_MAX && bytes > block.frame().len() {
                return;
            }
            let payload = match self.manner {
                Manner::Liar => altered(block),
                _ => block.clone(),
            };
            waiting.push(FromChain::Deliver { to, payload });
        }
    }
}

/// A block with another last byte: its header, and so its id, are the same.
fn altered(block: &Payload) -> Payload {
    let mut body = block.body().to_vec();
    if let Some(last) = body.last_mut() {
        *last ^= 1;
    }
    Payload::seal(&NETWORK, Kind::Block, &body).expect("it is as long as one that was sealed")
}
