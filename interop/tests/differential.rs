//! The same bytes, well-formed and mutated, given to both decoders: they accept and refuse alike,
//! and what both accept they write again alike. Every deliberate difference is a class below.
//!
//! `INPUTS` sets how many inputs there are (default 1,700,000), `SEED` where they start.

use std::collections::BTreeMap;
use std::path::Path;

use codec::{Capabilities, Context, DecodeError, Kind, Message, Network};
use grin_core::ser::{BufReader, ProtocolVersion, Readable};
use grin_p2p::msg::MsgHeaderWrapper;
use interop::{Judgement, be_mainnet, judge};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const NETWORK: Network = Network::GRIN_MAIN;

/// Of each kind, at least this many inputs must be accepted by both and refused by both.
const EACH_MIN: u64 = 10_000;

const VERSIONS: [u32; 4] = [1, 2, 3, 1000];

/// Why one side may accept what the other refuses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Difference {
    /// Proof of work, time, version and sizes of a header: grin checks them while it decodes, we
    /// leave them to the chain.
    HeaderRules,
    /// Bytes behind the last field of a payload: grin passes over them; we refuse, because what is
    /// relayed must be canonical.
    TrailingBytes,
    /// A transaction without kernels, which grin's reader thread does not survive.
    NoKernel,
    /// An input's commitment that begins with 0 or 1, as none does that is a point of the curve:
    /// grin looks at points later, we tell a body's form by it.
    AmbiguousInput,
    /// A range proof that is not 675 bytes long: grin cuts or fills it, and writes 675.
    RangeProofLength,
    /// A user agent longer than a Hand has room for.
    LongUserAgent,
    /// Headers with count 0: grin sends it and refuses it. We accept it, and never send it.
    NoHeaders,
    /// An empty BanReason, which grin reads as 0.
    EmptyBanReason,
    /// A compact block whose full part holds what is no coinbase: grin finds it when it hydrates.
    CompactFeatures,
    /// A bitmap's block in a longer mode than need be: grin writes it again in the shortest.
    BitmapMode,
    /// Private capability bits (the top byte), which we keep when we read and grin drops.
    PrivateCapabilities,
    /// grin panics.
    GrinPanics,
}

#[derive(Default, Debug)]
struct Tally {
    accepted: u64,
    refused: u64,
    differences: BTreeMap<Difference, u64>,
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }
}

/// Bodies that the real crates wrote, by kind, each with a version at which it is well-formed.
fn corpus() -> BTreeMap<u8, Vec<(u32, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../codec/tests/vectors");
    let mut corpus: BTreeMap<u8, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
    for file in std::fs::read_dir(folder).expect("the vectors are there") {
        let path = file.expect("readable").path();
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let digit = |byte: u8| char::from(byte).to_digit(16).expect("hexadecimal") as u8;
        let frame: Vec<u8> = text
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect();
        if frame[..2] != NETWORK.magic {
            continue;
        }
        let version = match name.rsplit_once("_v").map(|(_, version)| version) {
            Some("1") => 1,
            Some("2") => 2,
            _ => 1000,
        };
        corpus.entry(frame[2]).or_default().push((version, frame[11..].to_vec()));
    }
    corpus
}

/// Changes a body a little, or a lot, or not at all.
fn mutate(body: &mut Vec<u8>, dice: &mut Dice) {
    if dice.below(6) == 0 {
        body.truncate(dice.below(body.len().max(1)));
    }
    for _ in 0..dice.below(4) {
        let at = dice.below(body.len().max(1));
        match dice.below(12) {
            0..=4 if !body.is_empty() => body[at] ^= 1 << dice.below(8),
            5 | 6 if !body.is_empty() => body[at] = dice.below(256) as u8,
            7 => body.truncate(at),
            8 => (0..=dice.below(40)).for_each(|_| body.push(dice.below(256) as u8)),
            9 if !body.is_empty() => drop(body.remove(at)),
            10 => body.insert(at, dice.below(256) as u8),
            // A count, wherever one may be.
            11 if body.len() >= 8 => {
                let at = dice.below(body.len() - 7);
                let values = [0, 1, 2, 3, 21, 512, 40_000, 1_000_000, 1_000_001, u64::MAX];
                let value = values[dice.below(values.len())];
                body[at..at + 8].copy_from_slice(&value.to_be_bytes());
            }
            _ => {}
        }
    }
}

/// Why this difference may be; `None`: it may not.
fn excuse(
    kind: Kind,
    body: &[u8],
    ours: &Result<Vec<u8>, DecodeError>,
    theirs: &Judgement,
) -> Option<Difference> {
    match (ours, theirs) {
        (_, Judgement::RefusedHeader) => Some(Difference::HeaderRules),
        (Ok(_) | Err(_), Judgement::Panicked) => Some(Difference::GrinPanics),
        (Err(DecodeError::TrailingBytes { .. }), Judgement::Accepted(_)) => {
            Some(Difference::TrailingBytes)
        }
        (Err(DecodeError::NoKernel), Judgement::Accepted(_)) => Some(Difference::NoKernel),
        (Err(DecodeError::AmbiguousInput { .. }), Judgement::Accepted(_)) => {
            Some(Difference::AmbiguousInput)
        }
        (Err(DecodeError::BadRangeProofLength { .. }), Judgement::Accepted(_)) => {
            Some(Difference::RangeProofLength)
        }
        (Err(DecodeError::TextTooLong { .. }), Judgement::Accepted(_)) => {
            Some(Difference::LongUserAgent)
        }
        (Err(DecodeError::MisplacedFeatures { .. }), Judgement::Accepted(_))
            if kind == Kind::CompactBlock =>
        {
            Some(Difference::CompactFeatures)
        }
        (Ok(_), Judgement::Refused) if kind == Kind::Headers && body.starts_with(&[0, 0]) => {
            Some(Difference::NoHeaders)
        }
        (Err(_), Judgement::Accepted(_)) if kind == Kind::BanReason && body.len() < 4 => {
            Some(Difference::EmptyBanReason)
        }
        // Filled up by grin, where we found the body too short.
        (Err(DecodeError::EndOfBody { .. }), Judgement::Accepted(written))
            if has_outputs(kind) && written.len() > body.len() =>
        {
            Some(Difference::RangeProofLength)
        }
        (Ok(one), Judgement::Accepted(other)) if kind == Kind::OutputBitmapSegment => {
            (other.len() <= one.len()).then_some(Difference::BitmapMode)
        }
        (Ok(one), Judgement::Accepted(other)) => {
            let at = match kind {
                Kind::GetPeerAddrs => 0,
                Kind::Hand | Kind::Shake => 4,
                _ => return None,
            };
            let mut without = one.clone();
            without[at] = 0;
            (without == *other).then_some(Difference::PrivateCapabilities)
        }
        _ => None,
    }
}

const fn has_outputs(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Block
            | Kind::CompactBlock
            | Kind::StemTransaction
            | Kind::Transaction
            | Kind::RangeProofSegment
    )
}

#[test]
fn both_decoders_agree() {
    be_mainnet();
    // grin's panics are counted, not shown.
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|location| location.file().ends_with(file!())) {
            show(panic);
        }
    }));
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (inputs, seed) = (number("INPUTS", 1_700_000), number("SEED", 1));
    let corpus = corpus();
    let is_grins = |kind: &Kind| *kind != Kind::Error && !kind.is_extension();
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_grins).collect();
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    for number in 0..inputs {
        let kind = kinds[(number % kinds.len() as u64) as usize];
        let (version, body) = input(kind, &corpus, &mut dice);
        let context = Context { version, network: &NETWORK };
        let ours = Message::decode(kind, &body, &context).map(|message| {
            let mut frame = Vec::new();
            // What may be read but never written (Headers with count 0) is as it came.
            match message.encode_frame(&NETWORK, version, &mut frame) {
                Ok(()) => frame.split_off(11),
                Err(_) => body.clone(),
            }
        });
        let theirs = judge(kind, &body, version);
        let tally = tallies.entry(kind).or_default();
        match (&ours, &theirs) {
            (Ok(one), Judgement::Accepted(other)) if one == other => tally.accepted += 1,
            (Err(_), Judgement::Refused) => tally.refused += 1,
            // For the count it is accepted or refused by both: the class says what remains.
            (ours, theirs) => match excuse(kind, &body, ours, theirs) {
                Some(difference) => {
                    *tally.differences.entry(difference).or_default() += 1;
                    match (difference, ours) {
                        (
                            Difference::HeaderRules
                            | Difference::PrivateCapabilities
                            | Difference::BitmapMode,
                            Ok(_),
                        ) => tally.accepted += 1,
                        (Difference::HeaderRules, Err(_)) => tally.refused += 1,
                        _ => {}
                    }
                }
                None => panic!(
                    "{kind:?} at version {version}, seed {seed}, input {number}: ours {ours:?}, \
                     grin's {theirs:?}\nbody {}",
                    body.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                ),
            },
        }
    }
    report(&tallies, inputs);
}

/// To grin our own kinds are unknown ones, to be passed over, and the bit that offers them is none.
#[test]
fn grin_passes_over_our_own_kinds() {
    be_mainnet();
    let ours = Kind::ALL.into_iter().filter(|kind| kind.is_extension());
    for byte in ours.map(|kind| kind as u8) {
        let mut header = NETWORK.magic.to_vec();
        header.push(byte);
        header.extend(NETWORK.limits.unknown_body_bytes_max().to_be_bytes());
        let mut bytes = bytes::Bytes::from(header);
        let reader = &mut BufReader::new(&mut bytes, ProtocolVersion(1000));
        match MsgHeaderWrapper::read(reader) {
            Ok(MsgHeaderWrapper::Unknown(length, kind)) => {
                assert_eq!((length, kind), (NETWORK.limits.unknown_body_bytes_max(), byte));
            }
            Ok(MsgHeaderWrapper::Known(_)) => panic!("grin knows {byte}"),
            Err(error) => panic!("{byte}: {error:?}"),
        }
    }
    let offered = (Capabilities::GRIN_NODE | Capabilities::EXTENSION).bits().to_be_bytes();
    let kept = Capabilities::GRIN_NODE.bits().to_be_bytes().to_vec();
    assert_eq!(judge(Kind::GetPeerAddrs, &offered, 1000), Judgement::Accepted(kept));
}

fn input(
    kind: Kind,
    corpus: &BTreeMap<u8, Vec<(u32, Vec<u8>)>>,
    dice: &mut Dice,
) -> (u32, Vec<u8>) {
    let bodies = corpus.get(&(kind as u8)).expect("there is a vector of every kind");
    let (version, mut body) = bodies[dice.below(bodies.len())].clone();
    mutate(&mut body, dice);
    let other = dice.below(8) == 0;
    (if other { VERSIONS[dice.below(VERSIONS.len())] } else { version }, body)
}

fn report(tallies: &BTreeMap<Kind, Tally>, inputs: u64) {
    for (kind, tally) in tallies {
        println!(
            "{:24} accepted by both {:6}, refused by both {:6}, {:?}",
            format!("{kind:?}"),
            tally.accepted,
            tally.refused,
            tally.differences
        );
    }
    if inputs < 1_000_000 {
        return; // too few for the counts below
    }
    for (kind, tally) in tallies {
        assert!(tally.accepted >= EACH_MIN, "{kind:?}: only {} accepted", tally.accepted);
        assert!(tally.refused >= EACH_MIN, "{kind:?}: only {} refused", tally.refused);
    }
}
