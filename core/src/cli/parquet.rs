//! Calls as Parquet: columns with types, for data frames and warehouses.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::Result as Written;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rusqlite::types::Value as Cell;

use super::Failure;
use super::terminal::Terminal;
use crate::error::{Error, ErrorKind};
use crate::store::Reader;

/// Calls in one group of rows: what is in memory at once.
const GROUP: usize = 20_000;

/// What a column holds. An absent value is null, but in the first three columns there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Text,
    /// Milliseconds since 1970, UTC.
    Time,
    Switch,
    Real,
    /// A decimal with 18 digits after the point.
    Money,
}

/// The columns: their names, what they hold, and where they are from when that has another name in the view `calls`.
const COLUMNS: [(&str, Kind, &str); 33] = [
    ("id", Kind::Whole, ""),
    ("uuid", Kind::Text, ""),
    ("timestamp", Kind::Time, "timestamp_ms"),
    ("event", Kind::Text, ""),
    ("user", Kind::Text, "nullif(distinct_id, trace_id)"),
    ("session_id", Kind::Text, ""),
    ("trace_id", Kind::Text, ""),
    ("span_id", Kind::Text, ""),
    ("parent_id", Kind::Text, ""),
    ("name", Kind::Text, ""),
    ("provider", Kind::Text, ""),
    ("model", Kind::Text, ""),
    ("http_status", Kind::Whole, ""),
    ("is_error", Kind::Switch, ""),
    ("error_type", Kind::Text, ""),
    ("error", Kind::Text, ""),
    ("stream_status", Kind::Text, ""),
    ("stop_reason", Kind::Text, ""),
    ("retries", Kind::Whole, ""),
    ("latency_s", Kind::Real, "latency"),
    ("time_to_first_token_s", Kind::Real, "time_to_first_token"),
    ("total_input_tokens", Kind::Whole, ""),
    ("cache_read_input_tokens", Kind::Whole, ""),
    ("cache_creation_input_tokens", Kind::Whole, ""),
    ("output_tokens", Kind::Whole, ""),
    ("reasoning_tokens", Kind::Whole, ""),
    // The lower digits come after it.
    ("total_cost_usd", Kind::Money, "cost_nano"),
    ("cost_source", Kind::Text, ""),
    ("cache_saved_usd", Kind::Real, ""),
    ("tools_called", Kind::Text, ""),
    ("input_preview", Kind::Text, ""),
    ("output_preview", Kind::Text, ""),
    ("properties", Kind::Text, ""),
];

/// How many of the first columns are never null.
const REQUIRED: usize = 3;

/// The columns as Parquet names them.
fn schema() -> String {
    let column = |(at, (name, kind, _)): (usize, &(&str, Kind, &str))| {
        let often = if at < REQUIRED { "REQUIRED" } else { "OPTIONAL" };
        match kind {
            Kind::Whole => format!("{often} INT64 {name};"),
            Kind::Text => format!("{often} BYTE_ARRAY {name} (STRING);"),
            Kind::Time => format!("{often} INT64 {name} (TIMESTAMP(MILLIS,true));"),
            Kind::Switch => format!("{often} BOOLEAN {name};"),
            Kind::Real => format!("{often} DOUBLE {name};"),
            Kind::Money => format!("{often} FIXED_LEN_BYTE_ARRAY (16) {name} (DECIMAL(38,18));"),
        }
    };
    let columns: Vec<String> = COLUMNS.iter().enumerate().map(column).collect();
    format!("message calls {{ {} }}", columns.join(" "))
}

fn question(since: i64) -> String {
    let from = |(name, kind, from): &(&str, Kind, &str)| {
        let from = if from.is_empty() { name } else { from };
        if *kind == Kind::Money { format!("{from}, cost_atto") } else { (*from).to_owned() }
    };
    let columns: Vec<String> = COLUMNS.iter().map(from).collect();
    format!(
        "SELECT {} FROM events WHERE id IN (SELECT id FROM event_rows WHERE event IN (1, 2) AND timestamp_ms >= {since})
         ORDER BY id",
        columns.join(", ")
    )
}

/// Bytes that were written and not yet passed on: the writer keeps its output to itself until the end.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn pass_on(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        out.write_all(&bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the calls since a time (milliseconds since 1970).
pub(super) fn write(reader: &Reader, since: i64, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let pipe = Pipe::default();
    let schema = parse_message_type(&schema()).map_err(fail)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("llmtrail {}", env!("CARGO_PKG_VERSION")))
        .build();
    let mut file = SerializedFileWriter::new(pipe.clone(), Arc::new(schema), Arc::new(properties)).map_err(fail)?;
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut done: Result<(), Failure> = Ok(());
    let mut flush = |file: &mut SerializedFileWriter<Pipe>, rows: &mut Vec<Vec<Cell>>| -> Result<(), Failure> {
        group(file, rows).map_err(fail)?;
        rows.clear();
        Ok(pipe.pass_on(terminal.out)?)
    };
    reader.sql(&question(since), |_, cells| {
        rows.push(cells.to_vec());
        if rows.len() == GROUP {
            done = flush(&mut file, &mut rows);
        }
        done.is_ok()
    })?;
    done?;
    if !rows.is_empty() {
        flush(&mut file, &mut rows)?;
    }
    file.close().map_err(fail)?;
    Ok(pipe.pass_on(terminal.out)?)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn fail(error: parquet::errors::ParquetError) -> Failure {
    Error::new(ErrorKind::Input, format!("Parquet cannot be written: {error}")).into()
}

/// Writes some rows.
fn group(file: &mut SerializedFileWriter<Pipe>, rows: &[Vec<Cell>]) -> Written<()> {
    let mut group = file.next_row_group()?;
    // In the question; an amount of money takes two.
    let mut from = 0;
    for (at, (_, kind, _)) in COLUMNS.iter().enumerate() {
        let is_required = at < REQUIRED;
        let Some(mut column) = group.next_column()? else { break };
        let cells = || rows.iter().map(|row| &row[from]);
        match column.untyped() {
            ColumnWriter::Int64ColumnWriter(writer) => {
                let values: Vec<Option<i64>> = cells().map(whole).collect();
                let (values, levels) = present(values, is_required);
                writer.write_batch(&values, levels.as_deref(), None)?;
            }
            ColumnWriter::BoolColumnWriter(writer) => {
                let values = cells().map(|cell| whole(cell).map(|number| number != 0)).collect();
                let (values, levels) = present(values, is_required);
                writer.write_batch(&values, levels.as_deref(), None)?;
            }
            ColumnWriter::DoubleColumnWriter(writer) => {
                let (values, levels) = present(cells().map(real).collect(), is_required);
                writer.write_batch(&values, levels.as_deref(), None)?;
            }
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let (values, levels) = present(cells().map(text).collect(), is_required);
                writer.write_batch(&values, levels.as_deref(), None)?;
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                let money = rows.iter().map(|row| {
                    let (nano, atto) = (whole(&row[from])?, whole(&row[from + 1])?);
                    let amount = i128::from(nano) * 1_000_000_000 + i128::from(atto);
                    Some(FixedLenByteArray::from(amount.to_be_bytes().to_vec()))
                });
                let (values, levels) = present(money.collect(), is_required);
                writer.write_batch(&values, levels.as_deref(), None)?;
            }
            _ => {}
        }
        column.close()?;
        from += if *kind == Kind::Money { 2 } else { 1 };
    }
    group.close()?;
    Ok(())
}

/// The values that are there, and of each whether it is.
fn present<T: Default>(values: Vec<Option<T>>, is_required: bool) -> (Vec<T>, Option<Vec<i16>>) {
    if is_required {
        return (values.into_iter().map(Option::unwrap_or_default).collect(), None);
    }
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (values.into_iter().flatten().collect(), Some(levels))
}

fn whole(cell: &Cell) -> Option<i64> {
    if let Cell::Integer(number) = cell { Some(*number) } else { None }
}

fn real(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Integer(number) => Some(*number as f64),
        Cell::Real(number) => Some(*number),
        _ => None,
    }
}

fn text(cell: &Cell) -> Option<ByteArray> {
    if let Cell::Text(text) = cell { Some(text.as_str().into()) } else { None }
}
