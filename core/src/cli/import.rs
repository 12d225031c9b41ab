//! `llmtrail import`: events from elsewhere into the store.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::terminal::{Terminal, number_of};
use super::{Common, Failure};
use crate::error::{Error, ErrorKind};
use crate::event::{AI_EVENTS, Event, Lane, WireEvent};
use crate::sink::store::Store;

/// Bring events from a file into the store: llmtrail's own JSON lines, or an export of PostHog's
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail import events.jsonl
  llmtrail export --dir old | llmtrail import --dir new -
  llmtrail import posthog-export.jsonl

Each line is an event: {event, uuid, distinct_id, timestamp, properties}. PostHog's exports have properties as a text and
the uuid also as id; a file of {\"results\": [...]} or of one list is understood as well. An event that is already there
stays as it is, so a file can be imported again.

--json: {read, new}")]
pub(super) struct Args {
    /// The file; - for standard input
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Events in one transaction.
const BATCH: usize = 500;

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|error| {
            Failure::from(Error::new(ErrorKind::Input, format!("{} cannot be read: {error}", args.file.display())))
        })?)
    };
    let mut store = Store::open(&args.common.dir()?)?;
    let before = store.count()?;
    let (mut batch, mut read) = (Vec::new(), 0_u64);
    let mut lines = Lines { of: BufReader::new(input).lines(), at: 0 };
    let done = loop {
        let some = lines.next().map_err(|error| error.to_string());
        match some.and_then(|text| text.map(|text| events(&text)).transpose()) {
            Ok(None) => break Ok(()),
            Ok(Some(some)) => batch.extend(some),
            Err(why) => break Err(wrong(&args.file, lines.at, &why)),
        }
        if batch.len() >= BATCH {
            read += batch.len() as u64;
            store.write(&batch)?;
            batch.clear();
        }
    };
    read += batch.len() as u64;
    store.write(&batch)?;
    done?;
    let new = store.count()?.saturating_sub(before);
    if args.common.json {
        writeln!(terminal.out, "{}", json!({ "read": read, "new": new }))?;
    } else {
        writeln!(terminal.out, "{} read, {new} of them new.", number_of(read, "event"))?;
    }
    Ok(())
}

/// The lines of a file that say something.
struct Lines<R> {
    of: std::io::Lines<R>,
    /// The number of the last one.
    at: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> std::io::Result<Option<String>> {
        let is_first = self.at == 0;
        loop {
            let Some(text) = self.of.next().transpose()? else { return Ok(None) };
            self.at += 1;
            // Windows puts a mark before the first.
            let text = text.trim_start_matches('\u{feff}');
            if text.trim().is_empty() {
                continue;
            }
            let mut text = text.to_owned();
            // A list, or an answer of PostHog's, may be written over many lines.
            if is_first && serde_json::from_str::<IgnoredAny>(&text).is_err_and(|error| error.is_eof()) {
                for line in self.of.by_ref() {
                    text.push('\n');
                    text.push_str(&line?);
                }
            }
            return Ok(Some(text));
        }
    }
}

fn wrong(file: &Path, at: usize, why: &str) -> Failure {
    let message = format!("{}, line {at}: {why}. What stood before it is in the store.", file.display());
    Error::new(ErrorKind::Input, message).into()
}

/// The events of a line: one, or a list of them.
fn events(text: &str) -> Result<Vec<WireEvent>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON ({error})"))?;
    let list = match value {
        Value::Array(items) => items,
        Value::Object(mut object) => match object.remove("results") {
            Some(Value::Array(items)) => items,
            _ => return one(serde_json::from_str(text).unwrap_or_default(), Some(text)).map(|event| vec![event]),
        },
        _ => return Err("expected an event, or a list of events".to_owned()),
    };
    list.into_iter().map(|item| one(item, None)).collect()
}

fn one(value: Value, text: Option<&str>) -> Result<WireEvent, String> {
    let Value::Object(mut object) = value else { return Err("expected an event".to_owned()) };
    let string = |object: &Map<String, Value>, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let event = string(&object, "event").ok_or("it has no event, the name of what it is")?;
    let uuid = string(&object, "uuid").or_else(|| string(&object, "id")).ok_or("it has no uuid")?;
    let uuid = Uuid::parse_str(&uuid).map_err(|_| format!("{uuid:?} is no uuid"))?;
    let distinct_id = string(&object, "distinct_id").ok_or("it has no distinct_id")?;
    let timestamp = string(&object, "timestamp").ok_or("it has no timestamp")?;
    if timestamp.parse::<jiff::Timestamp>().is_err() {
        return Err(format!("{timestamp:?} is no time such as 2026-07-01T09:30:00.000Z"));
    }
    // Our own stay as they are, to the byte.
    let own = ["event", "uuid", "distinct_id", "timestamp", "properties"];
    if let Some(text) = text
        && object.len() == own.len()
        && object.get("properties").is_some_and(Value::is_object)
        && own.iter().all(|key| object.contains_key(*key))
    {
        let lane = if AI_EVENTS.contains(&event.as_str()) { Lane::Ai } else { Lane::General };
        return Ok(WireEvent { uuid, lane, json: bytes::Bytes::copy_from_slice(text.trim().as_bytes()), stored: None });
    }
    let properties = match object.remove("properties") {
        Some(Value::Object(properties)) => properties,
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| "its properties are no JSON object")?,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err("its properties are no object".to_owned()),
    };
    Ok(Event { event, uuid, distinct_id, timestamp, properties }.encode())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_kinds() {
        let own = r#"{"event":"$ai_generation","uuid":"019f2d6a-5000-7000-8000-000000000001","distinct_id":"u","timestamp":"2026-07-04T12:00:00.000Z","properties":{ "a":1.0}}"#;
        assert_eq!(events(own).unwrap()[0].json, own.as_bytes());
        let theirs = r#"{"results":[{"id":"019f2d6a-5000-7000-8000-000000000001","event":"$ai_span","distinct_id":"u","timestamp":"2026-07-04T12:00:00+00:00","properties":"{\"$ai_trace_id\":\"t\"}","elements":[]}]}"#;
        let read = events(theirs).unwrap();
        let event: Value = serde_json::from_slice(&read[0].json).unwrap();
        assert_eq!(event["properties"]["$ai_trace_id"], "t");
        assert_eq!(read[0].lane, Lane::Ai);
    }

    #[test]
    fn what_is_no_event_is_said() {
        for (text, says) in [
            ("{", "not JSON"),
            ("1", "expected an event"),
            ("{}", "no event"),
            (r#"{"event":"e","uuid":"x","distinct_id":"u","timestamp":"2026-07-04T12:00:00Z"}"#, "\"x\" is no uuid"),
            (
                r#"{"event":"e","uuid":"019f2d6a-5000-7000-8000-000000000001","distinct_id":"u","timestamp":"today"}"#,
                "\"today\" is no time",
            ),
        ] {
            assert!(events(text).unwrap_err().contains(says), "{text}");
        }
    }
}
