//! Peer sampling over connections: [`Sampling`] sends to whom it likes and knows of no connection,
//! and so what it says waits here for one.
//!
//! A connection lasts as long as the link does, and without a link a little longer than an answer
//! may take. Invariant: what waits is bounded, and each wait ends with the connection, with its
//! failure, or with the loss that the machine is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use codec::SamplingMessage;

use super::view::{Input, Output, Said};
use crate::address::canonical;
use crate::overlay::{Sampling, SamplingInput, SamplingOutput, VIEW_MAX};
use crate::time::Instant;

/// Peers that messages wait for at most: as many as the largest view links itself with at once.
const DIALED_MAX: usize = VIEW_MAX;

/// Messages that wait for one peer at most. A period has a request, a heartbeat, a link and its end
/// for one; a dial takes less than a period.
const LETTERS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Sampled {
    /// `None`: we are out of the overlay.
    machine: Option<Sampling>,
    /// Peers with a connection, and when a message was last exchanged with each.
    connected: BTreeMap<SocketAddr, Instant>,
    /// What waits for the connection to each.
    letters: BTreeMap<SocketAddr, Vec<SamplingMessage>>,
    outputs: VecDeque<Output>,
}

impl Sampled {
    pub(super) const fn new(machine: Sampling) -> Self {
        Self {
            machine: Some(machine),
            connected: BTreeMap::new(),
            letters: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let machine = self.machine.as_ref()?;
        let idle = self.idle(machine).map(|(_, at)| at).min();
        machine.poll_timeout().into_iter().chain(idle).min()
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        let input = match input {
            Input::Join { contacts } => SamplingInput::Join { contacts },
            Input::Connected { peer } => return self.on_connected(now, canonical(peer)),
            Input::DialFailed { peer } => {
                self.letters.remove(&canonical(peer));
                SamplingInput::Lost { peer }
            }
            Input::Heard { from, said: Said::Sampling(message) } => {
                self.connected.insert(canonical(from), now);
                SamplingInput::Message { from, message }
            }
            Input::Heard { .. } => return,
            Input::Contact { peer } => SamplingInput::Contact { peer },
            Input::Lost { peer } => {
                self.connected.remove(&canonical(peer));
                SamplingInput::Lost { peer }
            }
            Input::Leave => return self.leave(),
            Input::Timeout => SamplingInput::Timeout,
        };
        self.tell(now, input);
        self.let_go(now);
    }

    fn on_connected(&mut self, now: Instant, peer: SocketAddr) {
        self.connected.insert(peer, now);
        for message in self.letters.remove(&peer).unwrap_or_default() {
            self.outputs.push_back(Output::Send { to: peer, said: Said::Sampling(message) });
        }
    }

    /// The other ends notice by the end of the connections.
    fn leave(&mut self) {
        self.letters.clear();
        self.connected.clear();
        for peer in self.machine.take().iter().flat_map(Sampling::neighbours) {
            self.outputs.push_back(Output::Down { peer });
        }
    }

    fn tell(&mut self, now: Instant, input: SamplingInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(machine) = &mut self.machine else { return };
            machine.handle(now, input);
            while let Some(output) = self.machine.as_mut().and_then(Sampling::poll_output) {
                match output {
                    SamplingOutput::Send { to, message } => {
                        if !self.send(now, to, message) {
                            inputs.push_back(SamplingInput::Lost { peer: to });
                        }
                    }
                    SamplingOutput::Up { peer } => self.outputs.push_back(Output::Up { peer }),
                    SamplingOutput::Down { peer } => self.outputs.push_back(Output::Down { peer }),
                }
            }
        }
    }

    /// Sends it now, or when there is a connection; `false`: too much waits.
    fn send(&mut self, now: Instant, to: SocketAddr, message: SamplingMessage) -> bool {
        if let Some(last) = self.connected.get_mut(&to) {
            *last = now;
            self.outputs.push_back(Output::Send { to, said: Said::Sampling(message) });
            return true;
        }
        if let Some(letters) = self.letters.get_mut(&to) {
            if letters.len() < LETTERS_MAX {
                letters.push(message);
            }
            return true;
        }
        // For a goodbye nobody is dialled.
        let is_goodbye = matches!(message, SamplingMessage::Unlink { .. });
        let has_room = self.letters.len() < DIALED_MAX;
        if has_room && !is_goodbye {
            self.letters.insert(to, vec![message]);
            self.outputs.push_back(Output::Dial { peer: to });
        }
        has_room || is_goodbye
    }

    /// Connections without a link, and until when each is kept.
    fn idle<'a>(
        &'a self,
        machine: &'a Sampling,
    ) -> impl Iterator<Item = (SocketAddr, Instant)> + 'a {
        let linger = machine.rules().patience * 2;
        let idle = self.connected.iter().filter(|(peer, _)| !machine.is_neighbour(**peer));
        idle.map(move |(peer, last)| (*peer, last.after(linger)))
    }

    fn let_go(&mut self, now: Instant) {
        let Some(machine) = &self.machine else { return };
        let idle: Vec<_> = self.idle(machine).filter(|(_, at)| *at <= now).collect();
        for (peer, _) in idle {
            self.connected.remove(&peer);
            self.outputs.push_back(Output::Close { peer });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Locality;
    use crate::overlay::SamplingRules;
    use crate::rng::Rng;

    fn addr(n: u8) -> SocketAddr {
        ([20, n, 0, 1], 3414).into()
    }

    fn sampled() -> Sampled {
        let rules = SamplingRules { locality: Locality::Local, ..SamplingRules::plain() };
        Sampled::new(Sampling::new(rules, addr(0), Rng::from_seed([1; 32])))
    }

    fn feed(view: &mut Sampled, now: Instant, input: Input) -> Vec<String> {
        view.handle(now, input);
        std::iter::from_fn(|| view.poll_output()).map(|output| format!("{output:?}")).collect()
    }

    #[test]
    fn what_is_said_waits_for_the_connection_and_a_link_keeps_it() {
        let (mut view, mut now) = (sampled(), Instant::START);
        let outputs = feed(&mut view, now, Input::Join { contacts: vec![addr(1), addr(2)] });
        assert_eq!(outputs.len(), 2, "two dials: {outputs:?}");
        let outputs = feed(&mut view, now, Input::Connected { peer: addr(1) });
        let [sent] = &outputs[..] else { panic!("{outputs:?}") };
        let link = sent.split("link: ").nth(1).unwrap();
        let link = link[..link.find(' ').unwrap()].parse().unwrap();
        let said = Said::Sampling(SamplingMessage::Linked { link });
        let outputs = feed(&mut view, now, Input::Heard { from: addr(1), said });
        assert_eq!(outputs, [format!("Up {{ peer: {} }}", addr(1))]);
        // Who cannot be reached is forgotten, and what waited for it.
        feed(&mut view, now, Input::DialFailed { peer: addr(2) });
        assert!(view.letters.is_empty());
        // A stranger's connection is let go a while after it said something, a link's is not.
        let said = Said::Sampling(SamplingMessage::Heartbeat { link: 0 });
        feed(&mut view, now, Input::Heard { from: addr(9), said });
        let mut closed = Vec::new();
        for _ in 0..20 {
            now = view.poll_timeout().unwrap().max(now);
            let outputs = feed(&mut view, now, Input::Timeout);
            closed.extend(outputs.into_iter().filter(|output| output.starts_with("Close")));
            let said = Said::Sampling(SamplingMessage::Alive { link });
            feed(&mut view, now, Input::Heard { from: addr(1), said });
            if now.since(Instant::START) > Duration::from_secs(9) {
                break;
            }
        }
        assert_eq!(closed, [format!("Close {{ peer: {} }}", addr(9))]);
    }

    #[test]
    fn who_leaves_ends_its_links_and_says_no_more() {
        let (mut view, now) = (sampled(), Instant::START);
        let said = Said::Sampling(SamplingMessage::Link { link: 7 });
        let outputs = feed(&mut view, now, Input::Heard { from: addr(1), said });
        assert!(outputs.iter().any(|output| output.starts_with("Up")), "{outputs:?}");
        let outputs = feed(&mut view, now, Input::Leave);
        assert_eq!(outputs, [format!("Down {{ peer: {} }}", addr(1))]);
        assert_eq!(view.poll_timeout(), None);
        assert!(feed(&mut view, now, Input::Join { contacts: vec![addr(2)] }).is_empty());
    }
}
