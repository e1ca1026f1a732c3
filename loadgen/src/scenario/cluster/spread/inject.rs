//! What is to go wrong, as the command line says it: `kill=6@10s`, `pause=6@5s+4s`,
//! `leave=3@12s`, `loss=0.2@5s+20s`.

use std::str::FromStr;
use std::time::Duration;

use crate::flags::duration;

/// Most engines that one fault is for.
const COUNT_MAX: u32 = 200;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fault {
    /// So many processes are killed.
    Kill(u32),
    /// So many engines say goodbye, and end.
    Leave(u32),
    /// So many processes stand still for so long.
    Pause(u32, Duration),
    /// This share of all datagrams is lost for so long.
    Loss(f64, Option<Duration>),
}

/// A fault and when it begins, from the first message on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Inject {
    pub(crate) fault: Fault,
    pub(crate) at: Duration,
}

/// Why a text is no fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum InjectError {
    /// It has not the form.
    Form,
    /// There is no fault of this name.
    Unknown(String),
    /// The amount cannot be.
    Amount(String),
    /// A time cannot be.
    Time(String),
    /// This one lasts for a while, or does not.
    Lasting(&'static str),
}

impl std::error::Error for InjectError {}

impl std::fmt::Display for InjectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form => f.write_str("FAULT=AMOUNT@TIME or FAULT=AMOUNT@TIME+LASTING is wanted"),
            Self::Unknown(name) => write!(f, "no fault {name}: kill, leave, pause or loss"),
            Self::Amount(text) => {
                write!(f, "no amount {text}: 1 to {COUNT_MAX} engines, or a share from 0 to 0.9")
            }
            Self::Time(error) => f.write_str(error),
            Self::Lasting(how) => f.write_str(how),
        }
    }
}

impl FromStr for Inject {
    type Err = InjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text.split_once('=').ok_or(InjectError::Form)?;
        let (amount, times) = rest.split_once('@').ok_or(InjectError::Form)?;
        let (at, lasts) = match times.split_once('+') {
            Some((at, lasts)) => (at, Some(lasts)),
            None => (times, None),
        };
        let time = |text| duration(text).map_err(InjectError::Time);
        let lasts = lasts.map(time).transpose()?;
        let wrong = || InjectError::Amount(amount.to_owned());
        let count = || {
            let count = amount.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
            count.ok_or_else(wrong)
        };
        let fault = match (name, lasts) {
            ("kill", None) => Fault::Kill(count()?),
            ("leave", None) => Fault::Leave(count()?),
            ("kill" | "leave", Some(_)) => {
                return Err(InjectError::Lasting("who is killed or leaves does not come back"));
            }
            ("pause", Some(lasts)) => Fault::Pause(count()?, lasts),
            ("pause", None) => return Err(InjectError::Lasting("pause=N@TIME+LASTING is wanted")),
            ("loss", lasts) => {
                let share = amount.parse().ok().filter(|share| (0.0..=0.9).contains(share));
                Fault::Loss(share.ok_or_else(wrong)?, lasts)
            }
            _ => return Err(InjectError::Unknown(name.to_owned())),
        };
        // With the first message: a time of nothing is none that `duration` knows.
        let at = if at == "0" { Duration::ZERO } else { time(at)? };
        Ok(Self { fault, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_what_it_says() {
        let parse = |text: &str| text.parse::<Inject>();
        let secs = Duration::from_secs;
        let fault = |fault, at| Ok(Inject { fault, at });
        assert_eq!(parse("kill=6@10s"), fault(Fault::Kill(6), secs(10)));
        assert_eq!(parse("leave=3@1m"), fault(Fault::Leave(3), secs(60)));
        assert_eq!(parse("pause=2@500ms+4s"), {
            fault(Fault::Pause(2, secs(4)), Duration::from_millis(500))
        });
        assert_eq!(parse("loss=0.1@0"), fault(Fault::Loss(0.1, None), Duration::ZERO));
        assert_eq!(parse("loss=0.1@5s+1s"), fault(Fault::Loss(0.1, Some(secs(1))), secs(5)));
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in ["", "kill", "kill=6", "kill=0@1s", "kill=6@", "kill=6@1s+1s", "pause=1@1s"] {
            assert!(text.parse::<Inject>().is_err(), "{text}");
        }
        for text in ["loss=0.95@1s", "loss=nan@1s", "burn=1@1s", "kill=-1@1s", "leave=1@y"] {
            assert!(text.parse::<Inject>().is_err(), "{text}");
        }
    }
}
