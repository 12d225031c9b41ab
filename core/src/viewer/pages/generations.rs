//! The list of calls.

use maud::{Markup, html};

use super::super::columns::Columns;
use super::super::data::{Data, Event, Form};
use super::super::gather::Top;
use super::super::page::{Context, encode, in_short, nothing, number, status, tokens, took};
use super::super::query::Ready;
use super::list::{self, Column, figure, text};
use super::{Made, Page};
use crate::store::Row;

const COLUMNS: [Column; 10] = [
    Column { key: "time", head: "Time", class: "", sorts: Some(true) },
    text("model", "Model"),
    text("said", "Input and output"),
    text("status", "Status"),
    figure("latency", "Latency"),
    figure("first", "First token"),
    figure("tokens", "Tokens"),
    figure("cached", "Cached"),
    figure("cost", "Cost"),
    text("user", "User"),
];

pub(super) fn page(page: &mut Page<'_>) -> Made {
    let sorted = list::order(&page.context, &COLUMNS, "time");
    let (data, ready) = page.ask();
    let mut top = Top::new(list::slice(&page.context, sorted));
    find(&data, &ready, sorted.0, &mut top);
    let is_empty = data.len == 0;
    drop(data);
    let total = top.total;
    let shown = top.page();
    let rows = if shown.is_empty() {
        Vec::new()
    } else {
        page.store.read(|reader| reader.rows_by_id(&shown)).map_err(Some)?
    };
    let rows = html! { @for call in &rows { (row(&page.context, call)) } };
    Ok(html! {
        h1 { "Generations " small { (number(total as u64)) " calls in " (page.context.range.name) } }
        (page.notes())
        @if is_empty { (super::overview::welcome(page)) }
        @else if total == 0 { (nothing("No calls", "None in this time fits the filter.")) }
        @else { (list::table(&page.context, "Generations and embeddings", &COLUMNS, sorted, total, &rows)) }
    })
}

/// Offers every call by what they are sorted by.
fn find(data: &Data, ready: &Ready, sort: &str, top: &mut Top) {
    let mut by = |columns: Columns, value: fn(&Event, &Form) -> Option<f64>| {
        let columns = columns.and(Columns::TIME).and(Columns::ID);
        ready.calls(data, columns, |event, form| top.offer(value(event, form), event.time, event.id));
    };
    match sort {
        // What is not a number comes last.
        "latency" => by(Columns::LATENCY, |event, _| Some(event.latency.into())),
        "first" => by(Columns::FIRST, |event, _| Some(event.first.into())),
        "tokens" => {
            by(Columns::INPUT.and(Columns::OUTPUT), |event, _| Some(f64::from(event.input) + f64::from(event.output)));
        }
        "cached" => by(Columns::CACHED, |event, _| Some(event.cached.into())),
        "cost" => by(Columns::COST, |event, form| form.is_priced.then(|| event.dollars())),
        _ => by(Columns::TIME, |event, _| Some(event.time as f64)),
    }
}

pub(super) fn status_of(row: &Row) -> Markup {
    let code = row.http_status.map(|code| code.to_string());
    let kind = row.error_type.clone().filter(|kind| !kind.is_empty());
    html! {
        @if let Some(retries) = row.retries.filter(|retries| *retries > 0) {
            span.badge.warn title=(format!("{retries} attempts before this one")) { "↻ " (retries) } " "
        }
        @match (row.is_error, row.stream_status.as_deref()) {
            (true, _) => (status(true, &kind.or(code).unwrap_or_else(|| "failed".to_owned()))),
            (false, Some(end)) if end != "complete" => { span.badge.warn { (end) } },
            _ => (status(false, "ok")),
        }
    }
}

/// What a call cost, or why that is not known.
pub(super) fn cost_of(row: &Row) -> Markup {
    html! {
        @match row.total_cost_usd_exact {
            Some(cost) => (super::super::page::dollars(cost)),
            None if row.is_call() && !(row.is_error && row.input_tokens.is_none()) => { span.warn title="no known price" { "?" } },
            None => { span.none { "–" } },
        }
    }
}

fn count(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

fn row(context: &Context, call: &Row) -> Markup {
    let user = Some(call.distinct_id.as_str()).filter(|user| Some(*user) != call.trace_id.as_deref());
    html! {
        tr data-key=(call.uuid) {
            td.c-time { (context.time(call.timestamp_ms)) }
            td.c-model {
                (context.narrow("model", call.model.as_deref()))
                div.under { (context.narrow("provider", call.provider.as_deref())) }
            }
            td.c-said {
                a.open href=(context.address.inside(&format!("/event/{}", encode(&call.uuid)))) {
                    span { (in_short(call.input_preview.as_deref().or(call.name.as_deref()).unwrap_or("–"))) }
                }
                div.preview { span.answer { (in_short(call.output_preview.as_deref().or(call.error.as_deref()).unwrap_or("–"))) } }
            }
            td.c-status { (status_of(call)) }
            td.number.c-latency { (took(call.latency)) }
            td.number.c-first { (took(call.time_to_first_token)) }
            td.number.c-tokens { @if call.total_input_tokens.or(call.output_tokens).is_some() { (tokens(count(call.total_input_tokens), count(call.output_tokens))) } @else { span.none { "–" } } }
            td.number.c-cached { @if count(call.cache_read_input_tokens) > 0 { (number(count(call.cache_read_input_tokens))) } @else { span.none { "–" } } }
            td.number.c-cost { (cost_of(call)) }
            td.c-user { (context.narrow("user", user)) }
        }
    }
}
