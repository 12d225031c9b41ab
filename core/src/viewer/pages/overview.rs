//! The first page: what it all comes to.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::chart::{Chart, SERIES, draw, legend};
use super::super::columns::Columns;
use super::super::data::{Data, Form, Sums};
use super::super::gather::{self, Member, Slice, Top, Trace};
use super::super::page::{Context, calls, cost, dollars, encode, nothing, number, share, short_number, took};
use super::super::query::{self, Bits, By, Ready, percentile};
use super::{Made, Page};
use crate::cli::terminal::{money, seconds};
use crate::price::Amount;
use crate::sink::store::scan::Number;

/// Bars in a chart.
const STEPS: i64 = 48;

/// Rows of a list of the most.
const TOP: usize = 6;

pub(super) fn page(page: &mut Page<'_>) -> Made {
    let (data, ready) = page.ask();
    let mut all = All::of(&data, &ready);
    let users = gather::members_of(&data, &ready, By::User, &all.users);
    let traces = gather::of(&data, &all.traces);
    let spent = gather::members_of(&data, &ready, By::Trace, &all.traces);
    let top_models = top_models(&page.context, &data, &all);
    let charts = (all.sums.calls > 0).then(|| charts(&page.context, &data, &ready, &all));
    let names: Vec<String> = traces.iter().map(|trace| data.text(trace.name).unwrap_or("call").to_owned()).collect();
    let is_empty = data.len == 0;
    drop(data);
    let texts = page.texts(&traces)?;
    let people = page.ids(users.iter().map(|user| user.number))?;
    let context = &page.context;
    let body = charts.map(|charts| {
        html! {
            (cards(context, &all.sums, &mut all.latencies, &mut all.firsts))
            (charts)
            div.tops {
                (top_models)
                (top_users(context, &users, &people))
                (top_traces(context, &traces, &spent, &names, &texts))
            }
        }
    });
    Ok(html! {
        h1 { "Overview " small { (page.context.range.name) } }
        (page.notes())
        @match body {
            Some(body) => (body),
            None if is_empty => (welcome(page)),
            None => (nothing("No calls", &format!("There is none in {} that fits the filter.", page.context.range.name))),
        }
    })
}

/// What one look at every call gives.
struct All {
    sums: Sums,
    /// Of each model; the one that most was spent on first.
    models: Vec<(Number, Sums)>,
    /// When the first and the last began.
    times: (i64, i64),
    latencies: Vec<f32>,
    firsts: Vec<f32>,
    /// Numbers of those who spent the most, and of the most expensive traces.
    users: Vec<i64>,
    traces: Vec<i64>,
}

impl All {
    fn of(data: &Data, ready: &Ready) -> Self {
        let (model_of, mut models) = models(data);
        let mut times = (i64::MAX, i64::MIN);
        let (mut latencies, mut firsts) = (Vec::new(), Vec::new());
        // Of each person and each trace; a number is one or the other.
        let mut spent = vec![0.0; data.places()];
        let [mut users, mut traces] = [Bits::default(), Bits::default()];
        let columns = Columns::SUMS.and(Columns::TIME).and(Columns::LATENCY).and(Columns::FIRST);
        ready.calls(data, columns.and(Columns::USER).and(Columns::TRACE), |event, form| {
            models[model_of[event.form as usize]].1.add(event, form);
            times = (times.0.min(event.time), times.1.max(event.time));
            if query::is_generation(form) {
                latencies.extend(Some(event.latency).filter(|time| !time.is_nan()));
                firsts.extend(Some(event.first).filter(|time| !time.is_nan()));
            }
            for (number, seen) in [(event.user, &mut users), (event.trace, &mut traces)] {
                if number != 0 {
                    let place = data.place(number);
                    seen.insert(place);
                    spent[place] += event.dollars();
                }
            }
        });
        let first = |places: &Bits, least: f64| {
            let mut top = Top::new(Slice { from: 0, len: TOP, falls: true });
            for place in places.iter().filter(|place| spent[*place] >= least) {
                top.offer(Some(spent[place]), 0, i64::from(data.at(place)));
            }
            top.page()
        };
        let (users, traces) = (first(&users, 0.0), first(&traces, f64::MIN_POSITIVE));
        models.retain(|(_, sums)| sums.calls > 0);
        models.sort_by(|a, b| b.1.cost.cmp(&a.1.cost).then(b.1.calls.cmp(&a.1.calls)).then(a.0.cmp(&b.0)));
        let mut sums = Sums::default();
        for (_, of) in &models {
            sums.merge(of);
        }
        Self { sums, models, times, latencies, firsts, users, traces }
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

fn charts(context: &Context, data: &Data, ready: &Ready, all: &All) -> Markup {
    let (first, last) = all.times;
    // Of all time, from the first call to the last.
    let (from, to) = match context.range.millis {
        Some(millis) => (context.now - millis, context.now.max(last + 1)),
        None => (first, last + 1),
    };
    let width = step((to - from) / STEPS);
    let starts = starts(&context.zone, from, to, width);
    let (start, count) = (starts[0], starts.len());
    // The models that most was spent on, the others together, and of each step what was spent and how many calls there were.
    let places: HashMap<Number, usize> = all.models.iter().zip(0..).map(|((model, _), at)| (*model, at)).collect();
    let of: Vec<usize> =
        data.forms.iter().map(|form| places.get(&form.model).map_or(SERIES, |at| SERIES.min(*at))).collect();
    let mut series: Vec<String> = all
        .models
        .iter()
        .take(SERIES)
        .map(|(model, _)| data.text(*model).unwrap_or("unknown model").to_owned())
        .collect();
    if all.models.len() > SERIES {
        series.push(format!("{} others", all.models.len() - SERIES));
    }
    let mut spend = vec![vec![0.0; series.len()]; count];
    let mut number_of = vec![vec![0.0; series.len()]; count];
    ready.calls(data, Columns::TIME.and(Columns::COST), |event, _| {
        let mut at = usize::try_from((event.time - start).div_euclid(width)).unwrap_or(0).min(count - 1);
        // Days are not all of one length.
        while at > 0 && starts[at] > event.time {
            at -= 1;
        }
        while starts.get(at + 1).is_some_and(|next| *next <= event.time) {
            at += 1;
        }
        let of = of[event.form as usize];
        spend[at][of] += event.dollars();
        number_of[at][of] += 1.0;
    });
    let when = |at: usize| {
        let time = Timestamp::from_millisecond(starts[at]).unwrap_or_default();
        let format = if width >= DAY {
            "%b %-d"
        } else if to - from > DAY {
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

/// Milliseconds.
const DAY: i64 = 86_400_000;

/// When the steps begin: on the local clock's round times, and whole days where local days do, of which two a year are longer
/// or shorter.
fn starts(zone: &TimeZone, from: i64, to: i64, width: i64) -> Vec<i64> {
    const MOST: usize = 120;
    let first = Timestamp::from_millisecond(from).unwrap_or_default();
    let ahead = i64::from(zone.to_offset(first).seconds()) * 1000;
    let start = (from + ahead).div_euclid(width) * width;
    let at = |step: i64| {
        let local = start + step * width;
        let midnight = || {
            let day = Timestamp::from_millisecond(local).ok()?.to_zoned(TimeZone::UTC).datetime();
            Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
        };
        if width < DAY { None } else { midnight() }.unwrap_or(local - ahead)
    };
    let mut starts: Vec<i64> = (1..).map(at).take_while(|start| *start <= to).take(MOST - 1).collect();
    starts.insert(0, at(0));
    starts
}

/// A step of time that people count in.
fn step(millis: i64) -> i64 {
    const MINUTE: i64 = 60_000;
    let steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080, 20_160, 43_200, 129_600];
    steps.into_iter().map(|minutes| minutes * MINUTE).find(|step| *step >= millis).unwrap_or(525_600 * MINUTE)
}

/// The models that there are, and of each form which of them is its own.
fn models(data: &Data) -> (Vec<usize>, Vec<(Number, Sums)>) {
    let mut places: HashMap<Number, usize> = HashMap::new();
    let mut models = Vec::new();
    let place = |form: &Form| {
        *places.entry(form.model).or_insert_with(|| {
            models.push((form.model, Sums::default()));
            models.len() - 1
        })
    };
    (data.forms.iter().map(place).collect(), models)
}

fn top_models(context: &Context, data: &Data, all: &All) -> Markup {
    let rows = all.models.iter().take(TOP).map(|(model, sums)| (data.text(*model), *sums));
    top(context, "Models", "/models", "/generations", "model", rows)
}

fn top_users(context: &Context, users: &[Member], texts: &HashMap<u32, String>) -> Markup {
    let rows = users.iter().map(|user| (texts.get(&user.number).map(String::as_str), user.sums));
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
            table aria-label=(title) { thead.visually-hidden { tr { th scope="col" { (key) } th scope="col" { "calls" } th scope="col" { "cost" } } }
                tbody { @for (name, sums) in rows {
                    tr {
                        th.name scope="row" { (context.lead(path, key, name)) }
                        td.number { (calls(sums.calls)) }
                        td.number { (cost(&sums)) }
                    }
                } }
            }
        }
    }
}

fn top_traces(
    context: &Context,
    traces: &[Trace],
    spent: &[Member],
    names: &[String],
    texts: &HashMap<u32, String>,
) -> Markup {
    html! {
        section.top {
            h2 { a href=(context.address.to("/traces", &[("sort", "cost")])) { "Most expensive traces" } }
            table aria-label="Most expensive traces" { thead.visually-hidden { tr { th scope="col" { "trace" } th scope="col" { "took" } th scope="col" { "cost" } } }
                tbody { @for ((trace, spent), name) in traces.iter().zip(spent).zip(names) {
                    @let id = texts.get(&trace.number).map_or("", String::as_str);
                    tr {
                        th.name scope="row" { a href=(context.address.go(&format!("/trace/{}", encode(id)))) { (name) } " " (context.time(trace.start)) }
                        td.number { (seconds(trace.seconds())) }
                        td.number { (dollars(spent.sums.cost)) }
                    }
                } }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_before_and_after_clocks_change() {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let millis = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        // Clocks went back on the first of November.
        let starts = starts(&zone, millis("2026-10-30T12:00:00Z"), millis("2026-11-03T12:00:00Z"), DAY);
        let local =
            |start: &i64| Timestamp::from_millisecond(*start).unwrap().to_zoned(zone.clone()).datetime().to_string();
        let days: Vec<String> = starts.iter().map(local).collect();
        let expected = ["10-30", "10-31", "11-01", "11-02", "11-03"].map(|day| format!("2026-{day}T00:00:00"));
        assert_eq!(days, expected);
    }
}
