//! What follows from the figures of a run, line by line.

use std::fmt;

/// What came of one criterion or claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Holds,
    Fails,
    Untold,
    Confirmed,
    Refuted,
    /// A claim of which nothing can be said.
    Open,
    /// No judgement, but what follows.
    Note,
}

impl Said {
    const fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds: ",
            Self::Fails => "DOES NOT HOLD: ",
            Self::Untold => "CANNOT BE TOLD: ",
            Self::Confirmed => "confirmed: ",
            Self::Refuted => "refuted: ",
            Self::Open => "open: ",
            Self::Note => "",
        }
    }
}

/// What all criteria come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All hold, or there is none.
    Holds,
    /// One at least does not.
    Fails,
    /// None fails, and one at least cannot be told from so few runs, or runs so short.
    Untold,
}

/// Criteria, which must hold, and claims, which may be refuted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verdicts(Vec<(Said, String)>);

/// What is added where an interval is asked for and there is none.
const SINGLE: &str = " (one run has no interval: more seeds)";

impl Verdicts {
    /// A criterion.
    pub(crate) fn judge(&mut self, holds: bool, line: String) {
        self.0.push((if holds { Said::Holds } else { Said::Fails }, line));
    }

    /// A criterion that whole intervals must keep; `None`: there is no interval.
    pub(crate) fn judge_intervals(&mut self, holds: Option<bool>, line: String) {
        match holds {
            Some(holds) => self.judge(holds, line),
            None => self.untold(line + SINGLE),
        }
    }

    /// A criterion about which the runs say nothing.
    pub(crate) fn untold(&mut self, line: String) {
        self.0.push((Said::Untold, line));
    }

    /// What somebody said of the machines; `None`: there is no interval.
    pub(crate) fn claim(&mut self, holds: Option<bool>, line: String) {
        self.0.push(match holds {
            Some(true) => (Said::Confirmed, line),
            Some(false) => (Said::Refuted, line),
            None => (Said::Open, line + SINGLE),
        });
    }

    /// What follows, without a criterion.
    pub(crate) fn note(&mut self, line: String) {
        self.0.push((Said::Note, line));
    }

    /// What all criteria come to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.count(Said::Fails), self.count(Said::Untold)) {
            (0, 0) => Outcome::Holds,
            (0, _) => Outcome::Untold,
            _ => Outcome::Fails,
        }
    }

    fn count(&self, wanted: Said) -> usize {
        self.0.iter().filter(|(said, _)| *said == wanted).count()
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (said, line) in &self.0 {
            writeln!(f, "verdict: {}{line}", said.words())?;
        }
        let count = |said: &[Said]| said.iter().map(|said| self.count(*said)).sum::<usize>();
        let judged = count(&[Said::Holds, Said::Fails, Said::Untold]);
        match judged {
            0 => write!(f, "no criterion is about what was asked")?,
            _ => write!(f, "{} of {judged} verdicts hold", count(&[Said::Holds]))?,
        }
        let claimed = count(&[Said::Confirmed, Said::Refuted, Said::Open]);
        match claimed {
            0 => writeln!(f),
            _ => writeln!(f, "; {} of {claimed} claims are confirmed", count(&[Said::Confirmed])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_outweighs_what_cannot_be_told() {
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.outcome(), Outcome::Holds);
        assert!(verdicts.to_string().starts_with("no criterion"));
        verdicts.judge(true, "a".into());
        verdicts.claim(Some(false), "b".into());
        verdicts.note("c".into());
        assert_eq!(verdicts.outcome(), Outcome::Holds);
        verdicts.judge_intervals(None, "d".into());
        assert_eq!(verdicts.outcome(), Outcome::Untold);
        verdicts.judge_intervals(Some(false), "e".into());
        assert_eq!(verdicts.outcome(), Outcome::Fails);
        let said = "verdict: holds: a\nverdict: refuted: b\nverdict: c\n\
                    verdict: CANNOT BE TOLD: d (one run has no interval: more seeds)\n\
                    verdict: DOES NOT HOLD: e\n\
                    1 of 3 verdicts hold; 0 of 1 claims are confirmed\n";
        assert_eq!(verdicts.to_string(), said);
    }
}
