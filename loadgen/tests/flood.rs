//! The program as a person runs it, small: traffic over real TCP, and a report that adds up.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs the program; its output and its report.
fn loadgen(name: &str, arguments: &[&str]) -> (Output, Option<Value>) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let json = folder.join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(folder.join("report.html"))
        .output()
        .expect("the program was built with this test");
    let report = std::fs::read_to_string(json).ok();
    (output, report.map(|text| serde_json::from_str(&text).expect("the report is JSON")))
}

fn passed(name: &str, arguments: &[&str]) -> Value {
    let (output, report) = loadgen(name, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report = report.expect("a run that passed has a report");
    assert_eq!(report["errors"].as_array().map(Vec::len), Some(0), "{report}");
    for key in ["lost", "doubled", "corrupted", "slow_reader_drops"] {
        assert_eq!(report[key], 0, "{key}");
    }
    report
}

#[test]
fn a_small_flood_arrives_exactly_once_from_either_backend() {
    for backend in ["tokio-uring", "tokio"] {
        let arguments = ["--connections", "20", "--duration", "1s", "--backend", backend];
        let report = passed(&format!("flood-{backend}"), &arguments);
        let count = |key: &str| report[key].as_u64().unwrap();
        assert!(count("delivered") > 2_501, "the real ones and more: {report}");
        assert!(count("duplicates") > count("delivered"));
        assert_eq!(count("frames_sent"), count("frames_received"));
    }
}

#[test]
fn a_small_broadcast_reaches_every_client_once() {
    let arguments = ["broadcast", "--connections", "30", "--duration", "1s", "--rate", "20"];
    let report = passed("broadcast", &arguments);
    let delivered = report["delivered"].as_u64().unwrap();
    assert!(delivered > 0 && delivered.is_multiple_of(30), "{report}");
}

#[test]
fn small_idle_and_churn_lose_nobody() {
    passed("idle", &["idle", "--connections", "30", "--duration", "1s"]);
    let report = passed("churn", &["churn", "--connections", "4", "--duration", "1s"]);
    assert_eq!(report["closed_by_cause"]["remote_closed"], report["handshakes"]);
}

#[test]
fn a_broadcast_needs_the_embedded_engine() {
    let (output, report) = loadgen("target", &["broadcast", "--target", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2), "a wrong flag, and no run");
    assert!(report.is_none());
}
