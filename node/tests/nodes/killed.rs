//! What a node has said is there survives `kill -9`.

use std::time::Duration;

use crate::support::{Node, PATIENCE, Scratch, command, said};

/// How often a node is killed.
const ROUNDS: u64 = 8;

/// Blocks that are made in a round, at most: one by one, so that each is a batch of its own.
const BLOCKS: u64 = 200;

#[test]
fn no_acknowledged_block_is_lost() {
    let scratch = Scratch::new("node-killed");
    let data = scratch.path();
    let (mut height, mut hash) = (0, String::new());
    for round in 0..ROUNDS {
        let node = Node::start(data, "regtest", &[]);
        node.addr();
        if round > 0 {
            // The last that was said may not be the last that was kept.
            node.wait_for("the chain", |lines| {
                let tip = lines.iter().find(|line| line["event"] == "tip")?;
                (tip["height"].as_u64()? >= height).then_some(())
            });
            let kept = &node.lines()[1];
            assert!(kept["height"] != height || kept["hash"] == hash.as_str(), "another chain");
        }
        let start = node.status()["tip"]["height"].as_u64().unwrap();
        let operator = std::thread::spawn({
            let data = data.to_owned();
            move || {
                for _ in 0..BLOCKS {
                    if !command(&["mine"], &data).output().unwrap().status.success() {
                        return;
                    }
                }
            }
        });
        let until = start + 1 + round * 5 % 13;
        node.wait_for("blocks", |lines| {
            let height = lines.last()?["height"].as_u64()?;
            (height >= until).then_some(())
        });
        std::thread::sleep(Duration::from_micros(700 * (round % 5)));
        let lines = node.kill();
        let last = lines.iter().rev().find(|line| line["event"] == "tip").unwrap();
        height = last["height"].as_u64().unwrap();
        hash = last["hash"].as_str().unwrap().to_owned();
        operator.join().unwrap();
    }
    assert!(height > ROUNDS, "{PATIENCE:?}");
}

#[test]
fn a_generator_that_is_killed_leaves_a_chain_that_goes_on() {
    let scratch = Scratch::new("node-generator-killed");
    let whole = said(&["generate", "--blocks", "1500"], &scratch.join("whole"))["tip"].clone();
    let data = scratch.join("data");
    for round in 0..4 {
        let mut child = command(&["generate", "--blocks", "1500"], &data).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(30 + 60 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let node = Node::start(&data, "regtest", &[]);
    node.addr();
    let height = node.status()["tip"]["height"].as_u64().unwrap();
    node.end();
    if height < 1_500 {
        let rest = (1_500 - height).to_string();
        let tip = said(&["generate", "--blocks", &rest], &data)["tip"].clone();
        assert_eq!(tip, whole, "every block is the one that it must be");
    }
}
