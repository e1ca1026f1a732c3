//! One node: its verbs, its exit codes, its end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::{Node, Scratch, command, run, said};

#[test]
fn it_starts_without_flags_of_its_own_listens_and_ends_by_a_signal() {
    for signal in ["TERM", "INT"] {
        let scratch = Scratch::new("node-plain");
        let mut plain = command(&["run"], &scratch.join("data"));
        // The chain's own port may be taken here.
        plain.args(["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
        let node = Node::spawn(plain, &scratch.join("data"));
        assert!(node.addr().starts_with("127.0.0.1:"));
        assert_eq!(node.status()["tip"]["height"], 0);
        let genesis = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        node.wait_for_tip(genesis);
        node.end_by(signal);
    }
}

#[test]
fn a_directory_has_one_owner_and_one_chain() {
    let scratch = Scratch::new("node-owner");
    let made = said(&["generate", "--blocks", "3"], scratch.path());
    assert_eq!((&made["chain"], &made["tip"]["height"]), (&"regtest".into(), &3.into()));
    let other = run(&["run", "--chain", "bitcoin"], scratch.path());
    assert_eq!(other.status.code(), Some(1));
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(told.contains("holds the regtest chain"), "{told}");
    let node = Node::start(scratch.path(), "regtest", &[]);
    node.wait_for_tip(made["tip"]["hash"].as_str().unwrap());
    let other = run(&["generate", "--blocks", "1"], scratch.path());
    assert_eq!(other.status.code(), Some(1));
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(told.contains("another process"), "{told}");
    node.end();
}

#[test]
fn the_same_number_generates_the_same_chain() {
    let scratch = Scratch::new("node-generate");
    let make = |name: &str, arguments: &[&str]| {
        let all = [&["generate", "--block-bytes", "2000"], arguments].concat();
        said(&all, &scratch.join(name))["tip"].clone()
    };
    let one = make("one", &["--blocks", "50"]);
    make("two", &["--blocks", "20"]);
    assert_eq!(make("two", &["--blocks", "30"]), one, "in two parts");
    let other = make("three", &["--blocks", "50", "--seed-number", "2"]);
    assert_ne!(other["hash"], one["hash"]);
}

#[test]
fn unknown_settings_are_named_and_known_ones_are_obeyed() {
    let scratch = Scratch::new("node-config");
    let file = scratch.join("node.toml");
    let start = |text: &str| {
        std::fs::write(&file, text).unwrap();
        command(&["run", "--config", file.to_str().unwrap()], &scratch.join("data"))
    };
    for (text, expected) in [
        ("[node]\ncolour = 1", "node.colour"),
        ("[timeouts]\nsilense = \"1m\"", "timeouts.silense"),
        ("[network]\npreset = \"dev\"", "network"),
    ] {
        let output = start(text).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(expected), "{told}");
    }
    let text = "listen = [\"127.0.0.1:0\"]\n[node]\nchain = \"regtest\"\n";
    let node = Node::spawn(start(text), &scratch.join("data"));
    assert!(node.addr().starts_with("127.0.0.1:"));
    assert_eq!(node.lines()[0]["chain"], "regtest");
    node.end();
}

#[test]
fn a_transaction_is_refused_that_cannot_be() {
    let scratch = Scratch::new("node-refuse");
    let data = scratch.path();
    assert_eq!(run(&["status"], data).status.code(), Some(1), "nobody runs here");
    let node = Node::start(data, "regtest", &[]);
    node.addr();
    assert_eq!(run(&["submit", "0011"], data).status.code(), Some(1));
    assert_eq!(said(&["submit", "--synthetic", "1"], data)["event"], "submitted");
    let again = run(&["submit", "--synthetic", "1"], data);
    assert_eq!(again.status.code(), Some(1), "it is here already");
    node.end();
}

#[test]
fn a_transaction_with_a_witness_is_mined_and_what_cannot_be_mined_is_an_error() {
    let scratch = Scratch::new("node-witness");
    let data = scratch.path();
    let node = Node::start(data, "regtest", &[]);
    node.addr();
    let spent = "11".repeat(32);
    let digits =
        format!("02000000000101{spent}0000000000ffffffff01e80300000000000001510101aa00000000");
    let id = said(&["submit", &digits], data)["id"].as_str().unwrap().to_owned();
    node.wait_for_transaction(&id);
    assert_eq!(said(&["mine", "--blocks", "2"], data)["tip"]["height"], 2);
    assert_eq!(node.status()["mempool"], 0);
    assert_eq!(run(&["mine", "--blocks", "0"], data).status.code(), Some(1));
    node.end();
    let node = Node::start(&scratch.join("bitcoin"), "bitcoin", &[]);
    node.addr();
    assert_eq!(run(&["mine"], &node.data).status.code(), Some(1), "work costs something there");
    node.end();
}

#[test]
fn whatever_comes_to_its_control_socket_is_answered_and_the_node_goes_on() {
    let scratch = Scratch::new("node-control");
    let node = Node::start(scratch.path(), "regtest", &[]);
    node.addr();
    let long = [&b"tx "[..], &[b'0'; 2 << 20], b"\n"].concat();
    for (line, expected) in [
        (&b"\xff\xfe\n"[..], "no text in UTF-8"),
        (&long, "the line is too long"),
        (b"\n", "status, tx HEX or mine N is wanted"),
        (b"mine 1001\n", "from 1 to 1000"),
    ] {
        let mut caller = UnixStream::connect(scratch.join("control.sock")).unwrap();
        caller.write_all(line).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["event"], "refused");
        assert!(answer["why"].as_str().unwrap().contains(expected), "{answer}");
    }
    assert_eq!(node.status()["tip"]["height"], 0);
    node.end();
}

#[test]
fn an_imported_file_is_there_after_a_restart() {
    let scratch = Scratch::new("node-import");
    let file = scratch.join("blk00000.dat");
    // Bitcoin's genesis alone: known, and so nothing new.
    let genesis = bitcoin_genesis();
    let mut bytes = vec![0xf9, 0xbe, 0xb4, 0xd9];
    bytes.extend_from_slice(&(genesis.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&genesis);
    std::fs::write(&file, &bytes).unwrap();
    let data = scratch.join("data");
    let done = said(&["import", file.to_str().unwrap()], &data);
    assert_eq!((&done["new"], &done["known"]), (&0.into(), &1.into()));
    // A real block that continues another.
    let block = bitcoin_test_data::blocks::mainnet_702861();
    bytes.truncate(4);
    bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
    bytes.extend_from_slice(block);
    std::fs::write(&file, &bytes).unwrap();
    let output = run(&["import", file.to_str().unwrap()], &data);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("import an earlier file first"), "{told}");
}

fn bitcoin_genesis() -> Vec<u8> {
    let network = bitcoin::Network::Bitcoin;
    bitcoin::consensus::serialize(&bitcoin::blockdata::constants::genesis_block(network))
}
