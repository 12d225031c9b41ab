//! `llmtrail stats`: what it all comes to, in one look.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, money, number_of, seconds};
use super::{Common, Failure, cost, json as shapes};
use crate::store::{By, Totals};

/// Show spend, errors, latency and tokens, in all and by model
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail stats
  llmtrail stats --since 24h
  llmtrail stats --json | jq .total.latency_p95

Latency and time to first token are those of generations: p50 is the median, p95 what 95 of 100 stay below.

--json: {since, total: {calls, errors, ..., latency_p50, latency_p95, time_to_first_token_p50,
  time_to_first_token_p95}, models: [{model, the same}]}; times in seconds")]
pub(super) struct Args {
    /// Only calls since a date (2026-07-01), a time (2026-07-01T09:30), or for so long (90m, 24h, 7d, 4w)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Default)]
struct Times {
    latency: Vec<f64>,
    first: Vec<f64>,
}

impl Times {
    fn sort(&mut self) {
        self.latency.sort_by(f64::total_cmp);
        self.first.sort_by(f64::total_cmp);
    }
}

/// Nearest rank, of numbers in order.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| cost::since("--since", text, terminal)).transpose()?;
    let from = since.map_or(i64::MIN, Timestamp::as_millisecond);
    let reader = args.common.reader()?;
    let mut models = reader.totals(from, By::Model)?;
    models.sort_by(|(a, first), (b, second)| {
        second.cost.cmp(&first.cost).then(second.calls.cmp(&first.calls)).then(a.cmp(b))
    });
    let mut all = Times::default();
    let mut by: BTreeMap<Option<String>, Times> = BTreeMap::new();
    for (model, latency, first) in reader.times(from)? {
        let times = by.entry(model).or_default();
        for (to, time) in [
            (&mut all.latency, latency),
            (&mut times.latency, latency),
            (&mut all.first, first),
            (&mut times.first, first),
        ] {
            to.extend(time);
        }
    }
    all.sort();
    by.values_mut().for_each(Times::sort);
    let mut total = Totals::default();
    for (_, totals) in &models {
        total.merge(totals);
    }
    if args.common.json {
        let none = Times::default();
        let models: Vec<Value> = models
            .iter()
            .map(|(model, totals)| {
                let mut row = shape(totals, by.get(model).unwrap_or(&none));
                row["model"] = json!(model);
                row
            })
            .collect();
        let since = since.map_or(Value::Null, |since| shapes::timestamp(since.as_millisecond()));
        writeln!(terminal.out, "{}", json!({"since": since, "total": shape(&total, &all), "models": models}))?;
        return Ok(());
    }
    if total.calls == 0 {
        writeln!(terminal.out, "No calls.")?;
        return Ok(());
    }
    let known = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), seconds);
    let unpriced = if total.unpriced > 0 {
        format!(", and {} without a known price", number_of(total.unpriced, "call"))
    } else {
        String::new()
    };
    for (name, text) in [
        ("spend", format!("{}{unpriced}", exact_money(total.cost))),
        (
            "calls",
            format!("{}, {} failed ({})", count(total.calls), count(total.errors), share(total.errors, total.calls)),
        ),
        (
            "latency",
            format!("p50 {}, p95 {}", known(percentile(&all.latency, 50)), known(percentile(&all.latency, 95))),
        ),
        (
            "first token",
            format!("p50 {}, p95 {}", known(percentile(&all.first, 50)), known(percentile(&all.first, 95))),
        ),
        ("tokens", format!("{} in, {} out", count(total.total_input_tokens), count(total.output_tokens))),
        (
            "from cache",
            format!("{} of the input tokens", share(total.cache_read_input_tokens, total.total_input_tokens)),
        ),
    ] {
        let name = terminal.paint(Style::Dim, &format!("{name:13}"));
        writeln!(terminal.out, "{name}{text}")?;
    }
    writeln!(terminal.out)?;
    let columns = [
        Column::text("model", 14, 1),
        Column::number("calls"),
        Column::number("failed"),
        Column::number("p50"),
        Column::number("p95"),
        Column::number("in"),
        Column::number("out"),
        Column::amount("cost"),
    ];
    let lines: Vec<Line> = models
        .iter()
        .map(|(model, totals)| {
            let latency = by.get(model).map(|times| &times.latency[..]).unwrap_or_default();
            let cost = if totals.calls == totals.unpriced {
                cell(Style::Warn, "?")
            } else {
                cell(Style::Plain, money(totals.cost))
            };
            Line::Row(vec![
                cell(Style::Plain, model.as_deref().map_or_else(|| "(unknown model)".to_owned(), line)),
                cell(Style::Plain, count(totals.calls)),
                cell(Style::Bad, if totals.errors == 0 { String::new() } else { count(totals.errors) }),
                cell(Style::Plain, known(percentile(latency, 50))),
                cell(Style::Plain, known(percentile(latency, 95))),
                cell(Style::Plain, count(totals.total_input_tokens)),
                cell(Style::Plain, count(totals.output_tokens)),
                cost,
            ])
        })
        .collect();
    print(terminal, &columns, &lines)?;
    Ok(())
}

fn shape(totals: &Totals, times: &Times) -> Value {
    let mut shape = shapes::totals(totals);
    for (key, numbers, percent) in [
        ("latency_p50", &times.latency, 50),
        ("latency_p95", &times.latency, 95),
        ("time_to_first_token_p50", &times.first, 50),
        ("time_to_first_token_p95", &times.first, 95),
    ] {
        shape.insert(key.to_owned(), json!(percentile(numbers, percent)));
    }
    shape.into()
}

fn share(part: u64, of: u64) -> String {
    if of == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}
