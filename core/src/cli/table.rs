//! Columns that fit: texts are cut, numbers never.

use std::io;

use super::terminal::{Style, Terminal, beginning, cut, width};

/// Which end of a column its texts are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
    /// Decimal points below each other.
    Point,
}

/// A column.
pub(super) struct Column {
    pub head: &'static str,
    pub align: Align,
    /// Down to how many columns it may be cut, and how much of its width it is worth: the column with the greatest
    /// width for its worth gives first. `None` for numbers.
    pub gives: Option<(usize, usize)>,
    /// Whether an ellipsis shows where it was cut. Not in ids, which still work without their ends.
    pub ellipsis: bool,
}

/// What stands in a column: pieces of text, each with its style.
pub(super) type Cell = Vec<(Style, String)>;

/// A cell of one style.
pub(super) fn cell(style: Style, text: impl Into<String>) -> Cell {
    vec![(style, text.into())]
}

/// A row of the table, or a line between rows.
pub(super) enum Line {
    Row(Vec<Cell>),
    Blank,
}

impl Column {
    /// A column of numbers.
    pub(super) const fn number(head: &'static str) -> Self {
        Self { head, align: Align::Right, gives: None, ellipsis: true }
    }

    /// A column of amounts.
    pub(super) const fn amount(head: &'static str) -> Self {
        Self { head, align: Align::Point, gives: None, ellipsis: true }
    }

    /// A column of texts, which may be cut.
    pub(super) const fn text(head: &'static str, least: usize, worth: usize) -> Self {
        Self { head, align: Align::Left, gives: Some((least, worth)), ellipsis: true }
    }
}

/// Prints lines under the columns' heads. A column that is empty in every row is left out.
pub(super) fn print(terminal: &mut Terminal<'_>, columns: &[Column], lines: &[Line]) -> io::Result<()> {
    let rows = || {
        lines.iter().filter_map(|line| match line {
            Line::Row(cells) => Some(cells),
            Line::Blank => None,
        })
    };
    let used: Vec<usize> = (0..columns.len()).filter(|at| rows().any(|row| cell_width(&row[*at]) > 0)).collect();
    // Digits after the point, for columns that are aligned at it.
    let tails: Vec<usize> = (0..columns.len()).map(|at| rows().map(|row| tail(&row[at])).max().unwrap_or(0)).collect();
    let wide = |at: usize, cell: &Cell| match columns[at].align {
        Align::Point => cell_width(cell) + tails[at] - tail(cell),
        _ => cell_width(cell),
    };
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|at| rows().map(|row| wide(at, &row[at])).max().unwrap_or(0).max(width(columns[at].head)))
        .collect();
    let mut gap = 2;
    if let Some(room) = terminal.width {
        let total = |widths: &[usize], gap| used.iter().map(|at| widths[*at] + gap).sum::<usize>().saturating_sub(gap);
        if terminal.is_narrow() && total(&widths, gap) > room {
            gap = 1;
        }
        while total(&widths, gap) > room {
            let gives = used.iter().copied().filter_map(|at| {
                let (least, worth) = columns[at].gives?;
                (widths[at] > least).then_some((at, widths[at] * 100 / worth))
            });
            let Some((at, _)) = gives.max_by_key(|(_, rank)| *rank) else { break };
            widths[at] -= 1;
        }
    }
    let heads: Vec<Cell> = columns.iter().map(|column| cell(Style::Dim, column.head)).collect();
    let has_heads = columns.iter().any(|column| !column.head.is_empty());
    for cells in has_heads.then_some(Some(&heads)).into_iter().chain(lines.iter().map(|line| match line {
        Line::Row(cells) => Some(cells),
        Line::Blank => None,
    })) {
        let mut text = String::new();
        let mut owed = 0;
        for (cells, at) in cells.iter().flat_map(|cells| used.iter().map(move |at| (*cells, *at))) {
            let shown = fit(&cells[at], widths[at], columns[at].ellipsis);
            let is_head = std::ptr::eq(cells, &raw const heads);
            let after = match columns[at].align {
                Align::Left => widths[at] - cell_width(&shown),
                Align::Right => 0,
                Align::Point if is_head => 0,
                Align::Point => tails[at] - tail(&shown),
            };
            let before = widths[at].saturating_sub(cell_width(&shown) + after);
            let ink = cell_width(&shown) > 0;
            if ink {
                text.push_str(&" ".repeat(owed + before));
                for (style, piece) in &shown {
                    text.push_str(&terminal.paint(*style, piece));
                }
                owed = after + gap;
            } else {
                owed += widths[at] + gap;
            }
        }
        writeln!(terminal.out, "{text}")?;
    }
    Ok(())
}

fn cell_width(cell: &Cell) -> usize {
    cell.iter().map(|(_, text)| width(text)).sum()
}

/// Columns from the decimal point on.
fn tail(cell: &Cell) -> usize {
    let pieces = cell.iter().map(|(_, text)| text.as_str());
    let text: String = pieces.collect();
    text.find('.').map_or(0, |at| width(&text[at..]))
}

fn fit(cell: &Cell, columns: usize, ellipsis: bool) -> Cell {
    /// Of what follows the main thing in a cell, a stump shorter than this says nothing.
    const STUMP: usize = 9;
    let mut room = columns;
    let mut out = Vec::new();
    for (style, text) in cell {
        if width(text) <= room {
            room -= width(text);
            out.push((*style, text.clone()));
            continue;
        }
        if !text.starts_with("  ") || room >= STUMP {
            let piece = if ellipsis { cut(text, room) } else { beginning(text, room).to_owned() };
            out.push((*style, piece));
        }
        break;
    }
    out
}
