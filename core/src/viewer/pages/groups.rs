//! Models, errors and tools: events by a name.

use maud::{Markup, html};

use super::super::data::{Data, Form, Of, Sums};
use super::super::page::{Context, cost, nothing, number, share, tokens, took};
use super::super::query::{Group, Ready, Wanted, groups, is_tool, percentile};
use super::Page;
use super::list::{self, Column, figure, text};

/// A list of groups.
pub(super) struct List {
    title: &'static str,
    what: &'static str,
    columns: &'static [Column],
    sort: &'static str,
    wanted: Wanted,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Models,
    Errors,
    Tools,
}

pub(super) const CALLS: Column = figure("calls", "Calls");
pub(super) const FAILED: Column = figure("errors", "Failed");
pub(super) const TOKENS: Column = figure("tokens", "Tokens");
pub(super) const COST: Column = figure("cost", "Cost");
pub(super) const LAST: Column = Column { key: "last", head: "Last", class: "", sorts: Some(true) };
const HALF: Column = figure("p50", "Latency p50");
const MOST: Column = figure("p95", "Latency p95");
const FIRST: Column = figure("first", "First token p50");
pub(super) const TRACES: Column = figure("traces", "Traces");
const USERS_COLUMN: Column = figure("users", "Users");
const CACHED: Column = figure("cached", "From cache");
/// Spans and traces fail too.
const EVENTS: Column = figure("calls", "Events");

pub(super) const MODELS: List = List {
    title: "Models",
    what: "model",
    columns: &[
        text("name", "Model"),
        text("provider", "Provider"),
        CALLS,
        FAILED,
        HALF,
        MOST,
        FIRST,
        TOKENS,
        CACHED,
        COST,
    ],
    sort: "cost",
    wanted: Wanted { latencies: true, people: false },
    kind: Kind::Models,
};

pub(super) const ERRORS: List = List {
    title: "Errors",
    what: "error",
    columns: &[text("name", "Error"), text("provider", "Provider"), EVENTS, TRACES, USERS_COLUMN, COST, LAST],
    sort: "calls",
    wanted: Wanted { latencies: false, people: true },
    kind: Kind::Errors,
};

pub(super) const TOOLS: List = List {
    title: "Tools",
    what: "tool",
    columns: &[text("name", "Tool"), figure("asked", "Asked for"), figure("calls", "Spans"), FAILED, HALF, MOST, LAST],
    sort: "asked",
    wanted: Wanted { latencies: true, people: false },
    kind: Kind::Tools,
};

/// A group as it is shown.
#[derive(Clone)]
struct Line {
    key: Option<String>,
    second: Option<String>,
    sums: Sums,
    last: i64,
    traces: u64,
    users: u64,
    /// How many calls asked for a tool, or failed in this way.
    asked: u64,
    half: Option<f64>,
    most: Option<f64>,
    first: Option<f64>,
}

pub(super) fn page(page: &mut Page<'_>, list: &List) -> Markup {
    let (data, ready) = page.ask();
    let mut lines = lines(&data, &ready, list);
    let is_empty = data.len == 0;
    drop(data);
    let sorted = list::order(&page.context, list.columns, list.sort);
    lines.sort_by(|a, b| {
        let order = value(a, sorted.0).total_cmp(&value(b, sorted.0));
        let order = if sorted.1 { order.reverse() } else { order };
        order
            .then_with(|| b.sums.calls.cmp(&a.sums.calls))
            .then_with(|| a.key.cmp(&b.key))
            .then_with(|| a.second.cmp(&b.second))
    });
    let total = lines.len();
    let slice = list::slice(&page.context, sorted);
    let rows =
        html! { @for line in lines.iter().skip(slice.from).take(slice.len) { (row(&page.context, list, line)) } };
    html! {
        h1 { (list.title) " " small { (number(total as u64)) " in " (page.context.range.name) } }
        (page.notes())
        @if is_empty { (super::overview::welcome(page)) }
        @else if total == 0 { (nothing(&format!("No {}", list.title.to_lowercase()), empty(list.kind))) }
        @else { (list::table(&page.context, list.title, list.columns, sorted, total, &rows)) }
    }
}

fn empty(kind: Kind) -> &'static str {
    match kind {
        Kind::Models => "No call in this time fits the filter.",
        Kind::Errors => "Nothing failed in this time.",
        Kind::Tools => "No answer in this time asked for a tool, and no span was one.",
    }
}

fn lines(data: &Data, ready: &Ready, list: &List) -> Vec<Line> {
    let found = match list.kind {
        Kind::Models => groups(data, ready, Of::Calls, list.wanted, |form| Some((form.model, form.provider))),
        Kind::Errors => groups(data, ready, Of::Everything, list.wanted, |form| {
            form.is_error.then_some((form.error_type, form.provider))
        }),
        Kind::Tools => return tools(data, ready),
    };
    found.into_iter().map(|mut group| line(data, &mut group)).collect()
}

fn line(data: &Data, group: &mut Group) -> Line {
    Line {
        key: data.text(group.key.0).map(str::to_owned),
        second: data.text(group.key.1).map(str::to_owned),
        sums: group.sums,
        last: group.last,
        traces: group.traces,
        users: group.users,
        asked: group.calls,
        half: percentile(&mut group.latencies, 0.5),
        most: percentile(&mut group.latencies, 0.95),
        first: percentile(&mut group.firsts, 0.5),
    }
}

/// Tools that answers ask for, and spans that are tools, by name.
fn tools(data: &Data, ready: &Ready) -> Vec<Line> {
    let wanted = Wanted { latencies: true, people: false };
    let of_span = |form: &Form| is_tool(data, form).then_some((form.name, 0));
    let mut spans = groups(data, ready, Of::Everything, wanted, of_span);
    let mut lines: Vec<Line> = spans.iter_mut().map(|group| line(data, group)).collect();
    let of_call = |form: &Form| (form.tools != 0).then_some((form.tools, 0));
    for group in groups(data, ready, Of::Calls, Wanted::default(), of_call) {
        for tool in data.text(group.key.0).unwrap_or_default().split(',') {
            let at = lines.iter().position(|line| line.key.as_deref() == Some(tool)).unwrap_or_else(|| {
                let none = Sums::default();
                lines.push(Line {
                    key: Some(tool.to_owned()),
                    second: None,
                    sums: none,
                    last: i64::MIN,
                    traces: 0,
                    users: 0,
                    asked: 0,
                    half: None,
                    most: None,
                    first: None,
                });
                lines.len() - 1
            });
            lines[at].asked += group.sums.calls;
            lines[at].last = lines[at].last.max(group.last);
        }
    }
    lines
}

fn value(line: &Line, key: &str) -> f64 {
    match key {
        "calls" => line.sums.calls as f64,
        "errors" => line.sums.errors as f64,
        "tokens" => (line.sums.input + line.sums.output) as f64,
        "cached" => {
            if line.sums.input == 0 {
                0.0
            } else {
                line.sums.cached as f64 / line.sums.input as f64
            }
        }
        "cost" => line.sums.cost.to_f64(),
        "traces" => line.traces as f64,
        "users" => line.users as f64,
        "asked" => line.asked as f64,
        "p50" => line.half.unwrap_or(-1.0),
        "p95" => line.most.unwrap_or(-1.0),
        "first" => line.first.unwrap_or(-1.0),
        _ => line.last as f64,
    }
}

/// How many failed.
pub(super) fn failed(sums: &Sums) -> Markup {
    html! { @if sums.errors > 0 { span.bad title=(share(sums.errors, sums.calls)) { (number(sums.errors)) } } @else { span.none { "0" } } }
}

fn row(context: &Context, list: &List, line: &Line) -> Markup {
    let unnamed = match list.kind {
        Kind::Errors => "no type",
        Kind::Models => "unknown model",
        Kind::Tools => "–",
    };
    let key = line.key.as_deref();
    // Among generations there are calls alone.
    let path = if list.kind == Kind::Models || line.asked > 0 { "/generations" } else { "/traces" };
    html! {
        tr data-key=(format!("{}/{}", key.unwrap_or_default(), line.second.as_deref().unwrap_or_default())) {
            @for column in list.columns {
                td class=(format!("{} c-{}", column.class, column.key)) {
                    @match column.key {
                        "name" => {
                            @if let Some(key) = key { a.open href=(context.address.only(path, list.what, key)) { (key) } }
                            @else if list.kind == Kind::Errors { a.open href=(context.address.only(path, "status", "error")) { (unnamed) } }
                            @else { span.none { (unnamed) } }
                        },
                        "provider" => (context.narrow("provider", line.second.as_deref())),
                        "calls" => (number(line.sums.calls)),
                        "errors" => (failed(&line.sums)),
                        "traces" => (number(line.traces)),
                        "users" => (number(line.users)),
                        "asked" => (number(line.asked)),
                        "tokens" => (tokens(line.sums.input, line.sums.output)),
                        "cached" => (share(line.sums.cached, line.sums.input)),
                        "cost" => (cost(&line.sums)),
                        "p50" => (took(line.half)),
                        "p95" => (took(line.most)),
                        "first" => (took(line.first)),
                        _ => (context.time(line.last)),
                    }
                }
            }
        }
    }
}
