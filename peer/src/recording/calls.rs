//! The calls of a recording: what each is made of, and what came of it.

use std::fmt::Debug;

use super::layout::{Damage, Field, Reader, choices};
use crate::endpoint::Endpoint;
use crate::event::{Input, Output};
use crate::record::Change;
use crate::time::Instant;

/// Which call it is.
pub(super) const INPUT: u8 = 0;
pub(super) const ADVERTISE: u8 = 1;
pub(super) const TAKE_CHANGES: u8 = 2;
pub(super) const ADVERTISE_DATAGRAMS: u8 = 3;

choices! {
    Input<'a> {
        0 = Accepted { conn, addr }, 1 = Dialed { conn, addr }, 2 = DialFailed { addr },
        3 = NotDialed { addr }, 4 = Received { conn, bytes, credit }, 5 = Room { credit },
        6 = Paused { conn }, 7 = Resumed { conn }, 8 = Dropped { conn, payload },
        9 = Closed { conn, reason }, 10 = TurnedAway, 11 = PieceSent { conn },
        12 = Restored(restored), 13 = Resolved { name, addrs }, 14 = Ban(ban), 15 = Unban(target),
        16 = FromChain(command), 17 = Tip(tip), 18 = Hold { addr },
        19 = Publish { topic, data }, 20 = Shutdown, 21 = Timeout,
        22 = Datagram { from, bytes },
    }
    Output {
        0 = Dial { addr }, 1 = Send { to, payload }, 2 = Close { conn, reason },
        3 = ToChain(event), 4 = Opens { conn }, 5 = Told { topic, data, hops },
        6 = Resolve { name }, 7 = Datagram { to, bytes },
    }
}

/// One call through the door.
#[derive(Debug)]
pub(super) enum Call<'a> {
    /// [`Endpoint::handle`], and [`Endpoint::poll_output`] until there is none.
    Handle(Input<'a>),
    /// [`Endpoint::advertise`].
    Advertise(u16),
    /// [`Endpoint::advertise_datagrams`].
    AdvertiseDatagrams(u16),
    /// [`Endpoint::take_changes`], so many at most.
    TakeChanges(usize),
}

/// What came of one.
pub(super) enum Outcome {
    /// Bytes that were consumed, and the outputs.
    Handled(usize, Vec<Output>),
    /// Nothing is to come of it.
    Advertised,
    Taken(Vec<Change>),
}

impl<'a> Call<'a> {
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, Damage> {
        Ok(match u8::read(from)? {
            INPUT => Self::Handle(Field::read(from)?),
            ADVERTISE => Self::Advertise(Field::read(from)?),
            ADVERTISE_DATAGRAMS => Self::AdvertiseDatagrams(Field::read(from)?),
            TAKE_CHANGES => Self::TakeChanges(Field::read(from)?),
            _ => return Err(Damage),
        })
    }

    pub(super) fn make(self, now: Instant, endpoint: &mut Endpoint) -> Outcome {
        match self {
            Self::Handle(input) => {
                let consumed = endpoint.handle(now, input);
                Outcome::Handled(consumed, std::iter::from_fn(|| endpoint.poll_output()).collect())
            }
            Self::Advertise(port) => {
                endpoint.advertise(port);
                Outcome::Advertised
            }
            Self::AdvertiseDatagrams(port) => {
                endpoint.advertise_datagrams(port);
                Outcome::Advertised
            }
            Self::TakeChanges(max) => {
                let mut changes = Vec::new();
                endpoint.take_changes(max, &mut changes);
                Outcome::Taken(changes)
            }
        }
    }
}

impl Outcome {
    /// As it is recorded.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Handled(consumed, outputs) => {
                consumed.put(&mut bytes);
                outputs.iter().for_each(|output| output.put(&mut bytes));
            }
            Self::Advertised => {}
            Self::Taken(changes) => changes.iter().for_each(|change| change.put(&mut bytes)),
        }
        bytes
    }

    pub(super) const fn outputs(&self) -> usize {
        match self {
            Self::Handled(_, outputs) => outputs.len(),
            Self::Advertised => 0,
            Self::Taken(changes) => changes.len(),
        }
    }

    /// For people, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Handled(consumed, outputs) => {
                let consumed = format!("{consumed} bytes consumed");
                std::iter::once(consumed).chain(outputs.iter().map(|output| line(output))).collect()
            }
            Self::Advertised => Vec::new(),
            Self::Taken(changes) => changes.iter().map(|change| line(change)).collect(),
        }
    }

    /// What is recorded of the same call, for people.
    pub(super) fn lines_of(&self, from: &mut Reader<'_>) -> Result<Vec<String>, Damage> {
        let mut lines = Vec::new();
        if let Self::Handled(..) = self {
            lines.push(format!("{} bytes consumed", usize::read(from)?));
        }
        while !from.bytes.is_empty() {
            lines.push(match self {
                Self::Taken(_) => line(&Change::read(from)?),
                Self::Handled(..) | Self::Advertised => line(&Output::read(from)?),
            });
        }
        Ok(lines)
    }
}

/// Characters of one input or output that are told.
const LINE_MAX: usize = 240;

/// For people: as much of it as one line has room for.
pub(super) fn line(what: &dyn Debug) -> String {
    let mut text = format!("{what:?}");
    text.truncate(text.floor_char_boundary(LINE_MAX));
    text
}
