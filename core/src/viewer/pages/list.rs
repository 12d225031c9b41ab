//! What lists have in common: columns that sort, pages, rows to walk through with the keyboard.

use maud::{Markup, html};

use super::super::gather::Slice;
use super::super::page::{Context, number};
use super::ROWS;

/// A column.
pub(super) struct Column {
    pub(super) key: &'static str,
    pub(super) head: &'static str,
    pub(super) class: &'static str,
    /// Whether it can be sorted by, and then if the highest comes first.
    pub(super) sorts: Option<bool>,
}

pub(super) const fn text(key: &'static str, head: &'static str) -> Column {
    Column { key, head, class: "", sorts: None }
}

pub(super) const fn figure(key: &'static str, head: &'static str) -> Column {
    Column { key, head, class: "number", sorts: Some(true) }
}

/// Which column the rows are sorted by, and whether the highest comes first.
pub(super) fn order(context: &Context, columns: &[Column], default: &'static str) -> (&'static str, bool) {
    let asked = context.address.get("sort").unwrap_or(default);
    let (asked, turned) = asked.strip_prefix('-').map_or((asked, false), |asked| (asked, true));
    let column = columns.iter().find(|column| column.key == asked && column.sorts.is_some());
    let column = column.or_else(|| columns.iter().find(|column| column.key == default));
    column.map_or((default, true), |column| (column.key, column.sorts.unwrap_or(true) != turned))
}

/// The rows of the page that was asked for.
pub(super) fn slice(context: &Context, (_, falls): (&str, bool)) -> Slice {
    Slice { from: number_of_page(context) * ROWS, len: ROWS, falls }
}

fn number_of_page(context: &Context) -> usize {
    context.address.get("page").and_then(|page| page.parse::<usize>().ok()).unwrap_or(1).clamp(1, 1_000_000) - 1
}

/// The table, and the way to other pages of it.
pub(super) fn table(
    context: &Context,
    caption: &str,
    columns: &[Column],
    sorted: (&str, bool),
    total: usize,
    rows: &Markup,
) -> Markup {
    let page = number_of_page(context);
    let pages = total.div_ceil(ROWS).max(1);
    html! {
        div.scroll {
            table.list {
                caption.visually-hidden { (caption) }
                thead { tr {
                    @for column in columns {
                        @let here = sorted.0 == column.key;
                        th scope="col" class=(format!("{} c-{}", column.class, column.key))
                            aria-sort=[here.then_some(if sorted.1 { "descending" } else { "ascending" })] {
                            @if let Some(first) = column.sorts {
                                @let turned = here && sorted.1 == first;
                                @let key = if turned { format!("-{}", column.key) } else { column.key.to_owned() };
                                a href=(context.address.with(&[("sort", &key), ("page", "")])) {
                                    (column.head) @if here { span.way aria-hidden="true" { (if sorted.1 { " ↓" } else { " ↑" }) } }
                                }
                            } @else { (column.head) }
                        }
                    }
                } }
                tbody #rows { (rows) }
            }
        }
        nav.pages aria-label="Pages of the list" {
            @if page > 0 { a rel="prev" href=(context.address.with(&[("page", &page.to_string())])) { "← Previous" } }
            span { (number((page * ROWS + 1).min(total) as u64)) "–" (number(((page + 1) * ROWS).min(total) as u64)) " of " (number(total as u64)) }
            @if page + 1 < pages { a rel="next" href=(context.address.with(&[("page", &(page + 2).to_string())])) { "Next →" } }
        }
    }
}
