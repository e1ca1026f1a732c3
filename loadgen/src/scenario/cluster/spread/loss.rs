//! A network of our own, in which datagrams are lost on command.
//!
//! The program starts itself again in a network namespace, which takes no privileges where users
//! may make namespaces, touches nothing of the machine's own network and is gone with its last
//! process. There nftables drops a share of the datagrams as they come in. Why not in the engine: a
//! product should not be able to lose on command. Why not as they go out: the sender would be told.
//! And why not by `netem`: many kernels are built without it.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set for a program that is in a network of its own.
const INSIDE: &str = "LOADGEN_OWN_NETWORK";

/// Begins anew in a network of its own, unless this is one. Returns there.
pub(super) fn enter() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"])?;
        run("nft", &["add", "table", "inet", "loadgen"])?;
        let chain = "{ type filter hook input priority 0; }";
        return run("nft", &["add", "chain", "inet", "loadgen", "input", chain]);
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    // Whoever is root already must not become another's: the rings of many engines need more locked
    // memory than a user has.
    let is_root = rustix::process::geteuid().is_root();
    let user: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let error = Command::new("unshare")
        .args(user)
        .args(["--net", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(missing("unshare", &error))
}

/// From now on this share of all datagrams is lost.
pub(super) fn lose(share: f64) -> Result<(), String> {
    run("nft", &["flush", "chain", "inet", "loadgen", "input"])?;
    let percent = (100.0 * share).round() as u32;
    if percent == 0 {
        return Ok(());
    }
    let rule = format!("meta l4proto udp numgen random mod 100 < {percent} counter drop");
    let words = ["add", "rule", "inet", "loadgen", "input"];
    let words: Vec<&str> = words.into_iter().chain(rule.split(' ')).collect();
    run("nft", &words)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| missing(program, &error))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("loss: `{program} {}`: {}", arguments.join(" "), said.trim()))
}

fn missing(program: &str, error: &std::io::Error) -> String {
    let of = match program {
        "unshare" => "util-linux",
        "ip" => "iproute2",
        _ => "nftables",
    };
    format!("loss: datagrams are lost by `{program}` of {of}, which does not run: {error}")
}
