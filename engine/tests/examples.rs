//! The examples run, and do what they say.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an example may take. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Cargo builds the examples with the tests of a package, and puts them into a folder beside
/// theirs; but not when it is told to build one test alone.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let target: PathBuf = test.parent().and_then(|deps| deps.parent()).unwrap().into();
    let path = target.join("examples").join(name);
    assert!(path.is_file(), "the examples are not built: cargo test -p molva does it");
    let mut command = Command::new(path);
    command.stdout(Stdio::piped()).stdin(Stdio::piped());
    command
}

/// Waits for its end, and kills it if that does not come.
#[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
fn ends_well(mut child: Child) -> bool {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.success(),
            None if start.elapsed() > PATIENCE => {
                child.kill().unwrap();
                child.wait().unwrap();
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn a_chain_of_its_own_exchanges_a_block_and_a_rumour() {
    let mut child = example("custom_chain").stdin(Stdio::null()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    assert!(ends_well(child));
    let last = BufReader::new(out).lines().map_while(Result::ok).last();
    assert_eq!(last.as_deref(), Some("both have block 1 and the rumour"));
}

#[test]
fn the_embedded_engine_listens_meets_another_and_ends() {
    let listening = |child: &mut Child| {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        (line.strip_prefix("listening on ").unwrap().to_owned(), lines)
    };
    let mut first = example("embed").spawn().unwrap();
    let (addr, _first_lines) = listening(&mut first);
    let mut second = example("embed").arg(&addr).spawn().unwrap();
    let (other, _second_lines) = listening(&mut second);
    assert_ne!(addr, other);
    // The end of its input ends it.
    drop(second.stdin.take());
    assert!(ends_well(second));
    drop(first.stdin.take());
    assert!(ends_well(first));
}
