//! Three nodes on loopback: blocks and transactions reach all of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Node, Scratch, said};

/// Where the first 255 real blocks are, if this machine has them.
const REAL_BLOCKS: &str = "MOLVA_REAL_BLOCKS";

/// The last of them.
const REAL_TIP: &str = "00000000d0a75c861fabf9ff7b92022f60e4afeed9331fe5aa073d8e4706fe3c";

/// The file that the environment names, or that stands beside the project.
fn real_blocks() -> Option<PathBuf> {
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/bitcoin-mainnet-1-256.bz2");
    let named = std::env::var_os(REAL_BLOCKS).map(PathBuf::from);
    [named, Some(beside)].into_iter().flatten().find(|path| path.is_file())
}

/// Three nodes of one chain, of which the first has it: the others end with the same tip.
fn three(scratch: &Scratch, chain: &str, tip: &str) -> [Node; 3] {
    let first = Node::start(&scratch.join("first"), chain, &[]);
    let addr = first.addr();
    first.wait_for_tip(tip);
    let second = Node::start(&scratch.join("second"), chain, &[&addr]);
    let third = Node::start(&scratch.join("third"), chain, &[&addr, &second.addr()]);
    second.wait_for_tip(tip);
    third.wait_for_tip(tip);
    [first, second, third]
}

#[test]
fn the_real_blocks_reach_all() {
    let scratch = Scratch::new("node-real");
    let Some(file) = real_blocks() else {
        eprintln!("no real blocks here ({REAL_BLOCKS} names none): generated ones are synced");
        return generated_blocks_reach_all(&scratch);
    };
    let done = said(&["import", file.to_str().unwrap()], &scratch.join("first"));
    assert_eq!((&done["new"], &done["tip"]["hash"]), (&255.into(), &REAL_TIP.into()));
    let nodes = three(&scratch, "bitcoin", REAL_TIP);
    for node in nodes {
        assert_eq!(node.status()["tip"]["height"], 255);
        node.end();
    }
    let again = said(&["import", file.to_str().unwrap()], &scratch.join("third"));
    assert_eq!((&again["new"], &again["known"]), (&0.into(), &255.into()), "all are there");
}

fn generated_blocks_reach_all(scratch: &Scratch) {
    let made = said(&["generate", "--blocks", "255"], &scratch.join("first"));
    let tip = made["tip"]["hash"].as_str().unwrap();
    three(scratch, "regtest", tip).into_iter().for_each(Node::end);
}

#[test]
fn more_blocks_than_one_answer_has_headers_reach_all() {
    let scratch = Scratch::new("node-many");
    let sizes = ["generate", "--blocks", "4500", "--block-bytes", "500"];
    let made = said(&sizes, &scratch.join("first"));
    let tip = made["tip"]["hash"].as_str().unwrap();
    three(&scratch, "regtest", tip).into_iter().for_each(Node::end);
}

#[test]
fn a_transaction_reaches_all_once_and_leaves_with_its_block() {
    let scratch = Scratch::new("node-transaction");
    let made = said(&["generate", "--blocks", "5"], &scratch.join("first"));
    let nodes = three(&scratch, "regtest", made["tip"]["hash"].as_str().unwrap());
    let given: Vec<_> = (1..=3)
        .map(|number| {
            let number = number.to_string();
            let said = said(&["submit", "--synthetic", &number], &nodes[1].data);
            said["id"].as_str().unwrap().to_owned()
        })
        .collect();
    for node in &nodes {
        given.iter().for_each(|id| node.wait_for_transaction(id));
    }
    // A second copy would come now.
    std::thread::sleep(Duration::from_millis(500));
    for node in &nodes {
        let transactions = node.transactions();
        assert_eq!(transactions.len(), given.len());
        assert!(transactions.values().all(|times| *times == 1), "{transactions:?}");
        assert_eq!(node.status()["mempool"], given.len());
    }
    let mined = said(&["mine"], &nodes[2].data);
    assert_eq!(mined["tip"]["height"], 6);
    for node in &nodes {
        node.wait_for_tip(mined["tip"]["hash"].as_str().unwrap());
        node.wait_for_status("empty mempool", |status| status["mempool"] == 0);
    }
    nodes.into_iter().for_each(Node::end);
}

#[test]
fn a_branch_with_more_work_wins_everywhere_and_a_deep_one_nowhere() {
    let scratch = Scratch::new("node-branches");
    let make = |name: &str, blocks: &str, seed: &str| {
        let sizes = ["generate", "--block-bytes", "300", "--blocks", blocks, "--seed-number", seed];
        let tip = said(&sizes, &scratch.join(name))["tip"].clone();
        tip["hash"].as_str().unwrap().to_owned()
    };
    make("short", "10", "1");
    let longer = make("long", "12", "2");
    let short = Node::start(&scratch.join("short"), "regtest", &[]);
    let long = Node::start(&scratch.join("long"), "regtest", &[&short.addr()]);
    short.wait_for_tip(&longer);
    long.end();
    short.end();
    // Two chains that part at genesis, both deeper than any branch may be.
    let one = make("one", "300", "3");
    make("other", "310", "4");
    let one_node = Node::start(&scratch.join("one"), "regtest", &[]);
    let other = Node::start(&scratch.join("other"), "regtest", &[&one_node.addr()]);
    one_node
        .wait_for("refusal", |lines| lines.iter().find(|line| line["event"] == "fork").cloned());
    assert_eq!(one_node.status()["tip"]["hash"], one.as_str());
    other.end();
    one_node.end();
}
