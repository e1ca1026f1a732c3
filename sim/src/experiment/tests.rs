//! What is refused before any work, and what tables for machines are like, over all experiments.

use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::list::whole_lists;
use crate::runs::cells_of;

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    experiment: Experiment,
}

fn parsed(line: &str) -> Result<Experiment, String> {
    let arguments = std::iter::once("sim").chain(line.split_whitespace()).map(Into::into);
    let flags = Flags::try_parse_from(whole_lists(arguments));
    flags.map(|flags| flags.experiment).map_err(|error| error.to_string())
}

/// Each command line, and a part of what is said to it.
const REFUSED: &[(&str, &str)] = &[
    ("death --nodes 0", "0 nodes are no network: ten or more"),
    ("death --nodes 1", "1 nodes are no network"),
    ("death --nodes 10000000000", "too many: 1000000 at most"),
    ("death --kill 0", "--kill 0: it is from 1 to 99"),
    ("death --kill 50,100", "--kill 100: it is from 1 to 99"),
    ("death --kill 50,,80", "in a list with commas"),
    ("death --nodes 10 --kill 9", "--kill 9: of 10 nodes that is none"),
    ("death --cycles 0", "--cycles 0: it is from 1 to 10000"),
    ("death --seeds 0", "--seeds 0: it is from 1 to 10000"),
    ("death --overlay foo", "no overlay is called foo: plain, one-way, one-heartbeat, newscast"),
    ("split-memory --nodes 0", "0 nodes are no network"),
    ("split-memory --apart 0", "--apart 0"),
    ("split-memory --seeds 10000000000", "--seeds 10000000000"),
    ("eclipse --nodes 0", "0 nodes are no network"),
    ("eclipse --nodes 10000000000", "too many"),
    ("eclipse --nodes 1000000 --liars 5", "50000 liars are too many for 1000000 nodes: 100 at"),
    ("eclipse --liars 0", "--liars 0: it is from 1 to 90"),
    ("eclipse --liars 200", "--liars 200"),
    ("eclipse --nodes 50 --liars 1", "--liars 1: of 50 nodes that is none"),
    ("eclipse --cycles 0", "--cycles 0"),
    ("eclipse --calls 0", "--calls 0"),
    ("eclipse --liar-groups 257", "--liar-groups 257"),
    ("peer-sampling --nodes 0", "0 nodes are no network"),
    ("peer-sampling --nodes 1", "1 nodes are no network"),
    ("peer-sampling --cycles 0", "--cycles 0"),
    ("joining --nodes 600,3", "3 nodes are no network"),
    ("joining --seed 18446744073709551615 --seeds 2", "there are no 2 seeds from there on"),
    ("joining --within 18446744073709551615", "--within"),
    ("relay --nodes 0", "0 nodes are no network"),
    ("relay --nodes 1", "1 nodes are no network"),
    ("relay --nodes 10 --degree 8", "10 nodes cannot dial 8 others each"),
    ("relay --degree 0", "--degree 0"),
    ("relay --degree 18446744073709551615", "cannot dial"),
    ("relay --nodes 10000000000", "too many: 20000 at most, since each takes some 210 kB"),
    ("relay --seeds 10000000000", "--seeds"),
    ("relay --seed 18446744073709551615 --seeds 1", "there are no 1 seeds"),
    ("relay --transactions 0", "--transactions 0"),
    ("relay --transactions 10000000000", "too many for 200 nodes: 500000 at most"),
    ("relay --transactions 3 --blocks 4", "--blocks 4: it is from 0 to 3"),
    ("relay --mbit 0", "--mbit 0"),
    ("relay --every-ms 18446744073709551615", "--every-ms"),
    ("dandelion --nodes 1", "1 nodes are no network"),
    ("dandelion --nodes 32", "32 nodes cannot dial 8 others each"),
    ("dandelion --nodes 10000000000", "too many"),
    ("dandelion --fluff-percent 200", "--fluff-percent 200: it is from 0 to 100"),
    ("dandelion --spies 2", "--spies 2: it is from 0 to 1"),
    ("dandelion --spies=-1", "--spies -1"),
    ("dandelion --spies NaN", "--spies NaN"),
    ("dandelion --spies 1", "nobody would be honest"),
    ("dandelion --transactions 0", "--transactions 0"),
    ("memory --nodes 0", "0 nodes are no network"),
    ("memory --degree 5000", "cannot dial"),
    ("log-or-loglog --nodes 16,32", "none has its square and fourth power"),
    ("log-or-loglog --nodes 16,256,65536,4294967295", "--nodes 4294967295"),
    ("log-or-loglog --seeds-large 0", "--seeds-large 0"),
    ("hubs --exponents 2", "--exponents 2: it is from 2.05 to 9"),
    ("hubs --exponents NaN", "--exponents NaN"),
    ("hubs --seeds 0", "--seeds 0"),
    ("retransmit-limit --lambda 0", "--lambda 0"),
    ("retransmit-limit --loss 101", "--loss 101"),
    ("retransmit-limit --nodes 1", "--nodes 1"),
    ("tree --nodes 9", "9 nodes are no network"),
    ("tree --nodes 10000000000", "too many"),
    ("tree --nodes 1000000 --messages 1000", "broadcasts and messages are too many"),
    ("tree --broadcasts 1", "--broadcasts 1"),
    ("tree --messages 0", "--messages 0"),
    ("who-knows --nodes 5", "5 nodes are no network"),
    ("who-knows --known 0", "--known 0"),
    ("who-knows --rates 0", "--rates 0"),
    ("who-knows --rates NaN", "--rates NaN"),
    ("who-knows --talkers 9", "9 nodes are no network"),
    ("who-knows --talkers 1000000", "too many"),
];

#[test]
fn what_makes_no_sense_is_refused_before_any_work() {
    for (line, said) in REFUSED {
        let refused = parsed(line).and_then(|experiment| experiment.question().check());
        let told = refused.expect_err(line);
        assert!(told.contains(said), "{line}: {told}");
    }
}

#[test]
fn all_defaults_are_allowed_and_shown_as_they_are_typed() {
    for name in NAMES {
        parsed(name).unwrap().question().check().unwrap_or_else(|error| panic!("{name}: {error}"));
        let help = parsed(&format!("{name} --help")).unwrap_err();
        for default in help.split("[default: ").skip(1) {
            let default = default.split(']').next().unwrap();
            assert!(!default.contains(' '), "{name}: {default}");
        }
    }
    let spaced = parsed("death --kill 50, 80").unwrap();
    assert!(spaced.question().head().contains("50,80 %"), "{}", spaced.question().head());
}

const NAMES: [&str; 13] = [
    "dandelion",
    "relay",
    "memory",
    "peer-sampling",
    "joining",
    "death",
    "split-memory",
    "eclipse",
    "log-or-loglog",
    "hubs",
    "retransmit-limit",
    "tree",
    "who-knows",
];

/// All but the one that measures this process, small; some with one run alone.
const SMALL: [&str; 12] = [
    "dandelion --nodes 40 --degree 4 --transactions 3 --seeds 1",
    "relay --nodes 24 --degree 4 --transactions 4 --blocks 1 --seeds 1",
    "peer-sampling --nodes 40 --cycles 4 --mesh-nodes 10 --seeds 2",
    "joining --nodes 20 --within 1 --cycles 3 --seeds 1",
    "death --nodes 40 --kill 50,90 --cycles 3 --seeds 1",
    "split-memory --nodes 30 --apart 5 --after 3 --seeds 1",
    "eclipse --nodes 40 --liars 5,10 --cycles 8 --seeds 2",
    "log-or-loglog --nodes 16,256,65536 --seeds 2 --seeds-large 1",
    "hubs --nodes 16,256,65536 --exponents 2.5 --caps 0,16 --seeds 2 --seeds-large 1",
    "retransmit-limit --nodes 256 --lambda 1,4 --loss 0,30 --seeds 1",
    "tree --nodes 20 --broadcasts 2 --messages 4 --seeds 1",
    "who-knows --nodes 20 --known 8 --rates 1 --talkers 12 --seeds 1",
];

#[test]
fn machines_can_read_every_table_and_people_every_verdict() {
    for line in SMALL {
        let experiment = parsed(line).unwrap();
        experiment.question().check().unwrap_or_else(|error| panic!("{line}: {error}"));
        let report = experiment.question().ask().unwrap();
        let tables = report.files.iter().filter(|(name, _)| name.ends_with(".csv"));
        for (name, csv) in tables {
            let lines = cells_of(csv);
            let (names, rows) = lines.split_first().unwrap();
            assert!(!rows.is_empty(), "{name} is empty");
            assert!(rows.iter().all(|row| row.len() == names.len()), "{name}:\n{csv}");
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{name}: {names:?}");
            assert!(!csv.contains('±'), "{name}:\n{csv}");
        }
        let said = report.verdicts.to_string();
        for debugged in ["inf", "NaN", "Some(", "None", "{", "Instant("] {
            assert!(!said.contains(debugged), "{line}: {debugged}\n{said}");
            assert!(!report.text.contains(debugged), "{line}: {debugged}\n{}", report.text);
        }
        assert!(said.ends_with(" verdicts hold\n") || said.contains("; "), "{said}");
    }
}

/// A question that is answered, if its head was printed before.
struct Quick(PathBuf);

impl Question for Quick {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn head(&self) -> String {
        "seed 7".into()
    }

    fn out(&self) -> Option<&Path> {
        Some(&self.0)
    }

    fn ask(&self) -> Result<Report, String> {
        let files = vec![("quick.csv".to_owned(), "a\n".to_owned())];
        Ok(Report { text: "table\n".into(), verdicts: Verdicts::default(), files })
    }
}

#[test]
fn results_are_printed_even_if_they_cannot_be_written() {
    let folder = std::env::temp_dir().join(format!("molva-sim-out-{}", std::process::id()));
    let mut said = Vec::new();
    assert_eq!(answer(&Quick(folder.clone()), &mut said), Ok(Outcome::Holds));
    let text = String::from_utf8(said).unwrap();
    assert!(text.starts_with("seed 7\n\ntable\n\n"), "{text}");
    let file = folder.join("quick.csv");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "the probe is gone");

    let mut said = Vec::new();
    let error = answer(&Quick(file.clone()), &mut said).unwrap_err();
    assert!(error.ends_with("it is no directory") && said.is_empty(), "{error}");

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let mut said = Vec::new();
    let error = answer(&Quick(folder.clone()), &mut said).unwrap_err();
    assert!(error.starts_with("cannot write ") && !said.is_empty(), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
