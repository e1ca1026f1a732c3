//! The machines of the overlay as [`Machine`]s.

use std::net::SocketAddr;

use codec::{HyParViewMessage, SamplingMessage};
use peer::Instant;
use peer::overlay::{
    HyParView, HyParViewInput, HyParViewOutput, Sampling, SamplingInput, SamplingOutput,
};

use super::{Action, Event, Machine};

impl Machine for Sampling {
    type Message = SamplingMessage;

    const CONNECTS: bool = false;

    fn handle(&mut self, now: Instant, event: Event<SamplingMessage>) {
        let input = match event {
            Event::Join(contacts) => SamplingInput::Join { contacts },
            Event::Message { from, message } => SamplingInput::Message { from, message },
            Event::Contact(peer) | Event::Connected(peer) => SamplingInput::Contact { peer },
            Event::DialFailed(peer) | Event::Lost(peer) => SamplingInput::Lost { peer },
            Event::Timeout => SamplingInput::Timeout,
        };
        Self::handle(self, now, input);
    }

    fn poll(&mut self) -> Option<Action<SamplingMessage>> {
        Some(match self.poll_output()? {
            SamplingOutput::Send { to, message } => Action::Send { to, message },
            SamplingOutput::Up { .. } | SamplingOutput::Down { .. } => Action::Tell,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr)) {
        Self::neighbours(self).for_each(each);
    }
}

impl Machine for HyParView {
    type Message = HyParViewMessage;

    const CONNECTS: bool = true;

    fn handle(&mut self, now: Instant, event: Event<HyParViewMessage>) {
        let input = match event {
            Event::Join(contacts) => HyParViewInput::Join { contacts },
            Event::Message { from, message } => HyParViewInput::Message { from, message },
            Event::Connected(peer) => HyParViewInput::Connected { peer },
            Event::DialFailed(peer) => HyParViewInput::DialFailed { peer },
            Event::Lost(peer) => HyParViewInput::Lost { peer },
            Event::Contact(_) => return,
            Event::Timeout => HyParViewInput::Timeout,
        };
        Self::handle(self, now, input);
    }

    fn poll(&mut self) -> Option<Action<HyParViewMessage>> {
        Some(match self.poll_output()? {
            HyParViewOutput::Send { to, message } => Action::Send { to, message },
            HyParViewOutput::Dial { peer } => Action::Dial(peer),
            HyParViewOutput::Close { peer } => Action::Close(peer),
            HyParViewOutput::Up { .. } | HyParViewOutput::Down { .. } => Action::Tell,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn neighbours(&self, each: &mut dyn FnMut(SocketAddr)) {
        self.active().for_each(each);
    }
}
