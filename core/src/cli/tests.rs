#![expect(clippy::unwrap_used, reason = "tests")]

mod costs;
mod sample;

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;

use super::*;
use crate::sink::store::Store;
use crate::testing::Folder;

/// The sample in a store of its own.
fn filled() -> Folder {
    let folder = Folder::new();
    Store::open(&folder.0).unwrap().write(&sample::events()).unwrap();
    folder
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run_in(dir: &Path, width: Option<usize>, colour: bool, args: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
        width,
        colour,
        zone: TimeZone::UTC,
        now: "2026-07-04T15:00:00Z".parse().unwrap(),
    };
    let args = args.iter().map(OsString::from).chain(["--dir".into(), dir.into()]);
    let code = run_on(Caller::default(), args, &mut terminal);
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Compares with a checked-in text that was reviewed by eye. `LLMTRAIL_ACCEPT=1` writes it: look at it then.
fn expect(name: &str, out: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/tests").join(name);
    if std::env::var_os("LLMTRAIL_ACCEPT").is_some() {
        std::fs::write(&path, out).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(out == expected, "{name} is not as expected:\n{out}");
}

#[test]
fn outputs_are_as_reviewed() {
    let folder = filled();
    for (name, width, args) in [
        ("ls_120.txt", Some(120), &["ls"][..]),
        ("ls_80.txt", Some(80), &["ls"]),
        ("ls_pipe.txt", None, &["ls", "--limit", "3"]),
        ("show_trace.txt", Some(100), &["show", "trace-refund"]),
        ("show_stream.txt", Some(100), &["show", sample::STREAMED]),
        ("show_claude.txt", Some(100), &["show", &sample::CLAUDE[30..]]),
        ("show_failed.txt", Some(100), &["show", sample::FAILED]),
        ("show_span.txt", Some(100), &["show", sample::SPAN]),
        ("cost.txt", Some(100), &["cost"]),
        ("cost_user.txt", Some(100), &["cost", "--by", "user"]),
        ("cost_day.txt", Some(100), &["cost", "--by", "day", "--since", "7d"]),
    ] {
        let ran = run_in(&folder.0, width, false, args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{name}");
        expect(name, &ran.out);
        if let Some(width) = width {
            let widest = ran.out.lines().map(terminal::width).max().unwrap();
            assert!(widest <= width, "{name}: {widest} columns");
        }
    }
}

#[test]
fn json_is_as_documented() {
    let folder = filled();
    for (name, args) in [
        ("ls.json", &["ls", "--json", "--limit", "1"][..]),
        ("show.json", &["show", sample::STREAMED, "--json"]),
        ("cost.json", &["cost", "--json", "--by", "provider"]),
    ] {
        let ran = run_in(&folder.0, None, false, args);
        let shape: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        expect(name, &(serde_json::to_string_pretty(&shape).unwrap() + "\n"));
    }
    let ran = run_in(&folder.0, None, false, &["show", "trace-refund", "--json"]);
    let shape: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let events = shape["trace"]["events"].as_array().unwrap();
    let captured = sample::events();
    let uuids: Vec<String> = captured.iter().map(|event| event.uuid.to_string()).collect();
    assert!(events.len() > 4);
    for event in events {
        let at = uuids.iter().position(|uuid| event["uuid"] == uuid.as_str()).unwrap();
        // To the byte, in the middle of the output.
        assert!(ran.out.contains(std::str::from_utf8(&captured[at].json).unwrap()));
    }
}

#[test]
fn what_is_exported_can_be_imported() {
    let folder = filled();
    let out = run_in(&folder.0, None, false, &["export"]).out;
    let captured: Vec<String> =
        sample::events().iter().map(|event| String::from_utf8(event.json.to_vec()).unwrap()).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), captured);
    let other = Folder::new();
    let file = other.0.join("events.jsonl");
    std::fs::write(&file, &out).unwrap();
    let file = file.to_str().unwrap();
    let (count, import) = (captured.len(), ["import", file, "--json"]);
    assert_eq!(run_in(&other.0, None, false, &import).out, format!("{{\"new\":{count},\"read\":{count}}}\n"));
    assert_eq!(run_in(&other.0, None, false, &import).out, format!("{{\"new\":0,\"read\":{count}}}\n"));
    assert_eq!(run_in(&other.0, None, false, &["export"]).out, out);
    let other = Folder::new();
    std::fs::write(other.0.join("bad.jsonl"), format!("\n{}\n{{}}\n", captured[0])).unwrap();
    let bad = run_in(&other.0, None, false, &["import", other.0.join("bad.jsonl").to_str().unwrap()]);
    assert!(bad.code == 1 && bad.err.contains("line 3: it has no event"), "{}", bad.err);
    assert!(bad.err.contains("What stood before it is in the store"), "{}", bad.err);
    assert_eq!(run_in(&other.0, None, false, &["export"]).out, format!("{}\n", captured[0]));
}

#[test]
fn an_answer_over_many_lines_is_imported() {
    let event = |id: u8| {
        let uuid = format!("019f2d6a-5000-7000-8000-00000000000{id}");
        serde_json::json!({"id": uuid, "event": "$ai_span", "distinct_id": "u", "timestamp": "2026-07-04T12:00:00+00:00", "properties": "{}"})
    };
    let folder = Folder::new();
    let file = folder.0.join("answer.json");
    for (shape, read) in [(serde_json::json!({"results": [event(1), event(2)]}), 2), (serde_json::json!([event(3)]), 1)]
    {
        std::fs::write(&file, format!("\u{feff}{}\n", serde_json::to_string_pretty(&shape).unwrap())).unwrap();
        let ran = run_in(&folder.0, None, false, &["import", file.to_str().unwrap(), "--json"]);
        assert_eq!(ran.out, format!("{{\"new\":{read},\"read\":{read}}}\n"), "{}", ran.err);
    }
}

#[test]
fn other_forms_of_export() {
    let folder = filled();
    let csv = run_in(&folder.0, None, false, &["export", "--format", "csv", "--since", "2026-07-04T14:00"]).out;
    assert!(csv.starts_with("id,uuid,timestamp,user,") && csv.lines().count() == 3, "{csv}");
    assert!(csv.contains("\"2026-07-04T14:30:00.000Z\",\"cron\""), "{csv}");
    let none = run_in(&folder.0, None, false, &["export", "--format", "csv", "--since", "2026-07-04T15:00"]).out;
    assert_eq!(none, format!("{}\n", csv.lines().next().unwrap()));
    let otlp = run_in(&folder.0, None, false, &["export", "--format", "otlp-json"]).out;
    let shape: serde_json::Value = serde_json::from_str(&otlp).unwrap();
    let spans = shape["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let streamed = spans.iter().find(|span| span["spanId"] == "800000000000a003").unwrap();
    assert_eq!(streamed["startTimeUnixNano"], "1783166586410000000");
    assert_eq!(streamed["endTimeUnixNano"], "1783166588242400000");
    let root = spans.iter().find(|span| span["spanId"] == streamed["parentSpanId"]).unwrap();
    assert_eq!((root["name"].as_str(), root.get("parentSpanId")), (Some("answer"), None));
    assert_eq!(root["traceId"], streamed["traceId"]);
    let said = streamed["attributes"].as_array().unwrap();
    assert!(said.contains(&serde_json::json!({"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1398"}})));
}

#[test]
fn sql_only_reads() {
    let folder = filled();
    let sql = |text: &str| run_in(&folder.0, Some(100), false, &["sql", text]);
    let rows = sql("SELECT provider, count(*) AS calls FROM calls GROUP BY 1 ORDER BY 1");
    assert_eq!(rows.out, "provider   calls\nanthropic      2\nollama         1\nopenai         6\ntogether       1\n");
    let unpacked = run_in(
        &folder.0,
        None,
        false,
        &["sql", "--json", "SELECT unpack(json) AS text FROM contents WHERE size = (SELECT max(size) FROM contents)"],
    );
    assert!(unpacked.out.contains("The shop's manual. The shop's manual."), "{}", unpacked.out);
    for bad in [
        "DELETE FROM events",
        "DROP TABLE events",
        "PRAGMA user_version = 9",
        "INSERT INTO meta VALUES ('a', 1)",
        "SELEC 1",
        "",
    ] {
        let ran = sql(bad);
        assert!(ran.code == 1 && ran.err.contains("this SQL does not work"), "{bad}: {} {}", ran.out, ran.err);
    }
    assert_eq!(run_in(&folder.0, None, false, &["export"]).out.lines().count(), sample::events().len());
}

#[test]
fn stats_and_tail_show_what_is_there() {
    let folder = filled();
    let stats: serde_json::Value =
        serde_json::from_str(&run_in(&folder.0, None, false, &["stats", "--json"]).out).unwrap();
    // Nine generations: the fifth of their latencies, and the last.
    let mut latencies = [0.9417, 1.8324, 2.2071, 4.0518, 0.7702, 12.25, 0.52, 0.6113, 0.6113];
    latencies.sort_by(f64::total_cmp);
    assert_eq!(stats["total"]["latency_p50"], latencies[4]);
    assert_eq!(stats["total"]["latency_p95"], latencies[8]);
    assert_eq!((stats["total"]["calls"].as_u64(), stats["total"]["errors"].as_u64()), (Some(10), Some(1)));
    let text = run_in(&folder.0, Some(80), false, &["stats", "--since", "7d"]).out;
    assert!(text.contains("latency      p50 942 ms, p95 12.2 s"), "{text}");
    assert!(text.lines().all(|line| terminal::width(line) <= 80), "{text}");
    let tail = run_in(&folder.0, Some(100), false, &["tail", "-n", "2"]).out;
    assert!(tail.lines().count() == 2 && tail.lines().all(|line| line.contains("Tag this review.")), "{tail}");
}

#[test]
fn purged_events_are_gone() {
    let folder = filled();
    let removed = run_in(&folder.0, None, false, &["purge", "--user", "ada@example.com", "--json"]);
    let ada =
        sample::events().iter().filter(|event| event.json.windows(15).any(|text| text == b"ada@example.com")).count();
    assert_eq!((removed.code, removed.out), (0, format!("{{\"removed\":{ada},\"removed_from_spool\":0}}\n")));
    let left = run_in(&folder.0, None, false, &["ls"]).out;
    assert!(!left.contains("ada@example.com") && left.contains("cron"), "{left}");
    let rest = run_in(&folder.0, None, false, &["purge", "--before", "2026-07-05"]).out;
    assert_eq!(rest, format!("{} events removed.\n", sample::events().len() - ada));
    assert_eq!(run_in(&folder.0, None, false, &["ls"]).out, "The store has no calls yet.\n");
    assert_eq!(run_in(&folder.0, None, false, &["purge"]).code, 2);
}

#[test]
fn every_width_has_room_for_odd_names_and_long_ids() {
    let folder = Folder::new();
    let hearts = "\u{2764}\u{fe0f}".repeat(30);
    let properties = serde_json::json!({"$ai_trace_id": "0123456789abcdef0123456789abcdef", "$ai_model": hearts});
    let event = crate::event::Event {
        event: "$ai_generation".to_owned(),
        uuid: uuid::Uuid::now_v7(),
        distinct_id: hearts,
        timestamp: "2026-07-04T12:00:00.000Z".to_owned(),
        properties: properties.as_object().unwrap().clone(),
    };
    Store::open(&folder.0).unwrap().write(&[event.encode()]).unwrap();
    for width in 40..140 {
        for command in ["ls", "tail", "stats", "cost"] {
            let ran = run_in(&folder.0, Some(width), false, &[command]);
            assert_eq!(ran.code, 0, "{command} {width}");
            let widest = ran.out.lines().map(terminal::width).max().unwrap();
            assert!(widest <= width || command == "stats", "{command} {width}: {widest}\n{}", ran.out);
        }
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    let folder = filled();
    for args in [&["ls"][..], &["show", sample::FAILED], &["cost"]] {
        let (plain, coloured) =
            (run_in(&folder.0, Some(90), false, args).out, run_in(&folder.0, Some(90), true, args).out);
        assert!(coloured.contains("\x1b["));
        let mut stripped = String::new();
        for (at, piece) in coloured.split('\x1b').enumerate() {
            stripped.push_str(if at == 0 { piece } else { piece.split_once('m').unwrap().1 });
        }
        assert_eq!(stripped, plain);
    }
}

#[test]
fn what_goes_wrong_is_said() {
    let folder = filled();
    let empty = Folder::new();
    for (dir, args, code, says) in [
        (&empty, &["ls"][..], 1, "there is no store in"),
        (&folder, &["show", "nothing-like-that"], 1, "no trace, span or call has the id \"nothing-like-that\""),
        (&folder, &["show", ""], 1, "no trace, span or call"),
        (&folder, &["show", "trace-"], 1, "trace- fits more than one: trace-"),
        (&folder, &["show"], 2, "required arguments were not provided"),
        (&folder, &["ls", "--limit", "0"], 2, "invalid value '0'"),
        (&folder, &["cost", "--since", "once"], 2, "--since \"once\": expected a date such as 2026-07-01"),
        (&folder, &["cost", "--by", "colour"], 2, "possible values: model, provider, user, session, day"),
        (&folder, &["paint"], 2, "unrecognized subcommand 'paint'"),
        (&folder, &[], 2, "Usage: llmtrail"),
    ] {
        let ran = run_in(&dir.0, Some(100), false, args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(says) && ran.out.is_empty(), "{args:?}: {} {}", ran.out, ran.err);
    }
}

#[test]
fn who_asks_for_nothing_sees_what_there_is_in_lines() {
    let said = |args: &[&str]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::of_process(&mut out, &mut err);
        assert_eq!(run_on(Caller::default(), args.iter().map(OsString::from), &mut terminal), 2);
        String::from_utf8(err).unwrap()
    };
    assert!(said(&[]).contains("\nUsage: llmtrail <COMMAND>\n\nCommands:\n  ls "));
    assert!(said(&["prices"]).contains("\nCommands:\n  list "));
    assert!(said(&["ls", "--colour"]).starts_with("llmtrail: unexpected argument '--colour' found\n"));
}

#[test]
fn help_and_version_are_no_errors() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut say = |args: &[&str]| {
        out.clear();
        let mut terminal = Terminal::of_process(&mut out, &mut err);
        assert_eq!(run_on(Caller::default(), args.iter().map(OsString::from), &mut terminal), 0);
        String::from_utf8_lossy(&out).into_owned()
    };
    assert_eq!(say(&["--version"]), format!("llmtrail {}\n", env!("CARGO_PKG_VERSION")));
    assert!(say(&["--help"]).contains("Examples:\n  llmtrail ls "));
    for command in ["ls", "show", "cost"] {
        assert!(say(&[command, "--help"]).contains("Examples:\n  llmtrail"), "{command}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = filled();
    let (mut out, mut err) = (Closed, Vec::new());
    let mut terminal = Terminal::of_process(&mut out, &mut err);
    let args = ["ls".into(), "--dir".into(), folder.0.clone().into_os_string()];
    assert_eq!(run_on(Caller::default(), args, &mut terminal), 0);
    assert!(err.is_empty());
}

#[test]
fn doctor_says_what_it_found_by_its_exit_code() {
    let folder = Folder::new();
    let ran = run_in(&folder.0, None, false, &["doctor", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &found["ok"], found["places"][0]["kind"].as_str()),
        (0, &true.into(), Some("store")),
        "{}",
        ran.out
    );
    std::fs::write(folder.0.join("llmtrail.db"), "no database at all, and longer than a page's head").unwrap();
    let ran = run_in(&folder.0, None, false, &["doctor"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("\nProblems\n  - the local store"), "{}", ran.out);
}
