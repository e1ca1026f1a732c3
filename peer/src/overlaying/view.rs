//! Either machine of the overlay, with one door: what happens to connections goes in, what is to be
//! done with them comes out.

use std::net::SocketAddr;

use codec::{HyParViewBody, HyParViewMessage, Message, SamplingBody, SamplingMessage};

use super::sampled::Sampled;
use crate::config::{Config, Overlay};
use crate::overlay::{
    HyParView, HyParViewInput, HyParViewOutput, HyParViewRules, Sampling, SamplingRules,
};
use crate::rng::Rng;
use crate::time::Instant;

/// What happens.
#[derive(Debug)]
pub(super) enum Input {
    /// These may be in the overlay.
    Join { contacts: Vec<SocketAddr> },
    /// A connection is there.
    Connected { peer: SocketAddr },
    /// A connection did not come about.
    DialFailed { peer: SocketAddr },
    /// Somebody said something.
    Heard { from: SocketAddr, said: Said },
    /// Other traffic came.
    Contact { peer: SocketAddr },
    /// There is no connection any more.
    Lost { peer: SocketAddr },
    /// We are out of it.
    Leave,
    /// A deadline has come.
    Timeout,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Bring a connection about, or use the one that there is.
    Dial { peer: SocketAddr },
    /// Send this over the connection that there is.
    Send { to: SocketAddr, said: Said },
    /// The connection is needed no more.
    Close { peer: SocketAddr },
    /// A link stands.
    Up { peer: SocketAddr },
    /// It does no more.
    Down { peer: SocketAddr },
}

/// A message of either machine.
#[derive(Debug)]
pub(crate) enum Said {
    HyParView(HyParViewMessage),
    Sampling(SamplingMessage),
}

impl Said {
    /// As it travels; `bytes` holds its body.
    pub(super) fn message<'a>(&self, bytes: &'a mut Vec<u8>) -> Message<'a> {
        match self {
            Self::HyParView(said) => Message::HyParView(HyParViewBody::written(said, bytes)),
            Self::Sampling(said) => Message::Sampling(SamplingBody::written(said, bytes)),
        }
    }
}

/// The machine that was chosen.
#[derive(Debug)]
pub(super) enum View {
    HyParView(Box<HyParView>),
    Sampling(Box<Sampled>),
}

impl View {
    /// The one that the configuration names, if any.
    pub(super) fn new(config: &Config, rng: Rng) -> Option<Self> {
        let (own, locality) = (config.advertised, config.locality);
        match config.overlay {
            Overlay::None => None,
            Overlay::HyParView => {
                let rules = HyParViewRules { locality, ..config.hyparview };
                Some(Self::HyParView(Box::new(HyParView::new(rules, own, rng))))
            }
            Overlay::Sampling => {
                let rules = SamplingRules { locality, ..config.sampling.clone() };
                Some(Self::Sampling(Box::new(Sampled::new(Sampling::new(rules, own, rng)))))
            }
        }
    }

    /// Takes what happened. What the other machine says is passed over.
    pub(super) fn handle(&mut self, now: Instant, input: Input) {
        match self {
            Self::HyParView(view) => {
                let input = match input {
                    Input::Join { contacts } => HyParViewInput::Join { contacts },
                    Input::Connected { peer } => HyParViewInput::Connected { peer },
                    Input::DialFailed { peer } => HyParViewInput::DialFailed { peer },
                    Input::Heard { from, said: Said::HyParView(message) } => {
                        HyParViewInput::Message { from, message }
                    }
                    Input::Lost { peer } => HyParViewInput::Lost { peer },
                    Input::Leave => HyParViewInput::Leave,
                    Input::Timeout => HyParViewInput::Timeout,
                    Input::Heard { .. } | Input::Contact { .. } => return,
                };
                view.handle(now, input);
            }
            Self::Sampling(view) => view.handle(now, input),
        }
    }

    /// What is to be done; to be drained after each input.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::HyParView(view) => Some(match view.poll_output()? {
                HyParViewOutput::Dial { peer } => Output::Dial { peer },
                HyParViewOutput::Send { to, message } => {
                    Output::Send { to, said: Said::HyParView(message) }
                }
                HyParViewOutput::Close { peer } => Output::Close { peer },
                HyParViewOutput::Up { peer } => Output::Up { peer },
                HyParViewOutput::Down { peer } => Output::Down { peer },
            }),
            Self::Sampling(view) => view.poll_output(),
        }
    }

    /// When to come with a timeout.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::HyParView(view) => view.poll_timeout(),
            Self::Sampling(view) => view.poll_timeout(),
        }
    }

    /// Whether it wants to hear of other traffic.
    pub(super) const fn wants_contacts(&self) -> bool {
        matches!(self, Self::Sampling(_))
    }
}
