//! What peer sampling leaves open, each choice a parameter, and the named sets of them.

use std::time::Duration;

use crate::address::Locality;
use crate::overlay::RulesError;

/// Most places that a view may have: a node with the largest list of the experiments, and room.
pub const VIEW_MAX: usize = 1_024;

/// Who is asked whether it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    /// Nobody: an exchange that fails tells.
    Nobody,
    /// One of the view a period, at random.
    One,
    /// Everyone of the view each period.
    Everyone,
}

/// Who is asked for an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Partner {
    /// Anyone of the view, each as likely as any other.
    Random,
    /// The one whose last contact is longest ago.
    Oldest,
}

/// Which way sightings go in an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the asker.
    Push,
    /// To the asker.
    Pull,
    /// Both ways.
    PushPull,
}

/// What stays when a view has more members than places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Those with the most recent contact. Newscast's rule too.
    Freshest,
    /// Those with the contact longest ago.
    Stalest,
    /// Jelasity et al. 2007: so many of the oldest go (healer), then so many of those that were
    /// sent (swapper), then others at random.
    Select {
        /// H: how many of the oldest go first.
        healer: usize,
        /// S: how many of those that were sent go next.
        swapper: usize,
    },
    /// Cyclon's: what comes takes the places of what was sent, and of nothing else. The partner
    /// leaves the view when it is asked.
    Swap,
}

/// What it means to be in a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// The node is known; it need not know us.
    OneWay,
    /// Both list each other: a link that one side truncates ends for both.
    TwoWay,
}

/// Defence against forged freshness and floods of names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hardening {
    /// Members of one address group that a view takes. Default: 2, guess.
    pub group_max: usize,
    /// Of 100 replies, how many bring a name of a third party into the view, one each. All names
    /// that are told go to the samplers. Default: 10. Why so few: a name that is told is bad about
    /// twice as often as the view that it comes to (2 f - f², where f of a view is bad), so that
    /// there must be far fewer than of those that come by themselves or from the samplers.
    pub told_percent: u8,
    /// Samplers that are asked for a sign of life each period, and taken into the view when they
    /// give it. Default: 2.
    pub probes: usize,
    /// Callers of one period whose own name is taken. Default: 4, where one is the mean. Nobody
    /// is taken twice in a period.
    pub callers_max: usize,
}

impl Default for Hardening {
    fn default() -> Self {
        Self { group_max: 2, told_percent: 10, probes: 2, callers_max: 4 }
    }
}

/// How a node samples its peers.
#[derive(Clone, PartialEq, Debug)]
pub struct SamplingRules {
    /// Places of the view: c. Default: 20. By k^(2c) for a kill of share k, 15 are enough for a
    /// million nodes and a half of them killed.
    pub view: usize,
    /// Time between two exchanges that this node begins. Default: 10 s, guess: a minute, as others
    /// have it, lets a half-dead view live for several minutes.
    pub period: Duration,
    /// Time between two rounds of heartbeats. Default: 10 s, as the exchanges.
    pub heartbeat_period: Duration,
    /// How long an answer may take. Default: 3 s.
    pub patience: Duration,
    /// Who is asked whether it lives.
    pub heartbeat: Heartbeat,
    /// Whether any traffic of a member counts as its last contact, as heartbeats do.
    pub refresh: bool,
    /// Who is asked for an exchange.
    pub partner: Partner,
    /// Which way sightings go.
    pub direction: Direction,
    /// Sightings of one message, the sender's own included; of a larger view a random part is sent.
    pub shared: usize,
    /// What stays of too many.
    pub keep: Keep,
    /// What a place in the view means.
    pub links: Links,
    /// Whether a failed contact deletes a member; else it only ages.
    pub forgets: bool,
    /// Min-wise samplers beside the view. Default: 0, and 16 where hardened.
    pub samplers: usize,
    /// Of 100 exchanges, how many go to a sampler and not to a member of the view. Default: 5.
    pub sampler_percent: u8,
    /// Defence against liars, if any.
    pub hardening: Option<Hardening>,
    /// What an address tells about its owner: decides what a group is, and who is reachable.
    pub locality: Locality,
}

impl SamplingRules {
    /// The plain idea: a heartbeat to everyone of the view, and from time to time an exchange of
    /// whole lists with one of them; both merge, sort by last contact, freshest first, and keep the
    /// head. Links are two-way.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            view: 20,
            period: Duration::from_secs(10),
            heartbeat_period: Duration::from_secs(10),
            patience: Duration::from_secs(3),
            heartbeat: Heartbeat::Everyone,
            refresh: true,
            partner: Partner::Random,
            direction: Direction::PushPull,
            shared: codec::limits::SIGHTINGS_MAX,
            keep: Keep::Freshest,
            links: Links::TwoWay,
            forgets: true,
            samplers: 0,
            sampler_percent: 5,
            hardening: None,
            locality: Locality::default(),
        }
    }

    /// The plain idea on one-way views, where members who do not answer only age.
    #[must_use]
    pub fn one_way() -> Self {
        Self { links: Links::OneWay, forgets: false, ..Self::plain() }
    }

    /// The same with one heartbeat a period.
    #[must_use]
    pub fn one_heartbeat() -> Self {
        Self { heartbeat: Heartbeat::One, ..Self::one_way() }
    }

    /// Newscast: whole views, the freshest stay, nobody is deleted for a failure.
    #[must_use]
    pub fn newscast() -> Self {
        Self { heartbeat: Heartbeat::Nobody, refresh: false, ..Self::one_way() }
    }

    /// Cyclon: the oldest is asked, eight entries change places, a failure deletes.
    #[must_use]
    pub fn cyclon() -> Self {
        Self {
            partner: Partner::Oldest,
            shared: 8,
            keep: Keep::Swap,
            forgets: true,
            ..Self::newscast()
        }
    }

    /// A point of the space of Jelasity et al. 2007: half of the view is sent, by push-pull with
    /// a random partner.
    #[must_use]
    pub fn framework(healer: usize, swapper: usize) -> Self {
        let base = Self::newscast();
        Self { shared: base.view / 2, keep: Keep::Select { healer, swapper }, ..base }
    }

    /// The same with another number of places.
    #[must_use]
    pub fn with_view(mut self, places: usize) -> Self {
        self.view = places;
        self
    }

    /// The same with so many samplers beside the view.
    #[must_use]
    pub fn with_samplers(mut self, count: usize) -> Self {
        self.samplers = count;
        self
    }

    /// The same with defence against liars: partners at random, who fails is deleted, and the
    /// rules of [`Hardening`].
    #[must_use]
    pub fn hardened(self) -> Self {
        Self {
            partner: Partner::Random,
            forgets: true,
            samplers: self.samplers.max(16),
            hardening: Some(Hardening::default()),
            ..self
        }
    }

    /// Whether these rules can be followed.
    ///
    /// # Errors
    ///
    /// [`RulesError`].
    pub fn check(&self) -> Result<(), RulesError> {
        let wrong = |name, must| Err(RulesError { name, must });
        let least = self.period.min(self.heartbeat_period).min(self.patience);
        if self.view == 0 || self.view > VIEW_MAX {
            return wrong("view", "1 to 1,024");
        }
        if self.shared == 0 {
            return wrong("shared", "at least 1");
        }
        if least < Duration::from_millis(1) {
            return wrong("period, heartbeat_period, patience", "at least a millisecond");
        }
        if self.patience >= self.heartbeat_period.min(self.period) {
            return wrong("patience", "shorter than both periods");
        }
        if self.keep == Keep::Swap && self.links == Links::TwoWay {
            return wrong("links", "one-way where entries change places");
        }
        let told = self.hardening.map_or(0, |hardening| hardening.told_percent);
        if self.sampler_percent.max(told) > 100 {
            return wrong("sampler_percent, told_percent", "at most 100");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_named_rules_can_be_followed() {
        let named = [
            SamplingRules::plain(),
            SamplingRules::one_way(),
            SamplingRules::one_heartbeat(),
            SamplingRules::newscast(),
            SamplingRules::cyclon(),
            SamplingRules::framework(4, 3),
        ];
        for rules in named {
            assert_eq!(rules.check(), Ok(()));
            assert_eq!(rules.hardened().check(), Ok(()));
        }
    }

    #[test]
    fn nonsense_is_named() {
        let of = |change: fn(&mut SamplingRules)| {
            let mut rules = SamplingRules::plain();
            change(&mut rules);
            rules.check().unwrap_err().name
        };
        assert_eq!(of(|rules| rules.view = 0), "view");
        assert_eq!(of(|rules| rules.view = VIEW_MAX + 1), "view");
        assert_eq!(of(|rules| rules.shared = 0), "shared");
        assert!(of(|rules| rules.period = Duration::ZERO).starts_with("period"));
        assert_eq!(of(|rules| rules.keep = Keep::Swap), "links");
        assert!(of(|rules| rules.sampler_percent = 101).starts_with("sampler_percent"));
        assert_eq!(of(|rules| rules.patience = rules.heartbeat_period), "patience");
    }
}
