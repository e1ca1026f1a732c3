//! A small cluster, and a server with a configuration file, as a person runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Engines that notice within seconds who is gone.
const HASTY: &str = "[network]
preset = \"dev\"
[slots]
outbound = 2
dials = 16
feeler_period = \"50ms\"
[book]
new_failures_max = 1
tried_failures_max = 2
tried_failing = \"2s\"
[limits]
connections_max = 64
";

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("the folder for tests can be written to");
    folder
}

fn loadgen(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).output().expect("the program was built with this test")
}

#[test]
fn a_small_cluster_forms_heals_and_takes_one_back() {
    let folder = folder("cluster");
    let [json, html, file] =
        ["cluster.json", "cluster.html", "cluster.toml"].map(|name| folder.join(name));
    std::fs::write(&file, HASTY).unwrap();
    let arguments =
        ["cluster", "--only", "heal", "--engines", "18", "--processes", "2", "--duration", "500ms"];
    let [json_path, html_path, file] = [&json, &html, &file].map(|path| path.to_str().unwrap());
    let paths = ["--json", json_path, "--html", html_path, "--config", file];
    let output = loadgen(&[&arguments[..], &paths].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let report = std::fs::read_to_string(&json).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "passed");
    let length = |key: &str| report[key].as_array().unwrap().len();
    assert_eq!((length("formed"), length("healed"), length("phases")), (18, 12, 3));
    assert_eq!((&report["killed"], &report["doubled_max"]), (&Value::from(6), &Value::from(0)));
    for engine in report["healed"].as_array().unwrap() {
        let count = |key: &str| engine[key].as_u64().unwrap();
        assert!(count("degree") >= count("outbound") && count("degree") >= 2, "{engine}");
    }
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
}

/// Runs a few engines, and reads what they left: the report, and all lines of the log.
fn spread(name: &str, flags: &[&str]) -> (Value, Vec<Value>) {
    let folder = folder(name);
    let [json, html, log] =
        ["cluster.json", "cluster.html", "cluster.jsonl"].map(|name| folder.join(name));
    let [json_path, html_path, log_path] = [&json, &html, &log].map(|path| path.to_str().unwrap());
    let all = ["cluster", "--only", "spread", "--engines", "9", "--runs", "1", "--messages", "4"];
    let paths = ["--json", json_path, "--html", html_path, "--log", log_path];
    let output = loadgen(&[&all[..], &paths, flags].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(&html).unwrap().contains("<svg"));
    let report = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let lines = std::fs::read_to_string(&log).unwrap();
    (report, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn count(lines: &[Value], is: &str) -> usize {
    lines.iter().filter(|line| line["is"] == is).count()
}

#[test]
fn messages_spread_among_a_few_engines_and_the_log_tells_all() {
    let flags = ["--delay", "2ms", "--settle", "3s", "--every", "700ms"];
    let faults =
        ["--inject", "kill=1@2s", "--inject", "leave=1@2s", "--inject", "pause=1@1s+500ms"];
    let (report, lines) = spread("spread", &[&flags[..], &faults].concat());
    assert_eq!((&lines[0]["is"], &lines[0]["engines"]), (&"cluster".into(), &9.into()));
    assert_eq!(lines.last().unwrap()["is"], "end");
    let counts = ["started", "published", "killed", "left", "paused", "resumed"];
    assert_eq!(counts.map(|is| count(&lines, is)), [9, 4, 1, 1, 1, 1]);
    assert!(count(&lines, "state") >= 7 * 5, "each tells how it sees the others, each second");
    let figures = &report["spread"][0];
    assert_eq!((&figures["living"], &figures["messages"]), (&7.into(), &4.into()));
    // Some may miss what was said when the others went.
    assert!(figures["delivered"].as_u64().unwrap() >= 2 * 6, "{figures}");
    for line in lines.iter().filter(|line| line["is"] == "heard") {
        assert!(line["hops"].as_u64().is_some_and(|hops| (1..9).contains(&hops)), "{line}");
    }
}

#[test]
fn datagrams_spread_them_too() {
    let (report, lines) = spread("datagrams", &["--udp", "--settle", "3s", "--every", "300ms"]);
    assert_eq!(lines[0]["over"], "datagrams");
    assert_eq!(report["spread"][0]["missing"], 0, "{report}");
    assert!(lines.iter().filter(|line| line["is"] == "heard").all(|line| line["hops"].is_null()));
    let last = lines.iter().rfind(|line| line["is"] == "state").unwrap();
    let count = |list: &str| last[list].as_array().unwrap().len();
    assert_eq!((count("alive"), count("suspected"), count("dead")), (8, 0, 0), "{last}");
}

#[test]
fn a_fault_that_cannot_be_is_an_error() {
    for (fault, word) in [("burn=1@1s", "no fault burn"), ("loss=0.1@1s", "--udp")] {
        let output = loadgen(&["cluster", "--only", "spread", "--inject", fault]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(word), "{text}");
    }
}

#[test]
fn a_server_takes_a_file_and_flags_beside_it() {
    let file = folder("serve").join("fine.toml");
    let text = "listen = [\"127.0.0.2:0\"]\n[network]\npreset = \"dev\"\n[limits]\n\
        connections_max = 200\n";
    std::fs::write(&file, text).unwrap();
    let serve = ["serve", "--config", file.to_str().unwrap(), "--duration", "100ms"];
    for (flags, host) in [(&[][..], "127.0.0.2:"), (&["--listen", "127.0.0.3:0"], "127.0.0.3:")] {
        let output = loadgen(&[&serve[..], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines[0]["listening"][0].as_str().unwrap().starts_with(host), "{lines:?}");
        let numbers = ["requests_refused", "store_lag", "neighbours", "gossip_known", "members"];
        assert!(numbers.iter().all(|name| lines[1][name].is_u64()), "{lines:?}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let file = folder("serve").join("wrong.toml");
    std::fs::write(&file, "[network]\npreset = \"dev\"\n\n[slots]\noutbuond = 3\n").unwrap();
    for scenario in ["serve", "cluster"] {
        let output = loadgen(&[scenario, "--config", file.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("line 5") && text.contains("slots.outbuond"), "{text}");
    }
}
