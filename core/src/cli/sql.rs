//! `llmtrail sql`: questions to the store that nothing else answers.

use rusqlite::types::Value as Cell;
use serde_json::{Map, Value};

use super::table::{Align, Column, Line, cell, print};
use super::terminal::{Style, Terminal, line};
use super::{Common, Failure};

/// Ask the store in SQL, read-only
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail sql \"SELECT model, count(*), sum(total_cost_usd) FROM calls GROUP BY 1 ORDER BY 3 DESC\"
  llmtrail sql \"SELECT timestamp, user, input_preview FROM calls WHERE latency_s > 10\"
  llmtrail sql \"SELECT unpack(json) FROM contents ORDER BY size DESC LIMIT 1\"

calls has one row a call; the tables are described in docs/store.md. unpack() gives the text of a packed value.

--json: one object a line, a row each")]
pub(super) struct Args {
    /// The question
    sql: String,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let reader = args.common.reader()?;
    if args.common.json {
        let mut done = Ok(());
        reader.sql(&args.sql, |names, cells| {
            let row: Map<String, Value> = names.iter().cloned().zip(cells.iter().map(json)).collect();
            done = writeln!(terminal.out, "{}", Value::Object(row));
            done.is_ok()
        })?;
        return Ok(done?);
    }
    let mut heads: Vec<String> = Vec::new();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    reader.sql(&args.sql, |names, cells| {
        heads = names.to_vec();
        rows.push(cells.to_vec());
        true
    })?;
    if rows.is_empty() {
        writeln!(terminal.out, "No rows.")?;
        return Ok(());
    }
    // Where numbers are, they are to the right, so that they can be compared.
    let is_number = |at: usize| rows.iter().all(|row| matches!(row[at], Cell::Integer(_) | Cell::Real(_) | Cell::Null));
    let columns: Vec<Column> = (0..heads.len())
        .map(|at| Column {
            head: "",
            align: if is_number(at) { Align::Right } else { Align::Left },
            gives: (!is_number(at)).then_some((8, 1)),
            ellipsis: true,
        })
        .collect();
    let head = Line::Row(heads.iter().map(|head| cell(Style::Bold, line(head))).collect());
    let body = rows.iter().map(|row| Line::Row(row.iter().map(|value| cell(Style::Plain, text(value))).collect()));
    let lines: Vec<Line> = std::iter::once(head).chain(body).collect();
    print(terminal, &columns, &lines)?;
    Ok(())
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => line(text),
        Cell::Blob(bytes) => format!("[{} bytes]", bytes.len()),
    }
}

fn json(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Real(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Blob(bytes) => {
            use std::fmt::Write as _;
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            hex.into()
        }
    }
}
