//! Style that is executed: it reads the sources of the whole workspace.

use std::fs;
use std::path::{Path, PathBuf};

const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

/// Who may depend on whom inside the workspace; there is no other edge.
const EDGES: &[(&str, &[&str])] = &[
    ("codec", &[]),
    ("peer", &["codec"]),
    ("bridge", &["codec", "peer"]),
    ("engine", &["bridge", "codec", "peer"]),
    ("loadgen", &["codec", "molva"]),
    ("benches", &["bridge", "codec", "molva", "peer"]),
    ("sim", &["codec", "peer"]),
    ("node", &["molva"]),
];

/// Words that mark work left over. Spelt in halves, so that this file does not hold them.
const LEFTOVERS: &[[&str; 2]] = &[
    ["todo", "!("],
    ["unimpl", "emented!("],
    ["FIX", "ME"],
    ["TO", "DO"],
    ["XX", "X"],
    ["dbg", "!("],
    ["#[ign", "ore"],
    ["allow(dead", "_code"],
    ["allow(un", "used"],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn each_source(mut look: impl FnMut(&str, &str)) {
    let mut found = Vec::new();
    for (crate_, _) in EDGES {
        sources(&root().join(crate_), &mut found);
    }
    assert!(found.len() > 50, "only {} sources found", found.len());
    for path in found {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        look(&name, &fs::read_to_string(&path).unwrap());
    }
}

#[test]
fn every_file_has_a_head_note_and_a_readable_size() {
    let mut faults = Vec::new();
    each_source(|name, text| {
        if !text.starts_with("//!") {
            faults.push(format!("{name}: the head note is missing"));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{name}: {lines} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                faults.push(format!("{name}:{}: too long", number + 1));
            }
        }
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_work_is_left_over() {
    let mut faults = Vec::new();
    each_source(|name, text| {
        let words = LEFTOVERS.iter().map(|halves| halves.concat());
        faults
            .extend(words.filter(|word| text.contains(word)).map(|word| format!("{name}: {word}")));
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The lines of a function: from its head to the brace that closes at its own indentation.
#[test]
fn functions_fit_on_a_screen() {
    let mut faults = Vec::new();
    each_source(|name, text| {
        let lines: Vec<&str> = text.lines().collect();
        for (start, head) in lines.iter().enumerate() {
            let code = head.trim_start();
            let mut words = code.split(' ').take_while(|word| *word != "fn");
            let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async"];
            let is_function = words.all(|word| modifiers.contains(&word)) && code.contains("fn ");
            // A declaration, or a body on one line.
            if !is_function || code.ends_with(';') || code.ends_with("{}") {
                continue;
            }
            let end = format!("{}}}", &head[..head.len() - code.len()]);
            let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1;
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{name}:{}: {length} lines", start + 1));
            }
        }
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn unsafe_lives_in_one_room() {
    each_source(|name, text| {
        let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        let has = code.clone().any(|line| {
            let word = ["uns", "afe"].concat();
            [" {", " impl", " fn", " extern"]
                .iter()
                .any(|after| line.contains(&(word.clone() + after)))
        });
        assert!(!has || name.starts_with("engine/src/io/"), "{name}: unsafe outside engine/src/io");
    });
}

#[test]
fn the_core_has_no_clock_thread_socket_or_lock() {
    let words =
        ["std::thread", "std::net::Tcp", "Instant::now", "SystemTime", "Mutex", "Atomic", "async "];
    each_source(|name, text| {
        if name.starts_with("peer/src/") || name.starts_with("codec/src/") {
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let word = words.iter().find(|word| line.contains(**word));
                assert!(word.is_none(), "{name}: {line}");
            }
        }
    });
}

#[test]
fn dependencies_follow_the_plan_of_the_house() {
    let members = ["codec", "peer", "bridge", "molva", "loadgen", "benches", "sim", "molva-node"];
    for (crate_, allowed) in EDGES {
        let manifest = fs::read_to_string(root().join(crate_).join("Cargo.toml")).unwrap();
        let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        for line in section.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let inward = members.contains(&name);
            assert!(!inward || allowed.contains(&name), "{crate_} may not depend on {name}");
        }
    }
}
