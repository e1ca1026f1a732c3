//! Two attacks as a person makes them, small: their fate is explained, and the report adds up.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn hostile(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("hostile")
        .args(arguments)
        .output()
        .expect("the program was built with this test")
}

/// The p99 of a busy machine that builds and tests proves nothing: here it may grow by ten seconds.
#[test]
fn two_small_attacks_meet_their_ends_and_nobody_else_notices() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    let (json, html) = (folder.join("report.json"), folder.join("report.html"));
    let (json, html) = (json.display().to_string(), html.display().to_string());
    let output = hostile(&[
        "--duration",
        "1s",
        "--noise",
        "10s",
        "--attacks",
        "oversize_lists,duplicate_connections",
        "--json",
        &json,
        "--html",
        &html,
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let report = std::fs::read_to_string(json).expect("a run that passed has a report");
    let report: Value = serde_json::from_str(&report).expect("it is JSON");
    let attacks = report["attacks"].as_array().expect("the attacks are a list");
    let names: Vec<_> = attacks.iter().map(|attack| &attack["name"]).collect();
    assert_eq!(names, ["oversize_lists", "duplicate_connections"]);
    for attack in attacks {
        let fate = attack["fate"].as_object().expect("a fate for each cause");
        let ended: u64 = fate.values().filter_map(Value::as_u64).sum();
        assert!(ended > 0 && attack["connections"] == ended, "{attack}");
        assert_eq!((&attack["lost"], &attack["verdict"]), (&0.into(), &"passed".into()));
    }
    assert_eq!(attacks[0]["fate"]["list_too_long"], attacks[0]["connections"]);
    assert!(attacks[1]["fate"]["duplicate_connection"].as_u64() > Some(0));
    let page = std::fs::read_to_string(html).expect("a run that passed has a page");
    assert!(page.contains("oversize_lists") && !page.contains("<script"));
}

#[test]
fn a_wrong_name_is_refused_and_the_list_says_the_right_ones() {
    let output = hostile(&["--attacks", "kindness"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--list"));
    let list = hostile(&["--list"]);
    assert!(list.status.success());
    let names = String::from_utf8_lossy(&list.stdout).matches("ends as").count();
    assert!(names >= 12, "{names} attacks");
}
