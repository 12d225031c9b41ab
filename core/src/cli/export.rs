//! `llmtrail export`: the store's events for other programs.

use std::io::IsTerminal;

use clap::ValueEnum;
use jiff::Timestamp;
use rusqlite::types::Value as Cell;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::terminal::Terminal;
use super::{Common, Failure, cost};

/// Write the store's events to standard output
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail export > events.jsonl                      every event as it was captured, a line each
  llmtrail export --format csv --since 30d > calls.csv
  llmtrail export --format parquet > calls.parquet    the same with types, for data frames and warehouses
  llmtrail export --format otlp-json > traces.jsonl   OpenTelemetry's OTLP in JSON, a line for some spans

jsonl has everything and can be imported again. csv and parquet have the columns of calls (docs/store.md), without
messages.
otlp-json has calls, spans and traces with the names of OpenTelemetry's conventions for generative AI.")]
pub(super) struct Args {
    /// What to write
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Only events since a date (2026-07-01), a time (2026-07-01T09:30), or for so long (90m, 24h, 7d, 4w)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
    Parquet,
    OtlpJson,
}

/// Events that are read at once.
const STEP: usize = 500;

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| cost::since("--since", text, terminal)).transpose()?;
    let since = since.map_or(i64::MIN, Timestamp::as_millisecond);
    if args.format == Format::Parquet && terminal.width.is_some() && std::io::stdout().is_terminal() {
        return Err(Failure::Usage("Parquet is no text: llmtrail export --format parquet > calls.parquet".to_owned()));
    }
    let reader = args.common.reader()?;
    if args.format == Format::Parquet {
        return super::parquet::write(&reader, since, terminal);
    }
    if args.format == Format::Csv {
        let sql = format!(
            "SELECT * FROM calls WHERE id IN (SELECT id FROM events WHERE timestamp_ms >= {since}) ORDER BY id"
        );
        let mut done = Ok(());
        // Apart from the rows, for without a call there are columns all the same.
        let mut names = Vec::new();
        reader.sql("SELECT name FROM pragma_table_info('calls') ORDER BY cid", |_, name| {
            names.extend(
                name.iter().filter_map(|name| if let Cell::Text(name) = name { Some(name.clone()) } else { None }),
            );
            true
        })?;
        writeln!(terminal.out, "{}", names.join(","))?;
        reader.sql(&sql, |_, cells| {
            let cells: Vec<String> = cells.iter().map(csv).collect();
            done = writeln!(terminal.out, "{}", cells.join(","));
            done.is_ok()
        })?;
        return Ok(done?);
    }
    let mut last = 0;
    loop {
        let some = reader.events_after(last, since, STEP)?;
        let Some((id, _)) = some.last() else { break };
        last = *id;
        match args.format {
            Format::OtlpJson => {
                let spans: Vec<Value> =
                    some.iter().filter_map(|(_, json)| span(&serde_json::from_str(json).ok()?)).collect();
                if !spans.is_empty() {
                    let shape = json!({"resourceSpans": [{"resource": {"attributes": [attribute("service.name", "llmtrail".into())]},
                        "scopeSpans": [{"scope": {"name": "llmtrail", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}]}]});
                    writeln!(terminal.out, "{shape}")?;
                }
            }
            _ => {
                for (_, json) in &some {
                    // What was captured may have been written with line ends in it.
                    let line = if json.contains('\n') {
                        serde_json::from_str::<Value>(json)
                            .map_or_else(|_| json.replace('\n', " "), |value| value.to_string())
                    } else {
                        json.clone()
                    };
                    writeln!(terminal.out, "{line}")?;
                }
            }
        }
    }
    Ok(())
}

fn csv(cell: &Cell) -> String {
    match cell {
        Cell::Null | Cell::Blob(_) => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => {
            // A spreadsheet would take these for formulas, and run what a model has said.
            let harmless =
                if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.clone() };
            format!("\"{}\"", harmless.replace('"', "\"\""))
        }
    }
}

/// An id of OpenTelemetry's length: that of a UUID, or made from any other text.
fn id(text: &str, bytes: usize) -> String {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        // Ends differ more than beginnings.
        return digits[32 - bytes * 2..].to_ascii_lowercase();
    }
    let hash = Sha256::digest(text.as_bytes());
    hash[..bytes].iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn attribute(key: &str, value: Value) -> Value {
    let value = match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        // OTLP's JSON has whole numbers as texts.
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({"key": key, "value": value})
}

fn span(event: &Value) -> Option<Value> {
    let p: &Map<String, Value> = event.get("properties")?.as_object()?;
    let text = |name: &str| p.get(name).and_then(Value::as_str);
    let name = event.get("event")?.as_str()?;
    let operation = match name {
        "$ai_generation" => "chat",
        "$ai_embedding" => "embeddings",
        "$ai_span" if text("$ai_span_type") == Some("tool") => "execute_tool",
        "$ai_span" | "$ai_trace" => "invoke_agent",
        _ => return None,
    };
    let is_call = matches!(name, "$ai_generation" | "$ai_embedding");
    let begin = event.get("timestamp")?.as_str()?.parse::<Timestamp>().ok()?.as_nanosecond();
    let seconds = p.get("$ai_trace_latency").or_else(|| p.get("$ai_latency")).and_then(Value::as_f64).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of a call")]
    let end = begin + (seconds * 1e9) as i128;
    let uuid = event.get("uuid")?.as_str()?;
    let trace = text("$ai_trace_id").unwrap_or(uuid);
    let own = if name == "$ai_trace" { trace } else { text("$ai_span_id").unwrap_or(uuid) };
    let label = text("$ai_span_name").or_else(|| text("$ai_model")).unwrap_or(operation);
    let mut attributes: Vec<Value> = [
        ("gen_ai.operation.name", Some(Value::from(operation)).filter(|_| is_call || operation == "execute_tool")),
        ("gen_ai.provider.name", p.get("$ai_provider").cloned()),
        (
            "gen_ai.request.model",
            p.get("$ai_model_parameters")
                .and_then(|given| given.get("model_requested"))
                .or_else(|| p.get("$ai_model"))
                .cloned(),
        ),
        ("gen_ai.response.model", p.get("$ai_model").cloned()),
        ("gen_ai.response.id", p.get("$ai_response_id").cloned()),
        ("gen_ai.usage.input_tokens", p.get("$ai_input_tokens").cloned()),
        ("gen_ai.usage.output_tokens", p.get("$ai_output_tokens").cloned()),
        ("gen_ai.conversation.id", p.get("$ai_session_id").cloned()),
        ("error.type", p.get("$ai_error_type").cloned()),
        ("user.id", event.get("distinct_id").filter(|user| user.as_str() != Some(trace)).cloned()),
        ("llmtrail.cost_usd", p.get("$ai_total_cost_usd").cloned()),
        ("llmtrail.time_to_first_token", p.get("$ai_time_to_first_token").cloned()),
        (
            "gen_ai.input.messages",
            p.get("$ai_input").filter(|input| !input.is_null()).map(|input| input.to_string().into()),
        ),
        (
            "gen_ai.output.messages",
            p.get("$ai_output_choices").filter(|output| !output.is_null()).map(|output| output.to_string().into()),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| value.filter(|value| !value.is_null()).map(|value| attribute(key, value)))
    .collect();
    attributes.extend(p.get("$ai_stop_reason").and_then(Value::as_str).map(|reason| {
        json!({"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": [{"stringValue": reason}]}}})
    }));
    let failed = p.get("$ai_is_error").and_then(Value::as_bool).unwrap_or(false);
    let status = if failed { json!({"code": 2, "message": text("$ai_error").unwrap_or_default()}) } else { json!({}) };
    let mut shape = json!({
        "traceId": id(trace, 16), "spanId": id(own, 8), "name": label, "kind": if is_call { 3 } else { 1 },
        "startTimeUnixNano": begin.to_string(), "endTimeUnixNano": end.to_string(), "attributes": attributes, "status": status,
    });
    if name != "$ai_trace"
        && let Some(parent) = text("$ai_parent_id")
    {
        shape["parentSpanId"] = id(parent, 8).into();
    }
    Some(shape)
}
