//! Logs as they are and as they must not be, and a comparison with a run that is itself simulated.

use std::fmt::Write;
use std::time::Duration;

use super::log::{Over, Rules, Setting};
use super::*;

const HEAD: &str = concat!(
    r#"{"is":"cluster","version":1,"engines":2,"over":"streams","messages":1,"message_bytes":9,"#,
    r#""rules":{"links":5,"shuffle_us":10000000}}"#,
    "\n",
    r#"{"is":"started","us":5,"engine":0,"addr":"127.0.0.1:1"}"#,
    "\n",
    r#"{"is":"started","us":6,"engine":1,"addr":"127.0.0.1:2"}"#,
    "\n"
);

const END: &str = "{\"is\":\"end\",\"us\":900}\n";

const SAID: &str = "{\"is\":\"published\",\"us\":10,\"engine\":0,\"message\":0}\n";

fn read(text: &str) -> Result<Vec<Log>, LogError> {
    Log::read(text.as_bytes())
}

/// What is said of a log with these lines between its head and its end.
fn wrong(lines: &str) -> String {
    read(&format!("{HEAD}{lines}\n{END}")).expect_err("it is no log").to_string()
}

#[test]
fn a_log_is_what_it_tells() {
    let lines = [
        r#"{"is":"published","us":10,"engine":0,"message":0}"#,
        r#"{"is":"heard","us":30,"engine":1,"message":0,"hops":1}"#,
        r#"{"is":"state","us":40,"engine":1,"alive":[0],"suspected":[],"dead":[],"new":1,"known":0,
            "missed":0,"lagged":0,"silent":0}"#,
        r#"{"is":"paused","us":50,"engine":1}"#,
        r#"{"is":"resumed","us":70,"engine":1}"#,
        r#"{"is":"loss","us":60,"share":0.5}"#,
        r#"{"is":"killed","us":80,"engine":1}"#,
        "",
    ];
    let lines = lines.map(|line| line.replace("\n            ", "")).join("\n");
    let one = format!("{HEAD}{lines}{END}");
    let logs = read(&one.repeat(2)).unwrap();
    assert_eq!((logs.len(), &logs[0]), (2, &logs[1]));
    let log = &logs[0];
    let faults = [(50, Fault::Pause(1, 20)), (60, Fault::Loss(0.5)), (80, Fault::Kill(1))];
    assert_eq!((&log.started[..], &log.faults[..], log.end), (&[5, 6][..], &faults[..], 900));
    assert_eq!((log.course.gone[1], log.course.new[1]), (Some(80), 1));
    assert_eq!(log.course.heard[0][1].map(|heard| heard.hops), Some(Some(1)));
}

#[test]
fn what_is_no_log_is_told_with_its_line() {
    assert!(matches!(read(""), Err(LogError::NoHead)));
    assert!(matches!(read(END), Err(LogError::NoHead)));
    assert!(matches!(read(HEAD), Err(LogError::Unfinished(_))));
    assert!(matches!(read(&format!("{HEAD}{SAID}{END}{HEAD}")), Err(LogError::Unfinished(_))));
    let told = read(&format!("{HEAD}{END}")).unwrap_err().to_string();
    assert!(told.ends_with("not all messages were said: it was interrupted"), "{told}");
    let other = HEAD.replace(":9,", ":8,");
    let told = read(&format!("{HEAD}{SAID}{END}{other}{SAID}{END}")).unwrap_err().to_string();
    assert_eq!(told, "line 6: a run of another kind than the first");
    let large = HEAD.replace("\"engines\":2", "\"engines\":1000");
    let large = large.replace("\"messages\":1", "\"messages\":101");
    let told = read(&large).unwrap_err().to_string();
    assert_eq!(told, "line 1: engines times messages are more than 100,000");
    let newer = HEAD.replace("\"version\":1", "\"version\":2");
    assert!(matches!(read(&newer), Err(LogError::Version(2))));
    let none_began = HEAD.lines().next().unwrap();
    assert!(matches!(read(&format!("{none_began}\n{END}")), Err(LogError::Unfinished(_))));
    for (line, said) in [
        ("", "line 4: "),
        ("{\"is\":\"heard\"", "line 4: "),
        ("{\"is\":\"nothing\",\"us\":1}", "line 4: unknown variant `nothing`"),
        (r#"{"is":"heard","us":-1,"engine":0,"message":0,"hops":1}"#, "line 4: invalid value"),
        (r#"{"is":"heard","us":9,"engine":2,"message":0,"hops":1}"#, "line 4: no such engine"),
        (r#"{"is":"heard","us":9,"engine":0,"message":1,"hops":1}"#, "line 4: no such message"),
        (r#"{"is":"killed","us":5,"engine":1}"#, "line 4: the engine had not begun"),
        (r#"{"is":"killed","us":86400000001,"engine":1}"#, "line 4: a run lasts an hour"),
        (r#"{"is":"loss","us":5,"share":1.5}"#, "line 4: a share is from 0 to 1"),
        (r#"{"is":"resumed","us":5,"engine":1}"#, "line 4: it did not stand still"),
        (r#"{"is":"started","us":5,"engine":1}"#, "line 4: an engine begins once"),
    ] {
        let told = wrong(line);
        assert!(told.starts_with(said), "{line}: {told}");
    }
    let swapped = HEAD.replace("\"us\":6", "\"us\":4");
    let told = read(&format!("{swapped}{END}")).unwrap_err().to_string();
    assert!(told.contains("in the order of their numbers"), "{told}");
    let bytes = [HEAD.as_bytes(), b"\xff\xfe\n", END.as_bytes()].concat();
    assert!(matches!(Log::read(&bytes[..]), Err(LogError::Unreadable(_))));
}

/// What was to be: a few engines that begin one after the other, and messages a second apart.
fn plan(over: Over) -> Log {
    let rules = Rules { links: 5, shuffle_us: 10_000_000 };
    let engines = 24;
    let published = |message: u64| course::Published {
        us: 8_000_000 + 1_000_000 * message,
        node: (7 * message as usize + 3) % engines,
    };
    let course = Course {
        gone: vec![None; engines],
        published: (0..8).map(published).collect(),
        heard: vec![vec![None; engines]; 8],
        new: vec![0; engines],
        known: vec![0; engines],
        seen: Vec::new(),
    };
    Log {
        setting: Setting { engines, over, messages: 8, message_bytes: 60, rules },
        started: (0..engines as u64).map(|engine| 50_000 * (engine + 1)).collect(),
        faults: Vec::new(),
        course,
        end: 20_000_000,
    }
}

/// As `loadgen cluster` would have written it.
fn written(log: &Log) -> String {
    let over = if log.setting.over == Over::Streams { "streams" } else { "datagrams" };
    let engines = log.setting.engines;
    let mut text = format!(
        "{{\"is\":\"cluster\",\"version\":1,\"engines\":{engines},\"over\":\"{over}\",\
         \"messages\":{},\"message_bytes\":60,\
         \"rules\":{{\"links\":5,\"shuffle_us\":10000000}}}}\n",
        log.course.published.len()
    );
    let mut line = |words: String| writeln!(text, "{{{words}}}").unwrap();
    for (engine, us) in log.started.iter().enumerate() {
        line(format!("\"is\":\"started\",\"us\":{us},\"engine\":{engine}"));
    }
    for (message, said) in log.course.published.iter().enumerate() {
        let (us, node) = (said.us, said.node);
        line(format!("\"is\":\"published\",\"us\":{us},\"engine\":{node},\"message\":{message}"));
        for (engine, heard) in log.course.heard[message].iter().enumerate() {
            let Some(heard) = heard else { continue };
            let hops = heard.hops.map_or_else(|| "null".to_owned(), |hops| hops.to_string());
            line(format!(
                "\"is\":\"heard\",\"us\":{},\"engine\":{engine},\"message\":{message},\
                 \"hops\":{hops}",
                heard.us
            ));
        }
    }
    for seen in &log.course.seen {
        let (new, known) = (log.course.new[seen.node], log.course.known[seen.node]);
        line(format!(
            "\"is\":\"state\",\"us\":{},\"engine\":{},\"alive\":{:?},\"suspected\":{:?},\
             \"dead\":{:?},\"new\":{new},\"known\":{known},\"silent\":{}",
            seen.us, seen.node, seen.alive, seen.suspected, seen.dead, seen.silent
        ));
    }
    line(format!("\"is\":\"end\",\"us\":{}", log.end));
    text
}

/// Runs that were simulated, in the place of real ones, beside their simulation.
fn compared(over: Over) -> Report {
    let mut logs = vec![plan(over); 4];
    for (log, seed) in logs.iter_mut().zip(100..) {
        log.course = replay(log, Duration::from_millis(15), seed);
    }
    let text: String = logs.iter().map(written).collect();
    asked(read(&text).unwrap()).unwrap()
}

fn asked(logs: Vec<Log>) -> Result<Report, String> {
    let (log, out) = (PathBuf::new(), PathBuf::new());
    let parameters = Parameters { log, seeds: 6, seed: 1, out };
    let delay = Delay::of(logs.iter().map(|log| &log.course));
    let comparison = Comparison { parameters, logs, delay };
    comparison.check()?;
    assert!(comparison.head().contains("seeds 1 to 6"));
    comparison.ask()
}

#[test]
fn a_simulated_run_agrees_with_its_simulation() {
    let report = compared(Over::Streams);
    let lines: Vec<&str> = report.text.lines().collect();
    let delivered = lines.iter().find(|line| line.contains("delivered")).unwrap();
    assert!(delivered.contains("100.0000"), "{}", report.text);
    let verdicts = report.verdicts.to_string();
    assert_eq!(verdicts.matches("verdict: ").count(), 3, "{verdicts}");
    assert_eq!(report.files.len(), 3);
    assert!(report.files[2].1.contains("given up for silence"));
}

#[test]
fn datagrams_have_no_hops() {
    let report = compared(Over::Datagrams);
    let verdicts = report.verdicts.to_string();
    assert_eq!(verdicts.matches("verdict: ").count(), 2, "{verdicts}");
    assert!(!report.text.contains("links that a message came over"));
    assert!(report.files[2].1.contains("taken to be dead"));
}

/// Where nothing was heard, both sides were the same, and that was taken for agreement.
#[test]
fn what_delivered_nothing_is_compared_with_nothing() {
    let head = HEAD.replace("streams", "datagrams");
    let told = asked(read(&format!("{head}{SAID}{END}")).unwrap()).err();
    assert_eq!(told.as_deref(), Some(NOTHING_HEARD));
}

#[test]
fn a_difference_is_judged_by_what_chance_does() {
    let said = |real: &[f64], simulated: &[f64]| {
        let [real, simulated] = [real, simulated].map(Estimate::of);
        let pair = Pair { name: "time", real, simulated, within: Some(0.25) };
        verdict(&[pair]).to_string()
    };
    let simulated = [199.0, 200.0, 201.0];
    assert!(said(&[210.0, 212.0, 214.0], &simulated).contains("holds: "));
    assert!(said(&[2.0, 400.0], &simulated).contains("verdict: holds: "), "wide, and within");
    assert!(said(&[2.0, 900.0], &simulated).contains("CANNOT BE TOLD: "));
    assert!(said(&[700.0, 710.0, 720.0], &simulated).contains("DOES NOT HOLD: "));
    assert!(said(&[200.0], &simulated).contains("CANNOT BE TOLD: "), "one run tells nothing");
}
