//! The list of traces.

use std::cmp::Ordering;
use std::collections::HashMap;

use maud::{Markup, html};

use super::super::data::{Data, Trace};
use super::super::page::{Context, cost, encode, nothing, number, status, tokens, took};
use super::list::{self, Column, figure, text};
use super::{Made, Page};
use crate::store::Row;

const COLUMNS: [Column; 9] = [
    Column { key: "time", head: "Time", class: "", sorts: Some(true) },
    text("name", "Trace"),
    text("status", "Status"),
    figure("duration", "Duration"),
    figure("calls", "Calls"),
    figure("tokens", "Tokens"),
    figure("cost", "Cost"),
    text("user", "User"),
    text("session", "Session"),
];

pub(super) fn page(page: &mut Page<'_>) -> Made {
    let (data, ready) = page.ask();
    let mut found = ready.traces(&data);
    let sorted = list::order(&page.context, &COLUMNS, "time");
    sort(&mut found, &data, sorted);
    let total = found.len();
    let shown = list::slice(&page.context, &found);
    let previews = previews(page, &data, &shown)?;
    let rows =
        html! { @for number in &shown { (row(&page.context, &data, &data.traces[*number as usize], &previews)) } };
    let is_empty = data.events.is_empty();
    drop(data);
    Ok(html! {
        h1 { "Traces " small { (number(total as u64)) " in " (page.context.range.name) } }
        (page.notes())
        @if is_empty { (super::overview::welcome(page)) }
        @else if total == 0 { (nothing("No traces", "None in this time fits the filter.")) }
        @else { (list::table(&page.context, "Traces", &COLUMNS, sorted, total, &rows)) }
    })
}

fn sort(found: &mut [u32], data: &Data, (key, falls): (&str, bool)) {
    let compare = |a: &Trace, b: &Trace| match key {
        "duration" => a.seconds().total_cmp(&b.seconds()),
        "calls" => a.sums.calls.cmp(&b.sums.calls),
        "tokens" => (a.sums.input + a.sums.output).cmp(&(b.sums.input + b.sums.output)),
        "cost" => a.sums.cost.cmp(&b.sums.cost),
        _ => a.start.cmp(&b.start),
    };
    found.sort_unstable_by(|a, b| {
        let (first, second) = (&data.traces[*a as usize], &data.traces[*b as usize]);
        let order = compare(first, second);
        let order = if falls { order.reverse() } else { order };
        if order == Ordering::Equal { second.start.cmp(&first.start).then(a.cmp(b)) } else { order }
    });
}

/// The rows of the events whose beginnings of input and output are shown.
fn previews(page: &Page<'_>, data: &Data, shown: &[u32]) -> Result<HashMap<i64, Row>, Option<crate::error::Error>> {
    let mut ids: Vec<i64> = Vec::new();
    for number in shown {
        let trace = &data.traces[*number as usize];
        ids.extend([trace.own, trace.first.1, trace.last.1].into_iter().filter(|id| *id > 0));
    }
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    ids.sort_unstable();
    ids.dedup();
    // An event that was removed meanwhile is left out.
    let rows = page.store.read(|reader| {
        ids.iter()
            .filter_map(|id| match reader.rows_by_id(&[*id]) {
                Ok(mut rows) => rows.pop().map(|row| Ok((*id, row))),
                Err(error) => Some(Err(error)),
            })
            .collect()
    });
    rows.map_err(Some)
}

fn row(context: &Context, data: &Data, trace: &Trace, previews: &HashMap<i64, Row>) -> Markup {
    let input = |id: i64| previews.get(&id).and_then(|row| row.input_preview.as_deref());
    let output = |id: i64| previews.get(&id).and_then(|row| row.output_preview.as_deref());
    let said = input(trace.own).or_else(|| input(trace.first.1));
    let answered = output(trace.own).or_else(|| output(trace.last.1));
    let failed = trace.failed || trace.sums.errors > 0;
    let label = if trace.failed {
        "failed".to_owned()
    } else if trace.sums.errors > 0 {
        format!("{} failed", trace.sums.errors)
    } else {
        "ok".to_owned()
    };
    let alone = previews.get(&trace.first.1).filter(|_| trace.events == 1).and_then(|row| row.model.as_deref());
    let name = data.names.text(trace.name).or(alone).unwrap_or("trace");
    html! {
        tr data-key=(trace.id) {
            td.c-time { (context.time(trace.start)) }
            td.c-name {
                a.open href=(format!("/trace/{}", encode(&trace.id))) { (name) }
                @if said.is_some() || answered.is_some() {
                    div.preview { span { (said.unwrap_or("–")) } @if let Some(answered) = answered { span.answer { (answered) } } }
                }
            }
            td.c-status { (status(failed, &label)) }
            td.number.c-duration { (took(Some(trace.seconds()))) }
            td.number.c-calls { (number(trace.sums.calls)) }
            td.number.c-tokens { (tokens(trace.sums.input, trace.sums.output)) }
            td.number.c-cost { (cost(&trace.sums)) }
            td.c-user { (context.narrow("user", data.names.text(trace.user))) }
            td.c-session { (context.narrow("session", data.names.text(trace.session))) }
        }
    }
}
