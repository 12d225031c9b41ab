//! The first page: what it all comes to.

use std::collections::HashMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::chart::{Chart, SERIES, draw, legend};
use super::super::data::{Data, Event, Name, Sums};
use super::super::page::{Context, calls, cost, dollars, nothing, number, share, short_number, took};
use super::super::query::{self, Wanted, groups, percentile};
use super::Page;
use crate::cli::terminal::{money, seconds};
use crate::price::Amount;

/// Bars in a chart.
const STEPS: i64 = 48;

/// Rows of a list of the most.
const TOP: usize = 6;

pub(super) fn page(page: &mut Page<'_>) -> Markup {
    let (data, ready) = page.ask();
    let found: Vec<&Event> = ready.calls(&data).collect();
    let mut sums = Sums::default();
    for event in &found {
        sums.add(event);
    }
    let generations = || found.iter().filter(|event| query::is_generation(event));
    let mut latencies: Vec<f32> = generations().map(|event| event.latency).filter(|time| !time.is_nan()).collect();
    let mut firsts: Vec<f32> = generations().map(|event| event.first).filter(|time| !time.is_nan()).collect();
    let body = if found.is_empty() {
        None
    } else {
        let context = &page.context;
        Some(html! {
            (cards(context, &sums, &mut latencies, &mut firsts))
            (charts(context, &data, &found))
            div.tops {
                (top_models(context, &data, &found))
                (top_users(context, &data, &found))
                (top_traces(context, &data, &found))
            }
        })
    };
    let is_empty = data.events.is_empty();
    drop(data);
    html! {
        h1 { "Overview " small { (page.context.range.name) } }
        (page.notes())
        @match body {
            Some(body) => (body),
            None if is_empty => (welcome(page)),
            None => (nothing("No calls", &format!("There is none in {} that fits the filter.", page.context.range.name))),
        }
    }
}

/// What somebody sees who has captured nothing yet.
pub(super) fn welcome(page: &Page<'_>) -> Markup {
    html! {
        div.nothing {
            h2 { "Nothing was captured yet" }
            p { "Wrap your provider's client, make a call, and it shows here by itself:" }
            pre.code { code { "import llmtrail\nfrom openai import OpenAI\n\nclient = llmtrail.wrap(OpenAI())" } }
            p { "Looking at " code { (page.store.path().display()) } }
        }
    }
}

fn cards(context: &Context, sums: &Sums, latencies: &mut [f32], firsts: &mut [f32]) -> Markup {
    let half = |numbers: &mut [f32]| percentile(numbers, 0.5);
    let most = |numbers: &mut [f32]| percentile(numbers, 0.95);
    let (latency, first) = ((half(latencies), most(latencies)), (half(firsts), most(firsts)));
    html! {
        div.cards {
            div.card {
                h2 { "Spend" }
                p.big { (cost(sums)) }
                @if sums.unpriced > 0 {
                    p.warn { a href=(context.address.only("/generations", "cost", "none")) { (calls(sums.unpriced)) " without a known price" } }
                } @else { p { "US dollars, " (calls(sums.calls)) " priced" } }
            }
            div.card {
                h2 { "Calls" }
                p.big title=(number(sums.calls)) { (short_number(sums.calls)) }
                p { @if sums.errors > 0 {
                    a.bad href=(context.address.only("/generations", "status", "error")) { (number(sums.errors)) " failed, " (share(sums.errors, sums.calls)) }
                } @else { "none failed" } }
            }
            div.card {
                h2 { "Latency, p50" }
                p.big { (took(latency.0)) }
                p { "p95 " (took(latency.1)) }
            }
            div.card {
                h2 { "Time to first token, p50" }
                p.big { (took(first.0)) }
                p { @if first.0.is_some() { "p95 " (took(first.1)) } @else { "no streams" } }
            }
            div.card {
                h2 { "Tokens" }
                p.big title=(number(sums.input + sums.output)) { (short_number(sums.input + sums.output)) }
                p { span title=(number(sums.input)) { (short_number(sums.input)) " in" } ", " span title=(number(sums.output)) { (short_number(sums.output)) " out" } }
            }
            div.card {
                h2 { "From cache" }
                p.big { (share(sums.cached, sums.input)) }
                p { (short_number(sums.cached)) " input tokens, " @if sums.saved < 0.0 { (dollar(-sums.saved)) " more than without" } @else { (dollar(sums.saved)) " saved" } }
            }
        }
    }
}

fn dollar(value: f64) -> String {
    Amount::parse(&format!("{value:.9}")).map_or_else(|| format!("${value:.4}"), money)
}

fn charts(context: &Context, data: &Data, found: &[&Event]) -> Markup {
    let first = found.iter().map(|event| event.time).min().unwrap_or(context.now);
    let last = found.iter().map(|event| event.time).max().unwrap_or(context.now);
    // Of all time, from the first call to the last.
    let (from, to) = match context.range.millis {
        Some(millis) => (context.now - millis, context.now.max(last + 1)),
        None => (first, last + 1),
    };
    let width = step((to - from) / STEPS);
    let zone_shift = shift(context, from);
    let start = (from + zone_shift).div_euclid(width) * width - zone_shift;
    let count = usize::try_from((to - start).div_euclid(width) + 1).unwrap_or(1).min(120);
    let mut totals: HashMap<Name, (Amount, u64)> = HashMap::new();
    for event in found {
        let total = totals.entry(event.model).or_default();
        total.0 = if event.is_priced { total.0 + event.cost() } else { total.0 };
        total.1 += 1;
    }
    let mut order: Vec<(Name, (Amount, u64))> = totals.into_iter().collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let place: HashMap<Name, usize> =
        order.iter().enumerate().map(|(at, (model, _))| (*model, at.min(SERIES))).collect();
    let mut series: Vec<String> = order
        .iter()
        .take(SERIES)
        .map(|(model, _)| data.names.text(*model).unwrap_or("unknown model").to_owned())
        .collect();
    if order.len() > SERIES {
        series.push(format!("{} others", order.len() - SERIES));
    }
    let mut spend = vec![vec![0.0; series.len()]; count];
    let mut number_of = vec![vec![0.0; series.len()]; count];
    for event in found {
        let at = usize::try_from((event.time - start).div_euclid(width)).unwrap_or(0).min(count - 1);
        let of = place[&event.model];
        spend[at][of] += if event.is_priced { event.cost().to_f64() } else { 0.0 };
        number_of[at][of] += 1.0;
    }
    let when = |at: usize| {
        let time = Timestamp::from_millisecond(start + width * i64::try_from(at).unwrap_or(0)).unwrap_or_default();
        let format = if width >= 86_400_000 {
            "%b %-d"
        } else if to - from > 86_400_000 {
            "%b %-d %H:%M"
        } else {
            "%H:%M"
        };
        time.to_zoned(context.zone.clone()).strftime(format).to_string()
    };
    let steps = |values: Vec<Vec<f64>>| values.into_iter().enumerate().map(|(at, values)| (when(at), values)).collect();
    html! {
        section.charts aria-label="Over time, by model" {
            (draw(&Chart { title: "Spend", series: &series, steps: steps(spend), show: dollar }))
            (draw(&Chart { title: "Calls", series: &series, steps: steps(number_of), show: |value| short_number(value.round() as u64) }))
            (legend(&series))
        }
    }
}

/// How far local clocks are ahead, so that days begin when they do here.
fn shift(context: &Context, at: i64) -> i64 {
    let time = Timestamp::from_millisecond(at).unwrap_or_default();
    i64::from(context.zone.to_offset(time).seconds()) * 1000
}

/// A step of time that people count in.
fn step(millis: i64) -> i64 {
    const MINUTE: i64 = 60_000;
    let steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 20_160, 43_200, 129_600];
    steps.into_iter().map(|minutes| minutes * MINUTE).find(|step| *step >= millis).unwrap_or(525_600 * MINUTE)
}

fn top_models(context: &Context, data: &Data, found: &[&Event]) -> Markup {
    let mut groups = groups(found.iter().copied(), Wanted::default(), |event| (event.model, 0));
    groups.sort_by(|a, b| b.sums.cost.cmp(&a.sums.cost).then(b.sums.calls.cmp(&a.sums.calls)));
    let rows = groups.iter().take(TOP).map(|group| (data.names.text(group.key), group.sums));
    top(context, "Models", "/models", "/generations", "model", rows)
}

fn top_users(context: &Context, data: &Data, found: &[&Event]) -> Markup {
    let named = found.iter().copied().filter(|event| event.user != 0);
    let mut groups = groups(named, Wanted::default(), |event| (event.user, 0));
    groups.sort_by(|a, b| b.sums.cost.cmp(&a.sums.cost).then(b.sums.calls.cmp(&a.sums.calls)));
    let rows = groups.iter().take(TOP).map(|group| (data.names.text(group.key), group.sums));
    top(context, "Users", "/users", "/traces", "user", rows)
}

fn top<'a>(
    context: &Context,
    title: &str,
    all: &str,
    path: &str,
    key: &str,
    rows: impl Iterator<Item = (Option<&'a str>, Sums)>,
) -> Markup {
    html! {
        section.top {
            h2 { a href=(context.address.go(all)) { (title) } }
            table { thead.visually-hidden { tr { th { (key) } th { "calls" } th { "cost" } } }
                tbody { @for (name, sums) in rows {
                    tr {
                        td.name { (context.lead(path, key, name)) }
                        td.number { (calls(sums.calls)) }
                        td.number { (cost(&sums)) }
                    }
                } }
            }
        }
    }
}

fn top_traces(context: &Context, data: &Data, found: &[&Event]) -> Markup {
    let mut costs: HashMap<u32, Amount> = HashMap::new();
    for event in found.iter().filter(|event| event.is_priced) {
        let cost = costs.entry(event.trace).or_default();
        *cost = *cost + event.cost();
    }
    let mut order: Vec<(u32, Amount)> = costs.into_iter().collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    html! {
        section.top {
            h2 { a href=(context.address.to("/traces", &[("sort", "cost")])) { "Most expensive traces" } }
            table { thead.visually-hidden { tr { th { "trace" } th { "took" } th { "cost" } } }
                tbody { @for (number, cost) in order.iter().take(TOP) {
                    @let trace = &data.traces[*number as usize];
                    tr {
                        td.name { a href=(format!("/trace/{}", super::super::page::encode(&trace.id))) { (data.names.text(trace.name).unwrap_or("call")) } " " (context.time(trace.start)) }
                        td.number { (seconds(trace.seconds())) }
                        td.number { (dollars(*cost)) }
                    }
                } }
            }
        }
    }
}
