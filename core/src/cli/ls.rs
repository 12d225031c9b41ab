//! `llmtrail ls`: recent traces as trees.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use serde_json::json;

use super::table::{Align, Cell, Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, line, money, number_of, seconds, short_id};
use super::{Common, Failure, json};
use crate::store::{Node, Row, Totals, Trace};

/// List recent traces with their calls, the latest last
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail ls                  the last 20 traces
  llmtrail ls --limit 3        the last 3
  llmtrail ls --json | jq -r '.traces[].events[] | select(.is_error) | .error'

Columns: input tokens with cached ones included, those that came from a cache, output tokens, the time that was spent
waiting for the provider, the time to the first token of a stream, US dollars (? where the price is not known, + where
that of some calls is not), and the id for llmtrail show. Status: ↻2 is a call that its SDK tried again twice.

--json: {traces: [{trace_id, name, session_id, distinct_id, timestamp, duration, calls, errors, unpriced_calls,
  total_input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens, reasoning_tokens,
  total_cost_usd, total_cost_usd_exact, own, events: [{event, uuid, depth, timestamp, span_id, parent_id, model,
  provider, is_error, latency, ...}]}]}
Events come parents first, depth says how deep; own is the trace's own event. Keys are those of PostHog's properties
without $ai_ and are always there; null is what is not known. total_input_tokens counts cached ones whoever reports.")]
pub(super) struct Args {
    /// How many traces
    #[arg(long, short = 'n', value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
    #[command(flatten)]
    common: Common,
}

/// A trace of more events than this is cut short in a list.
const MANY: usize = 100;

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let traces = args.common.reader()?.recent_traces(args.limit.get())?;
    if args.common.json {
        let shape = |row: &Row, depth| json::row(row, depth).into();
        let traces: Vec<_> = traces.iter().map(|trace| json::trace(trace, shape)).collect();
        writeln!(terminal.out, "{}", json!({ "traces": traces }))?;
        return Ok(());
    }
    if traces.is_empty() {
        writeln!(terminal.out, "The store has no calls yet.")?;
        return Ok(());
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut done = HashSet::new();
    let mut was_tree = false;
    for trace in &traces {
        let mut rows = Vec::new();
        match &trace.session_id {
            None => trace_lines(trace, "", "", terminal, MANY, &mut rows),
            Some(id) if done.insert(id) => {
                let members: Vec<_> = traces.iter().filter(|other| other.session_id.as_ref() == Some(id)).collect();
                session_lines(id, &members, terminal, &mut rows);
            }
            Some(_) => continue,
        }
        // Air around trees; calls on their own are one list.
        let is_tree = rows.len() > 1;
        if !lines.is_empty() && (is_tree || was_tree) {
            lines.push(Line::Blank);
        }
        was_tree = is_tree;
        lines.extend(rows);
    }
    print(terminal, &COLUMNS, &lines)?;
    Ok(())
}

pub(super) const COLUMNS: [Column; 9] = [
    Column::text("name", 14, 10),
    Column::text("status", 9, 5),
    Column::number("in"),
    Column::number("cached"),
    Column::number("out"),
    Column::number("took"),
    Column::number("first"),
    Column::amount("cost"),
    Column { head: "id", align: Align::Left, gives: Some((8, 4)), ellipsis: false },
];

fn session_lines(id: &str, traces: &[&Trace], terminal: &Terminal<'_>, lines: &mut Vec<Line>) {
    let mut totals = Totals::default();
    for trace in traces {
        totals.merge(&trace.totals);
    }
    let name = vec![
        (Style::Mark, format!("session {}", line(id))),
        (Style::Dim, format!("  {}", number_of(traces.len() as u64, "trace"))),
    ];
    lines.push(sums(name, cell(Style::Plain, ""), &totals, "", ""));
    for (at, trace) in traces.iter().enumerate() {
        let last = at + 1 == traces.len();
        trace_lines(trace, twig(terminal, last, true), twig(terminal, last, false), terminal, MANY, lines);
    }
}

/// The rows of a trace: its own, then those of its events. `branch` and `below` are the lines of the tree that it hangs
/// in, on its own row and on those under it.
pub(super) fn trace_lines(
    trace: &Trace,
    branch: &str,
    below: &str,
    terminal: &Terminal<'_>,
    most: usize,
    lines: &mut Vec<Line>,
) {
    let mut about = format!("  {}", terminal.time(trace.timestamp_ms));
    if let Some(user) = &trace.user {
        about = format!("{about}  {}", line(user));
    }
    // A call that was made outside of everything is its own trace: one row is enough.
    if let (None, [node]) = (&trace.own, &trace.nodes[..]) {
        let mut name = vec![(Style::Dim, branch.to_owned())];
        name.extend(label(&node.row, Style::Bold));
        name.push((Style::Dim, about));
        lines.push(event_row(&node.row, name));
        return;
    }
    let name = trace.name.as_deref().map_or_else(|| "trace".to_owned(), line);
    let name = vec![(Style::Dim, branch.to_owned()), (Style::Bold, name), (Style::Dim, about)];
    let status = match &trace.own {
        Some(own) if own.is_error => status(own),
        _ if trace.totals.errors > 0 => cell(Style::Warn, number_of(trace.totals.errors, "error")),
        _ => cell(Style::Good, "ok"),
    };
    lines.push(sums(name, status, &trace.totals, &seconds(trace.duration), short_id(&trace.id)));
    let mut open = vec![];
    for node in trace.nodes.iter().take(most) {
        open.truncate(node.depth);
        let mut name = vec![(Style::Dim, format!("{below}{}", branches(terminal, &open, node)))];
        open.push(!node.last);
        name.extend(label(&node.row, Style::Plain));
        lines.push(event_row(&node.row, name));
    }
    if trace.nodes.len() > most {
        let more = number_of((trace.nodes.len() - most) as u64, "more event");
        let mut row: Vec<Cell> = COLUMNS.iter().map(|_| Cell::new()).collect();
        row[0] = cell(Style::Dim, format!("{below}… {more}: llmtrail show {}", short_id(&trace.id)));
        lines.push(Line::Row(row));
    }
}

/// The tree's lines before an event. `open` says of each span around it whether siblings of that follow.
fn branches(terminal: &Terminal<'_>, open: &[bool], node: &Node) -> String {
    /// Deeper than this a tree is drawn no wider.
    const DEEP: usize = 12;
    let shown = open.len().saturating_sub(DEEP);
    let mut out = if shown > 0 { "⋯ ".to_owned() } else { String::new() };
    open[shown..].iter().for_each(|more| out.push_str(twig(terminal, !more, false)));
    out.push_str(twig(terminal, node.last, true));
    out
}

/// One level of the tree's lines: beside an event that is the last of its siblings or not, or below it.
fn twig(terminal: &Terminal<'_>, last: bool, beside: bool) -> &'static str {
    match (beside, last, terminal.is_narrow()) {
        (true, true, false) => "└─ ",
        (true, false, false) => "├─ ",
        (false, true, false) => "   ",
        (false, false, false) => "│  ",
        (true, true, true) => "└ ",
        (true, false, true) => "├ ",
        (false, true, true) => "  ",
        (false, false, true) => "│ ",
    }
}

/// What an event is called.
pub(super) fn label(row: &Row, style: Style) -> Cell {
    let text = |text: &Option<String>| text.as_deref().map(line).filter(|text| !text.is_empty());
    let name = text(&row.name);
    let mut out = Vec::new();
    match row.event.as_str() {
        "$ai_generation" | "$ai_embedding" => {
            let model = text(&row.model).unwrap_or_else(|| "unknown model".to_owned());
            if let Some(name) = name {
                out.push((style, name));
                out.push((Style::Dim, format!("  {model}")));
            } else {
                out.push((style, model));
            }
            out.extend(text(&row.provider).map(|provider| (Style::Dim, format!("  {provider}"))));
        }
        "$ai_metric" | "$ai_feedback" => {
            let kind = row.event.trim_start_matches("$ai_");
            out.push((style, name.unwrap_or_else(|| kind.to_owned())));
            out.extend(text(&row.value).map(|value| (Style::Mark, format!("  {value}"))));
        }
        other => {
            let kind = other.trim_start_matches("$ai_");
            out.push((style, name.unwrap_or_else(|| kind.to_owned())));
            out.extend(text(&row.span_type).map(|kind| (Style::Dim, format!("  {kind}"))));
        }
    }
    out
}

/// How it ended.
pub(super) fn status(row: &Row) -> Cell {
    let mut out = match (row.is_error, row.stream_status.as_deref()) {
        (true, _) => {
            let kind = row.error_type.as_deref().map(line).filter(|kind| !kind.is_empty());
            let code = row.http_status.map(|code| code.to_string());
            cell(Style::Bad, kind.or(code).unwrap_or_else(|| "error".to_owned()))
        }
        (false, Some(end)) if end != "complete" => cell(Style::Warn, line(end)),
        _ if matches!(row.event.as_str(), "$ai_metric" | "$ai_feedback") => cell(Style::Plain, ""),
        _ => cell(Style::Good, "ok"),
    };
    if let Some(retries) = row.retries.and_then(|retries| u64::try_from(retries).ok()).filter(|retries| *retries > 0) {
        out.insert(0, (Style::Warn, format!("↻{retries} ")));
    }
    out
}

fn event_row(row: &Row, name: Cell) -> Line {
    let tokens =
        |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).map_or_else(String::new, count);
    let cached = row.cache_read_input_tokens.filter(|cached| *cached > 0);
    let cost = match row.total_cost_usd_exact {
        Some(cost) => cell(Style::Plain, money(cost)),
        None if row.is_call() && !(row.is_error && row.input_tokens.is_none()) => cell(Style::Warn, "?"),
        None => Cell::new(),
    };
    Line::Row(vec![
        name,
        status(row),
        cell(Style::Plain, tokens(row.total_input_tokens)),
        cell(Style::Plain, tokens(cached)),
        cell(Style::Plain, tokens(row.output_tokens)),
        cell(Style::Plain, row.latency.map_or_else(String::new, seconds)),
        cell(Style::Plain, row.time_to_first_token.map_or_else(String::new, seconds)),
        cost,
        cell(Style::Dim, short_id(row.node_id())),
    ])
}

fn sums(name: Cell, status: Cell, totals: &Totals, took: &str, id: &str) -> Line {
    let tokens = |number: u64| cell(Style::Bold, if number == 0 { String::new() } else { count(number) });
    let cost = match (totals.calls, totals.unpriced) {
        (0, _) => Cell::new(),
        (calls, unpriced) if calls == unpriced => cell(Style::Warn, "?"),
        (_, 0) => cell(Style::Bold, money(totals.cost)),
        // Some of its calls have no price: it cost more than that.
        _ => vec![(Style::Bold, money(totals.cost)), (Style::Warn, "+".to_owned())],
    };
    Line::Row(vec![
        name,
        status,
        tokens(totals.total_input_tokens),
        tokens(totals.cache_read_input_tokens),
        tokens(totals.output_tokens),
        cell(Style::Bold, took),
        Cell::new(),
        cost,
        cell(Style::Dim, id),
    ])
}
