//! `llmtrail show`: one trace or one call, whole.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::ls::{COLUMNS, label, status, trace_lines};
use super::table::{Cell, Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, harmless, line, number_of, seconds, width, wrap};
use super::{Common, Failure, json, messages};
use crate::error::{Error, ErrorKind};
use crate::price::{Amount, Bucket};
use crate::store::{Found, Reader, Row, Trace};

/// Show a trace or a call: messages, tokens, cost
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail show 9f3a2b1c       by the id that ls shows
  llmtrail show chat-42-turn-1 by the id that your program gave to a trace
  llmtrail show 9f3a2b1c --json | jq '.event.captured.properties'

--json: {event: {...}} or {trace: {..., own, events: [...]}} as in ls, and in each event captured: what was captured, to
the byte.")]
pub(super) struct Args {
    /// Id of a trace, span or call, or enough of its beginning or end
    id: String,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let reader = args.common.reader()?;
    let id = args.id.trim().trim_start_matches('…');
    match reader.find(id)? {
        Found::Trace(id) => trace(&reader, &id, args.common.json, terminal),
        // A trace's own event has the trace's story.
        Found::Event(row) if row.event == "$ai_trace" => trace(&reader, row.trace(), args.common.json, terminal),
        Found::Event(row) if args.common.json => {
            writeln!(terminal.out, "{{\"event\":{}}}", whole(&reader, &row, 0)?)?;
            Ok(())
        }
        Found::Event(row) => event(&reader, &row, terminal),
        Found::Several(ids) => {
            let ids: Vec<String> = ids.iter().map(|id| line(id)).collect();
            Err(trouble(format!("{} fits more than one: {}", line(id), ids.join(", "))))
        }
        Found::Nothing => {
            Err(trouble(format!("no trace, span or call has the id {:?}; llmtrail ls shows recent ids", line(id))))
        }
    }
}

fn trouble(message: String) -> Failure {
    Error::new(ErrorKind::Input, message).into()
}

/// A listed event and, as `captured`, the event to the byte.
fn whole(reader: &Reader, row: &Row, depth: usize) -> Result<String, Failure> {
    let mut text = serde_json::to_string(&json::row(row, depth)).unwrap_or_default();
    let captured = reader.event_json(&row.uuid)?;
    let captured = captured.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    text.pop();
    text.push_str(",\"captured\":");
    text.push_str(captured.as_deref().unwrap_or("null"));
    text.push('}');
    Ok(text)
}

fn trace(reader: &Reader, id: &str, json: bool, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let Some(trace) = reader.trace(id)? else { return Err(trouble(format!("the trace {} is gone", line(id)))) };
    if json {
        return trace_json(reader, &trace, terminal);
    }
    heading(terminal, &[(Style::Bold, trace.name.as_deref().map_or_else(|| "trace".to_owned(), line))])?;
    let mut facts = vec![("trace", line(&trace.id))];
    facts.extend(trace.session_id.as_deref().map(|id| ("session", line(id))));
    facts.extend(trace.user.as_deref().map(|id| ("user", line(id))));
    facts.push(("time", format!("{}, took {}", terminal.exact_time(trace.timestamp_ms), seconds(trace.duration))));
    let totals = &trace.totals;
    if totals.calls > 0 {
        let mut calls = number_of(totals.calls, "call");
        if totals.errors > 0 {
            let _ = write!(calls, ", {} failed", count(totals.errors));
        }
        facts.push(("calls", calls));
        facts.push(("tokens", tokens_of_sums(&trace)));
        let mut cost = exact_money(totals.cost);
        if totals.unpriced > 0 {
            let _ = write!(cost, ", and {} without a known cost", number_of(totals.unpriced, "call"));
        }
        facts.push(("cost", cost));
    }
    if let Some(own) = &trace.own {
        facts.extend(own_facts(own));
    }
    print_facts(terminal, &facts)?;
    writeln!(terminal.out)?;
    let mut lines = Vec::new();
    trace_lines(&trace, "", "", terminal, usize::MAX, &mut lines);
    print(terminal, &COLUMNS, &lines)?;
    let mut seen = HashSet::new();
    for row in trace.own.iter().chain(trace.nodes.iter().map(|node| &node.row)) {
        let properties = properties(reader, row)?;
        let is_trace = row.event == "$ai_trace";
        let silent = !row.is_error && CONTENT.iter().all(|(name, _)| !properties.contains_key(*name));
        if silent && !row.is_call() {
            continue;
        }
        writeln!(terminal.out)?;
        let mut title = if is_trace { cell(Style::Bold, "trace") } else { label(row, Style::Bold) };
        title.push((Style::Dim, format!("  {}", super::terminal::short_id(row.node_id()))));
        rule(terminal, &title)?;
        content(terminal, row, &properties, Some(&mut seen))?;
    }
    Ok(())
}

fn trace_json(reader: &Reader, trace: &Trace, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    // The events go in as they are, so the rest is written around them.
    let shape = json::trace(trace, |_, _| Value::Null);
    let Value::Object(mut shape) = shape else { return Ok(()) };
    shape.remove("events");
    shape.remove("own");
    let mut text = Value::Object(shape).to_string();
    text.pop();
    let own = trace.own.as_ref().map(|own| whole(reader, own, 0)).transpose()?;
    write!(terminal.out, "{{\"trace\":{text},\"own\":{},\"events\":[", own.as_deref().unwrap_or("null"))?;
    for (at, node) in trace.nodes.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(terminal.out, "{comma}{}", whole(reader, &node.row, node.depth)?)?;
    }
    writeln!(terminal.out, "]}}}}")?;
    Ok(())
}

fn event(reader: &Reader, row: &Row, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let properties = properties(reader, row)?;
    let mut title = label(row, Style::Bold);
    title.push((Style::Plain, "  ".to_owned()));
    title.extend(status(row));
    heading(terminal, &title)?;
    print_facts(terminal, &facts(row, &properties, terminal))?;
    if row.is_call() {
        cost(terminal, row, properties.get("$ai_cost_details"))?;
    }
    content(terminal, row, &properties, None)
}

fn properties(reader: &Reader, row: &Row) -> Result<Map<String, Value>, Failure> {
    let json = reader.event_json(&row.uuid)?.unwrap_or_default();
    let event: Value = serde_json::from_str(&json).unwrap_or_default();
    Ok(event.get("properties").and_then(Value::as_object).cloned().unwrap_or_default())
}

fn heading(terminal: &mut Terminal<'_>, title: &[(Style, String)]) -> Result<(), Failure> {
    let title: String = title.iter().map(|(style, text)| terminal.paint(*style, text)).collect();
    writeln!(terminal.out, "{title}")?;
    Ok(())
}

/// A title in a line that goes across.
fn rule(terminal: &mut Terminal<'_>, title: &Cell) -> Result<(), Failure> {
    let used: usize = title.iter().map(|(_, text)| width(text)).sum::<usize>() + 4;
    let rest = "─".repeat(terminal.width.unwrap_or(80).min(100).saturating_sub(used));
    let text: String = title.iter().map(|(style, text)| terminal.paint(*style, text)).collect();
    let (before, after) = (terminal.paint(Style::Dim, "──"), terminal.paint(Style::Dim, &rest));
    writeln!(terminal.out, "{before} {text} {after}")?;
    Ok(())
}

type Facts = Vec<(&'static str, String)>;

fn print_facts(terminal: &mut Terminal<'_>, facts: &[(&'static str, String)]) -> Result<(), Failure> {
    const LABELS: usize = 12;
    for (label, text) in facts {
        let room = terminal.width.map(|width| width.saturating_sub(LABELS + 2));
        for (at, part) in wrap(&harmless(text), room).into_iter().enumerate() {
            let label = terminal.paint(Style::Dim, &format!("{:LABELS$}", if at == 0 { label } else { "" }));
            writeln!(terminal.out, "  {label}{part}")?;
        }
    }
    Ok(())
}

fn facts(row: &Row, p: &Map<String, Value>, terminal: &Terminal<'_>) -> Facts {
    let text = |name: &str| p.get(name).and_then(Value::as_str).map(line);
    let mut facts = vec![("id", line(row.node_id()))];
    facts.extend(row.trace_id.as_deref().map(|id| ("trace", line(id))));
    facts.extend(row.parent_id.as_deref().filter(|id| Some(*id) != row.trace_id.as_deref()).map(|id| ("in", line(id))));
    facts.extend(row.session_id.as_deref().map(|id| ("session", line(id))));
    if Some(&row.distinct_id) != row.trace_id.as_ref() {
        facts.push(("user", line(&row.distinct_id)));
    }
    let mut time = terminal.exact_time(row.timestamp_ms);
    if let Some(latency) = row.latency {
        let _ = write!(time, ", took {}", seconds(latency));
    }
    if let Some(first) = row.time_to_first_token {
        let _ = write!(time, ", first token after {}", seconds(first));
    }
    if let Some(pause) = p.get("$ai_consumer_pause").and_then(Value::as_f64) {
        let _ = write!(time, ", then paused by the reader for {}", seconds(pause));
    }
    facts.push(("time", time));
    if let Some(url) = text("$ai_request_url") {
        let answer = row.http_status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        facts.push(("request", format!("{url} → {answer}")));
    }
    if row.stream == Some(true) {
        facts.push(("stream", row.stream_status.as_deref().map_or_else(|| "yes".to_owned(), line)));
    }
    facts.extend(row.stop_reason.as_deref().map(|reason| ("stopped", line(reason))));
    if let Some(Value::Object(parameters)) = p.get("$ai_model_parameters") {
        facts.push(("parameters", pairs(parameters)));
    }
    facts.extend(text("$ai_service_tier").map(|tier| ("tier", tier)));
    if let Some(Value::Array(tools)) = p.get("$ai_tools") {
        facts.push(("tools", tools.iter().map(tool_name).collect::<Vec<_>>().join(", ")));
    }
    facts.extend(own_facts(row));
    facts.extend(text("$ai_response_id").map(|id| ("response", id)));
    if row.is_call() {
        facts.push(("tokens", tokens(row, p)));
    } else if let Some(value) = &row.value {
        facts.push(("value", line(value)));
    }
    facts
}

fn own_facts(row: &Row) -> Facts {
    let own: Option<Map<String, Value>> = row.properties.as_deref().and_then(|text| serde_json::from_str(text).ok());
    own.map(|own| ("properties", pairs(&own))).into_iter().collect()
}

fn pairs(of: &Map<String, Value>) -> String {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name} {}", line(text)),
        other => format!("{name} {other}"),
    };
    of.iter().map(pair).collect::<Vec<_>>().join(", ")
}

fn tool_name(tool: &Value) -> String {
    let holders = [tool.get("function"), tool.get("custom"), Some(tool)];
    let name = holders.into_iter().flatten().find_map(|holder| holder.get("name")?.as_str());
    name.or_else(|| tool.get("type")?.as_str()).map_or_else(|| "?".to_owned(), line)
}

fn tokens(row: &Row, p: &Map<String, Value>) -> String {
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let more = |name: &str| p.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
    let side = |total: Option<u64>, word: &str, parts: &[(Option<u64>, &str)]| {
        let total = total?;
        let parts: Vec<String> = parts
            .iter()
            .filter_map(|(number, word)| number.filter(|number| *number > 0).map(|n| format!("{} {word}", count(n))))
            .collect();
        let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        Some(format!("{} {word}{parts}", count(total)))
    };
    let input = side(
        number(row.total_input_tokens),
        "in",
        &[
            (number(row.cache_read_input_tokens), "from cache"),
            (number(row.cache_creation_input_tokens), "into cache"),
            (more("$ai_audio_input_tokens"), "audio"),
            (more("$ai_image_input_tokens"), "image"),
        ],
    );
    let output = side(
        number(row.output_tokens),
        "out",
        &[
            (number(row.reasoning_tokens), "reasoning"),
            (more("$ai_audio_output_tokens"), "audio"),
            (more("$ai_image_output_tokens"), "image"),
        ],
    );
    let searches = more("$ai_web_search_count")
        .map(|n| if n == 1 { "1 web search".to_owned() } else { format!("{} web searches", count(n)) });
    let known: Vec<String> = [input, output, searches].into_iter().flatten().collect();
    if known.is_empty() { "not reported".to_owned() } else { known.join(", ") }
}

fn tokens_of_sums(trace: &Trace) -> String {
    let totals = &trace.totals;
    let cached = match totals.cache_read_input_tokens {
        0 => String::new(),
        cached => format!(" ({} from cache)", count(cached)),
    };
    format!("{} in{cached}, {} out", count(totals.total_input_tokens), count(totals.output_tokens))
}

/// What it cost and how that comes about: bucket × unit price = amount.
fn cost(terminal: &mut Terminal<'_>, row: &Row, details: Option<&Value>) -> Result<(), Failure> {
    let none = Map::new();
    let details = details.and_then(Value::as_object).unwrap_or(&none);
    let text = |name: &str| details.get(name).and_then(Value::as_str).map(line);
    let total = row.total_cost_usd_exact.map_or_else(|| "not known".to_owned(), exact_money);
    let why = text("reason").map_or_else(String::new, |reason| format!(": {reason}"));
    print_facts(terminal, &[("cost", format!("{total}{why}"))])?;
    let mut lines = Vec::new();
    let buckets = details.get("buckets").and_then(Value::as_object).unwrap_or(&none);
    for bucket in Bucket::ALL.map(Bucket::name) {
        let Some(line) = buckets.get(bucket) else { continue };
        let units = line.get("units").and_then(Value::as_u64).unwrap_or(0);
        let amount = |name: &str| line.get(name).and_then(Value::as_str).and_then(Amount::parse).unwrap_or_default();
        let each = matches!(bucket, "requests" | "web_searches");
        let price = amount("unit_price");
        let price = if each { price } else { price.per(6) };
        lines.push(Line::Row(vec![
            cell(Style::Plain, format!("              {}", bucket.replace('_', " "))),
            cell(Style::Plain, count(units)),
            cell(Style::Dim, "×"),
            cell(Style::Plain, exact_money(price)),
            cell(Style::Dim, if each { "each" } else { "a million" }),
            cell(Style::Dim, "="),
            cell(Style::Plain, exact_money(amount("amount"))),
        ]));
    }
    if !lines.is_empty() {
        let (text, number, amount) = (Column::text("", 1, 1), Column::number(""), Column::amount(""));
        let columns =
            [text, number, Column::number(""), amount, Column::text("", 1, 1), Column::number(""), Column::amount("")];
        print(terminal, &columns, &lines)?;
    }
    let mut facts = Vec::new();
    if let Some(source) = text("source").filter(|source| source != "unknown") {
        let mut from = source;
        if from == "local" {
            from.push_str(": it runs here, and costs nothing unless a price is set");
        } else {
            if let (Some(model), Some(provider)) = (text("model"), text("provider")) {
                let _ = write!(from, ": {model} at {provider}");
            }
            from.extend(text("match").map(|how| format!(", {how} match")));
            from.extend(text("mode").map(|mode| format!(", {mode} mode")));
            from.extend(text("catalogue").map(|catalogue| format!(", {catalogue}")));
        }
        facts.push(("price from", from));
    }
    if let (Some(catalogue), Some(difference)) = (text("catalogue_total"), text("difference")) {
        facts.push(("catalogue", format!("${catalogue}, which differs by ${difference}")));
    }
    for assumption in details.get("assumptions").and_then(Value::as_array).into_iter().flatten() {
        facts.push(("assumed", assumption.as_str().map(line).unwrap_or_default()));
    }
    print_facts(terminal, &facts)
}

/// Properties with content, and what they are called here.
const CONTENT: [(&str, &str); 4] = [
    ("$ai_input_state", "input"),
    ("$ai_input", "input"),
    ("$ai_output_state", "output"),
    ("$ai_output_choices", "output"),
];

/// What went in and came out. With `seen`, messages that an earlier call of the trace had are only counted.
fn content(
    terminal: &mut Terminal<'_>,
    row: &Row,
    p: &Map<String, Value>,
    mut seen: Option<&mut HashSet<String>>,
) -> Result<(), Failure> {
    for (name, title) in CONTENT {
        let Some(content) = p.get(name) else { continue };
        let is_empty = content.as_array().is_some_and(Vec::is_empty);
        if is_empty && row.is_error {
            continue;
        }
        let title = terminal.paint(Style::Bold, title);
        writeln!(terminal.out, "{}{title}", if seen.is_none() { "\n" } else { "" })?;
        match (content, &mut seen) {
            (Value::Array(items), Some(seen)) if name == "$ai_input" => {
                let known = items.iter().take_while(|item| seen.contains(&item.to_string())).count();
                // Of a call that says nothing new, the last word is shown all the same.
                let known = known.min(items.len().saturating_sub(1));
                if known > 0 {
                    let folded = format!("… {} as before", number_of(known as u64, "message"));
                    messages::text(terminal, 2, Style::Dim, &folded)?;
                }
                let fresh: Vec<Value> = items[known..].to_vec();
                seen.extend(fresh.iter().map(Value::to_string));
                messages::print(terminal, &Value::Array(fresh))?;
            }
            (content, _) => messages::print(terminal, content)?,
        }
    }
    if row.is_error {
        let title = terminal.paint(Style::Bold, "error");
        writeln!(terminal.out, "{}{title}", if seen.is_none() { "\n" } else { "" })?;
        let kind = row.error_type.as_deref().map(|kind| format!("{}: ", line(kind))).unwrap_or_default();
        let message = p.get("$ai_error").map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        messages::text(terminal, 2, Style::Bad, &format!("{kind}{}", message.unwrap_or_default()))?;
    }
    Ok(())
}
