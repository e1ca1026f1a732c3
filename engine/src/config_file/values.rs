//! Values of a configuration: each is read from text and refused there, so that its line is known.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use codec::datagram::ClusterKey;
use codec::limits::USER_AGENT_BYTES_MAX;
use codec::{Capabilities, Hash, Network, PayloadFormat};
use peer::{Embargo, Gossip, Locality, Overlay, Policy, Rate, Scheme};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Unexpected, Visitor};

/// What can be read from its text.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A number and its unit: `500ms`, `10s`, `2m`, `3h`, `30days`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

/// The longest time that means anything to a process.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if span > SPAN_MAX {
            return Err(format!("{text} is longer than ten years"));
        }
        Ok(Self(span))
    }
}

pub(super) type Time = Text<Span>;

impl From<Time> for Duration {
    fn from(Text(Span(time)): Time) -> Self {
        time
    }
}

/// Some bytes as hexadecimal digits.
#[derive(Debug)]
pub(super) struct Magic(pub(super) [u8; 2]);

impl FromStr for Magic {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u16::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(|number| Self(number.to_be_bytes())).ok_or("four hexadecimal digits are wanted")
    }
}

#[derive(Debug)]
pub(super) struct Genesis(pub(super) Hash);

impl FromStr for Genesis {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Hash::parse(text).map(Self).ok_or("64 hexadecimal digits are wanted")
    }
}

#[derive(Debug)]
pub(super) struct Preset(pub(super) Network);

impl FromStr for Preset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Network::preset(text).map(Self).ok_or("grin-main, grin-test or dev is wanted")
    }
}

/// Where a file is.
#[derive(Debug)]
pub(super) struct FilePath(pub(super) PathBuf);

impl FromStr for FilePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        if path.file_name().is_none() {
            Err("the name of a file is wanted")
        } else {
            Ok(Self(path))
        }
    }
}

/// The key that follows from the secret in a file. The path is said, and never the secret.
#[derive(Debug)]
pub(super) struct SecretFile(pub(super) ClusterKey);

/// Most bytes of such a file: nobody's secret is longer, and a wrong path may lead to anything.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;

impl FromStr for SecretFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if let Ok(found) = std::fs::metadata(path) {
            // Opening a pipe waits for whoever writes into it.
            if found.file_type().is_fifo() {
                return Err(format!("{path:?} is a pipe, and must be a file"));
            }
            if found.mode() & 0o077 != 0 {
                tracing::warn!(path, "others can read the secret of the cluster, or change it");
            }
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map(|file| file.take(SECRET_FILE_BYTES_MAX + 1));
        file.and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| format!("{path:?} cannot be read: {error}"))?;
        if bytes.len() as u64 > SECRET_FILE_BYTES_MAX {
            return Err(format!("{path:?} has more than {SECRET_FILE_BYTES_MAX} bytes"));
        }
        ClusterKey::of_secret(&bytes).map(Self).map_err(|error| format!("{path:?} holds {error}"))
    }
}

#[derive(Debug)]
pub(super) struct UserAgent(pub(super) String);

impl FromStr for UserAgent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > USER_AGENT_BYTES_MAX {
            return Err(format!("{} bytes, at most {USER_AGENT_BYTES_MAX}", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Names of values of the protocol's own types.
macro_rules! named {
    ($($name:ident for $type:ty { $($text:literal = $value:expr,)+ })+) => {
        $(#[derive(Debug)]
        pub(super) struct $name(pub(super) $type);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self($value)),)+
                    _ => Err(format!("one of {} is wanted", [$($text),+].join(", "))),
                }
            }
        })+
    };
}

named! {
    Format for PayloadFormat {
        "grin" = PayloadFormat::Grin,
        "opaque" = PayloadFormat::Opaque,
    }
    Spread for Policy {
        "flood" = Policy::Flood,
        "sqrt" = Policy::Sqrt,
        "announce" = Policy::Announce,
    }
    Stems for Scheme {
        "plus-plus" = Scheme::PlusPlus,
        "grin" = Scheme::Grin,
        "aggregate-on-stem" = Scheme::AggregateOnStem,
        "aggregate-and-hold" = Scheme::AggregateAndHold,
    }
    Links for Overlay {
        "none" = Overlay::None,
        "hyparview" = Overlay::HyParView,
        "sampling" = Overlay::Sampling,
    }
    Talk for Gossip {
        "none" = Gossip::None,
        "tree" = Gossip::Tree,
        "datagrams" = Gossip::Datagrams,
    }
    Place for Locality {
        "internet" = Locality::Internet,
        "local" = Locality::Local,
        "hosts" = Locality::Hosts,
    }
}

/// A number within its limits.
#[derive(Debug)]
pub(super) struct Within<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Within<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if !(LEAST..=MOST).contains(&number) {
            return Err(D::Error::custom(format!("{number}, and must be {LEAST} to {MOST}")));
        }
        Ok(Self(number))
    }
}

/// A set of bits, all of which mean something.
#[derive(Debug)]
pub(super) struct Offers(pub(super) Capabilities);

impl<'de> Deserialize<'de> for Offers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bits = u32::deserialize(deserializer)?;
        let capabilities = Capabilities::from_bits(bits);
        if capabilities.bits() != bits {
            let without = bits & !capabilities.bits();
            return Err(D::Error::custom(format!("the bits {without:#x} mean nothing")));
        }
        Ok(Self(capabilities))
    }
}

/// A rate of something.
#[derive(Debug)]
pub(super) struct Flow(pub(super) Rate);

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            amount: u64,
            per: Time,
            burst: u64,
        }
        let Parts { amount, per: Text(Span(per)), burst } = Parts::deserialize(deserializer)?;
        if amount == 0 || burst == 0 || per.as_micros() == 0 {
            let told = "an amount and a burst of at least 1, and a time of at least a microsecond, \
                        are wanted";
            return Err(D::Error::custom(told));
        }
        Ok(Self(Rate { amount, per, burst }))
    }
}

impl From<Flow> for Rate {
    fn from(Flow(rate): Flow) -> Self {
        rate
    }
}

/// A mean, or a base and a spread.
#[derive(Debug)]
pub(super) struct Wait(pub(super) Embargo);

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            mean: Option<Time>,
            base: Option<Time>,
            spread: Option<Time>,
        }
        let Parts { mean, base, spread } = Parts::deserialize(deserializer)?;
        match (mean, base, spread) {
            (Some(mean), None, None) => Ok(Self(Embargo::Exponential(mean.into()))),
            (None, Some(base), Some(spread)) => {
                Ok(Self(Embargo::Uniform { base: base.into(), spread: spread.into() }))
            }
            _ => Err(D::Error::custom("a mean, or a base and a spread, are wanted")),
        }
    }
}

/// A rate, or `"off"`.
#[derive(Debug)]
pub(super) struct Cap(pub(super) Option<Rate>);

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CapVisitor)
    }
}

struct CapVisitor;

impl<'de> Visitor<'de> for CapVisitor {
    type Value = Cap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate or \"off\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cap, E> {
        if text == "off" {
            Ok(Cap(None))
        } else {
            Err(E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cap, A::Error> {
        Flow::deserialize(MapAccessDeserializer::new(map)).map(|Flow(rate)| Cap(Some(rate)))
    }
}

impl From<Cap> for Option<Rate> {
    fn from(Cap(rate): Cap) -> Self {
        rate
    }
}
