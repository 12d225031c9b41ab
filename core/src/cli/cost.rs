//! `llmtrail cost`: what calls cost, in sums that are exact.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::table::{Cell, Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, number_of, wrap};
use super::{Common, Failure, json, what_if};
use crate::store::{By, Totals, Unpriced};

/// Sum up what calls used and cost
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail cost                            everything, by model
  llmtrail cost --since 7d --by day        the last seven days, day by day
  llmtrail cost --since 2026-07-01 --by user
  llmtrail cost --what-if gpt-5-mini,claude-haiku-4.5
  llmtrail cost --json | jq -r .total.total_cost_usd_exact

Sums are exact, to the last digit. Calls without a known price are not in them, and are named below.

--json: {since, by, groups: [{<by>, calls, errors, unpriced_calls, total_input_tokens, cache_read_input_tokens,
  cache_creation_input_tokens, output_tokens, reasoning_tokens, total_cost_usd, total_cost_usd_exact}], total: {the same},
  unpriced: [{provider, model, calls}]}; with --what-if {since, calls, unpriced_calls, total_cost_usd, total_cost_usd_exact,
  what_if: [{model, total_cost_usd, total_cost_usd_exact, unpriced_calls, difference_usd_exact, assumptions}]}")]
pub(super) struct Args {
    /// Only calls since a date (2026-07-01), a time (2026-07-01T09:30), or for so long (90m, 24h, 7d, 4w)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// What to group by
    #[arg(long, value_enum, default_value = "model")]
    by: Group,
    /// What the same calls would have cost at other models: gpt-5-mini,claude-haiku-4.5
    #[arg(long, value_name = "MODELS", value_delimiter = ',', conflicts_with = "by")]
    what_if: Vec<String>,
    /// A price file for --what-if, before LLMTRAIL_PRICES
    #[arg(long, value_name = "FILE", requires = "what_if")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Model,
    Provider,
    User,
    Session,
    Day,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::User => "user",
            Self::Session => "session",
            Self::Day => "day",
        }
    }

    fn nothing(self) -> &'static str {
        match self {
            Self::Model => "(unknown model)",
            Self::Provider => "(unknown provider)",
            Self::User => "(nobody named)",
            Self::Session => "(no session)",
            Self::Day => "(no day)",
        }
    }
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| since("--since", text, terminal)).transpose()?;
    let from = since.map_or(i64::MIN, Timestamp::as_millisecond);
    let reader = args.common.reader()?;
    if !args.what_if.is_empty() {
        let book = args.common.book(args.prices.as_deref())?;
        return what_if::run(&args.what_if, since, &reader, &book, args.common.json, terminal);
    }
    let groups = groups(reader.totals(from, by(args.by))?, args.by, terminal);
    let mut total = Totals::default();
    for (_, totals) in &groups {
        total.merge(totals);
    }
    let unpriced = if total.unpriced > 0 { reader.unpriced(from)? } else { Vec::new() };
    if args.common.json {
        let rows: Vec<Value> = groups
            .iter()
            .map(|(key, totals)| {
                let mut row = json::totals(totals);
                row.insert(args.by.name().to_owned(), json!(key));
                row.into()
            })
            .collect();
        let unpriced: Vec<Value> = unpriced
            .iter()
            .map(|one| json!({"provider": one.provider, "model": one.model, "calls": one.calls}))
            .collect();
        let shape = json!({
            "since": since.map_or(Value::Null, |since| json::timestamp(since.as_millisecond())),
            "by": args.by.name(),
            "groups": rows,
            "total": json::totals(&total),
            "unpriced": unpriced,
        });
        writeln!(terminal.out, "{shape}")?;
        return Ok(());
    }
    if groups.is_empty() {
        let since = since.map(|since| format!(" since {}", terminal.exact_time(since.as_millisecond())));
        writeln!(terminal.out, "No calls{}.", since.unwrap_or_else(|| " yet".to_owned()))?;
        return Ok(());
    }
    let mut lines: Vec<Line> = groups
        .iter()
        .map(|(key, totals)| match key {
            Some(key) => row(cell(Style::Plain, line(key)), totals, Style::Plain),
            None => row(cell(Style::Dim, args.by.nothing()), totals, Style::Plain),
        })
        .collect();
    if groups.len() > 1 {
        lines.push(Line::Blank);
        lines.push(row(cell(Style::Bold, "total"), &total, Style::Bold));
    }
    print(terminal, &columns(args.by.name()), &lines)?;
    warn(terminal, &total, &unpriced)?;
    Ok(())
}

fn warn(terminal: &mut Terminal<'_>, total: &Totals, unpriced: &[Unpriced]) -> Result<(), Failure> {
    const NAMED: usize = 4;
    if total.unpriced == 0 {
        return Ok(());
    }
    let mut names: Vec<String> = unpriced
        .iter()
        .take(NAMED)
        .map(|Unpriced { provider, model, calls }| {
            let model = model.as_deref().map_or_else(|| "unknown model".to_owned(), line);
            let at = provider.as_deref().map_or_else(String::new, |provider| format!(" at {}", line(provider)));
            let times = if *calls > 1 { format!(" ({})", count(*calls)) } else { String::new() };
            format!("{model}{at}{times}")
        })
        .collect();
    if unpriced.len() > NAMED {
        names.push(format!("{} more", unpriced.len() - NAMED));
    }
    let text =
        format!("{} without a known cost, not in the sum: {}", number_of(total.unpriced, "call"), names.join(", "));
    writeln!(terminal.out)?;
    for text in wrap(&text, terminal.width) {
        let text = terminal.paint(Style::Warn, &text);
        writeln!(terminal.out, "{text}")?;
    }
    Ok(())
}

fn by(group: Group) -> By {
    match group {
        Group::Model => By::Model,
        Group::Provider => By::Provider,
        Group::User => By::User,
        Group::Session => By::Session,
        Group::Day => By::QuarterHour,
    }
}

/// Days by date; everything else by cost, the highest first.
fn groups(
    found: Vec<(Option<String>, Totals)>,
    group: Group,
    terminal: &Terminal<'_>,
) -> Vec<(Option<String>, Totals)> {
    if group == Group::Day {
        const QUARTER_HOUR_MS: i64 = 900_000;
        let mut days = BTreeMap::<String, Totals>::new();
        for (quarter, totals) in found {
            let quarter = quarter.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
            days.entry(terminal.day(quarter * QUARTER_HOUR_MS)).or_default().merge(&totals);
        }
        return days.into_iter().map(|(day, totals)| (Some(day), totals)).collect();
    }
    let mut found = found;
    found.sort_by(|(a, first), (b, second)| {
        second.cost.cmp(&first.cost).then(second.calls.cmp(&first.calls)).then(a.cmp(b))
    });
    found
}

fn columns(name: &'static str) -> [Column; 8] {
    [
        Column::text(name, 14, 1),
        Column::number("calls"),
        Column::number("errors"),
        Column::number("in"),
        Column::number("cached"),
        Column::number("out"),
        Column::number("reasoning"),
        Column::amount("cost"),
    ]
}

fn row(name: Cell, totals: &Totals, style: Style) -> Line {
    let number = |number: u64| cell(style, if number == 0 { String::new() } else { count(number) });
    let errors = if style == Style::Plain { Style::Bad } else { style };
    let cost =
        if totals.calls == totals.unpriced { cell(Style::Warn, "?") } else { cell(style, exact_money(totals.cost)) };
    Line::Row(vec![
        name,
        number(totals.calls),
        cell(errors, if totals.errors == 0 { String::new() } else { count(totals.errors) }),
        number(totals.total_input_tokens),
        number(totals.cache_read_input_tokens),
        number(totals.output_tokens),
        number(totals.reasoning_tokens),
        cost,
    ])
}

/// Reads `7d`, a date, or a time; what names no zone is in the local one.
pub(super) fn since(option: &str, text: &str, terminal: &Terminal<'_>) -> Result<Timestamp, Failure> {
    let text = text.trim();
    let local = |time: DateTime| time.to_zoned(terminal.zone.clone()).ok().map(|time| time.timestamp());
    let found = ago(text, terminal.now)
        .or_else(|| text.parse::<Timestamp>().ok())
        .or_else(|| local(text.parse::<DateTime>().ok()?))
        .or_else(|| local(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())));
    found.ok_or_else(|| {
        let text = line(text);
        Failure::Usage(format!(
            "{option} {text:?}: expected a date such as 2026-07-01, a time such as 2026-07-01T09:30, or 90m, 24h, 7d, 4w"
        ))
    })
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: i64 = text[..text.len() - 1].parse().ok().filter(|number| *number >= 0)?;
    let time = now.checked_sub(SignedDuration::from_secs(number.checked_mul(seconds)?));
    // Longer ago than a calendar reaches is everything.
    Some(time.unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn since_takes_what_people_write() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let terminal = Terminal {
            out: &mut out,
            err: &mut err,
            width: None,
            colour: false,
            zone: TimeZone::fixed(jiff::tz::offset(2)),
            now: "2026-07-04T12:00:00Z".parse().unwrap(),
        };
        for (text, found) in [
            ("90m", "2026-07-04T10:30:00Z"),
            ("7d", "2026-06-27T12:00:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("2026-07-01T09:30", "2026-07-01T07:30:00Z"),
            ("2026-07-01T09:30:00Z", "2026-07-01T09:30:00Z"),
            ("999999999999w", "-009999-01-02T01:59:59Z"),
        ] {
            assert_eq!(since("--since", text, &terminal).ok().unwrap().to_string(), found, "{text}");
        }
        for text in ["", "d", "-1d", "yesterday", "2026-13-01", "7 d", "7é"] {
            assert!(matches!(since("--since", text, &terminal), Err(Failure::Usage(_))), "{text}");
        }
    }
}
