//! `llmtrail reprice`: the costs of stored calls, by the prices that are known now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, number_of};
use super::{Common, Failure, cost};
use crate::price::Amount;
use crate::price::reprice::{Repriced, properties, reprice};
use crate::sink::store::Store;
use crate::sink::store::reprice::Rewrite;

/// Reckon the costs of stored calls again, by the prices that are known now
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail reprice --dry-run               what would change
  llmtrail reprice --since 7d --prices prices.toml

Each call is priced as of its own time. What a provider reported stays, and so does a price that was set in code.

--json: {calls, changed, kept, dry_run, before, after, groups: [{provider, model, calls, before, after}]}")]
pub(super) struct Args {
    /// Only calls since a date (2026-07-01), a time, or for so long (24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// A price file, before LLMTRAIL_PRICES
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The calls of one model whose cost changed.
#[derive(Default)]
struct Group {
    calls: u64,
    before: Amount,
    after: Amount,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let book = args.common.book(args.prices.as_deref())?;
    let since = args.since.as_deref().map(|text| cost::since("--since", text, terminal)).transpose()?;
    let since = since.map_or(i64::MIN, Timestamp::as_millisecond);
    let reader = args.common.reader()?;
    let mut store = if args.dry_run { None } else { Some(Store::open(&args.common.dir()?)?) };
    let mut groups = BTreeMap::<(Option<String>, Option<String>), Group>::new();
    let (mut calls, mut changed, mut kept, mut after) = (0, 0, 0, 0);
    loop {
        let page = reader.priced(since, after)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        let mut rewrites = Vec::new();
        for event in &page {
            calls += 1;
            match reprice(&event.properties, event.timestamp_ms, &book) {
                Repriced::Same => {}
                Repriced::Kept => kept += 1,
                Repriced::Changed { before, after, properties: with } => {
                    changed += 1;
                    let text = |name: &str| event.properties.get(name).and_then(Value::as_str).map(str::to_owned);
                    let group = groups.entry((text("$ai_provider"), text("$ai_model"))).or_default();
                    group.calls += 1;
                    group.before = group.before + before.unwrap_or_default();
                    group.after = group.after + after.unwrap_or_default();
                    let without = properties(&event.properties).collect();
                    rewrites.push(Rewrite { id: event.id, without, with });
                }
            }
        }
        if let Some(store) = &mut store {
            store.reprice(&rewrites)?;
        }
    }
    let sum = |of: fn(&Group) -> Amount| groups.values().map(of).sum::<Amount>();
    let (before, now) = (sum(|group| group.before), sum(|group| group.after));
    if args.common.json {
        let groups: Vec<Value> = groups
            .iter()
            .map(|((provider, model), group)| {
                json!({"provider": provider, "model": model, "calls": group.calls,
                    "before": group.before.to_string(), "after": group.after.to_string()})
            })
            .collect();
        let shape = json!({"calls": calls, "changed": changed, "kept": kept, "dry_run": args.dry_run,
            "before": before.to_string(), "after": now.to_string(), "groups": groups});
        writeln!(terminal.out, "{shape}")?;
        return Ok(());
    }
    let would = if args.dry_run { "would be" } else { "are" };
    writeln!(terminal.out, "{} looked at, {} {would} priced anew.", number_of(calls, "call"), count(changed))?;
    if kept > 0 {
        writeln!(terminal.out, "{} with a price that was set in code stay as they are.", number_of(kept, "call"))?;
    }
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(terminal.out)?;
    let row = |style, name: String, provider: String, calls, before, after| {
        Line::Row(vec![
            cell(style, name),
            cell(style, provider),
            cell(style, count(calls)),
            cell(style, exact_money(before)),
            cell(style, exact_money(after)),
        ])
    };
    let text = |text: &Option<String>| text.as_deref().map(line).unwrap_or_default();
    let mut lines: Vec<Line> = groups
        .iter()
        .map(|((provider, model), group)| {
            row(Style::Plain, text(model), text(provider), group.calls, group.before, group.after)
        })
        .collect();
    lines.push(Line::Blank);
    lines.push(row(Style::Bold, "total".to_owned(), String::new(), changed, before, now));
    let columns = [
        Column::text("model", 14, 1),
        Column::text("provider", 10, 1),
        Column::number("calls"),
        Column::amount("before"),
        Column::amount("after"),
    ];
    print(terminal, &columns, &lines)?;
    Ok(())
}
