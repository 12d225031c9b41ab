//! `llmtrail tail`: calls as they come.

use std::time::Duration;

use super::ls::{label, status};
use super::table::{Cell, Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, money, seconds};
use super::{Common, Failure, json};
use crate::store::{Reader, Row};

/// Show the last calls, and with -f those that come
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail tail                the last 10 calls
  llmtrail tail -f             and then every one that comes, until Ctrl-C
  llmtrail tail -f --json | jq -c '[.model, .total_cost_usd]'

--json: one object a line, as the events of ls --json")]
pub(super) struct Args {
    /// How many of the last calls
    #[arg(long, short = 'n', value_name = "N", default_value = "10")]
    limit: usize,
    /// Go on with what comes
    #[arg(long, short = 'f')]
    follow: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(300);
    let mut reader = args.common.reader()?;
    let (mut last, rows) = reader.last_calls(args.limit)?;
    show(args, &rows, terminal)?;
    if !args.follow {
        return Ok(());
    }
    loop {
        terminal.out.flush()?;
        std::thread::sleep(PAUSE);
        if !reader.is_there()
            && let Some(other) = Reader::open(&args.common.dir()?)?
        {
            reader = other;
            let (now, rows) = reader.last_calls(args.limit)?;
            last = now;
            show(args, &rows, terminal)?;
            continue;
        }
        let (now, rows) = reader.calls_after(last)?;
        last = now;
        show(args, &rows, terminal)?;
    }
}

fn show(args: &Args, rows: &[Row], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if args.common.json {
        for row in rows {
            writeln!(terminal.out, "{}", serde_json::Value::Object(json::row(row, 0)))?;
        }
        return Ok(());
    }
    let columns = [
        Column::text("", 8, 30),
        Column::text("", 14, 10),
        Column::text("", 4, 5),
        Column::number(""),
        Column::number(""),
        Column::amount(""),
        Column::text("", 10, 4),
    ];
    let lines: Vec<Line> = rows.iter().map(|row| Line::Row(cells(row, terminal))).collect();
    print(terminal, &columns, &lines)?;
    Ok(())
}

fn cells(row: &Row, terminal: &Terminal<'_>) -> Vec<Cell> {
    let tokens = |number: Option<i64>| {
        number.and_then(|number| u64::try_from(number).ok()).map_or_else(|| "–".to_owned(), count)
    };
    let said = row.input_preview.as_deref().map(super::terminal::line).unwrap_or_default();
    vec![
        cell(Style::Dim, terminal.time(row.timestamp_ms)),
        label(row, Style::Bold),
        status(row),
        cell(Style::Plain, format!("{}→{}", tokens(row.total_input_tokens), tokens(row.output_tokens))),
        cell(Style::Plain, row.latency.map_or_else(String::new, seconds)),
        row.total_cost_usd_exact.map_or_else(|| cell(Style::Warn, "?"), |cost| cell(Style::Plain, money(cost))),
        cell(Style::Dim, said),
    ]
}
