//! The list of traces.

use std::collections::HashMap;

use maud::{Markup, html};

use super::super::data::Data;
use super::super::gather::{self, Trace};
use super::super::page::{Context, cost, encode, in_short, nothing, number, status, tokens, took};
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
    let sorted = list::order(&page.context, &COLUMNS, "time");
    let (data, ready) = page.ask();
    let (total, shown) = gather::traces(&data, &ready, sorted.0, list::slice(&page.context, sorted));
    let is_empty = data.len == 0;
    let names = Names::of(&data, &shown);
    drop(data);
    let texts = page.texts(&shown)?;
    let previews = previews(page, &shown)?;
    let rows = html! { @for (trace, names) in shown.iter().zip(&names) { (row(&page.context, trace, names, &texts, &previews)) } };
    Ok(html! {
        h1 { "Traces " small { (number(total as u64)) " in " (page.context.range.name) } }
        (page.notes())
        @if is_empty { (super::overview::welcome(page)) }
        @else if total == 0 { (nothing("No traces", "None in this time fits the filter.")) }
        @else { (list::table(&page.context, "Traces", &COLUMNS, sorted, total, &rows)) }
    })
}

/// What a trace is called, and the model of one that is a call alone.
struct Names {
    name: Option<String>,
    model: Option<String>,
}

impl Names {
    fn of(data: &Data, traces: &[Trace]) -> Vec<Self> {
        let text = |name| data.text(name).map(str::to_owned);
        traces.iter().map(|trace| Self { name: text(trace.name), model: text(trace.model) }).collect()
    }
}

/// The rows of the events whose beginnings of input and output are shown.
fn previews(page: &Page<'_>, shown: &[Trace]) -> Result<HashMap<i64, Row>, Option<crate::error::Error>> {
    let mut ids: Vec<i64> = Vec::new();
    for trace in shown {
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

fn row(
    context: &Context,
    trace: &Trace,
    names: &Names,
    texts: &HashMap<u32, String>,
    previews: &HashMap<i64, Row>,
) -> Markup {
    let text = |number: u32| texts.get(&number).map(String::as_str).filter(|text| !text.is_empty());
    // An id of its own may be empty.
    let id = texts.get(&trace.number).map_or("", String::as_str);
    let input = |id: i64| previews.get(&id).and_then(|row| row.input_preview.as_deref()).map(in_short);
    let output = |id: i64| previews.get(&id).and_then(|row| row.output_preview.as_deref()).map(in_short);
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
    let alone = names.model.as_deref().filter(|_| trace.events == 1);
    let name = names.name.as_deref().or(alone).unwrap_or("trace");
    html! {
        tr data-key=(id) {
            td.c-time { (context.time(trace.start)) }
            td.c-name {
                a.open href=(context.address.inside(&format!("/trace/{}", encode(id)))) { (name) }
                @if said.is_some() || answered.is_some() {
                    div.preview { span { (said.as_deref().unwrap_or("–")) } @if let Some(answered) = answered { span.answer { (answered) } } }
                }
            }
            td.c-status { (status(failed, &label)) }
            td.number.c-duration { (took(Some(trace.seconds()))) }
            td.number.c-calls { (number(trace.sums.calls)) }
            td.number.c-tokens { (tokens(trace.sums.input, trace.sums.output)) }
            td.number.c-cost { (cost(&trace.sums)) }
            td.c-user { (context.narrow("user", text(trace.user))) }
            td.c-session { (context.narrow("session", text(trace.session))) }
        }
    }
}
