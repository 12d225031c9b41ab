//! Sessions and people: calls by an id.

use std::collections::HashMap;

use maud::{Markup, html};

use super::super::gather::{self, Member};
use super::super::page::{Context, cost, nothing, number, tokens};
use super::super::query::By;
use super::groups::{CALLS, COST, FAILED, LAST, TOKENS, TRACES, failed};
use super::list::{self, Column, text};
use super::{Made, Page};

/// A list of sessions or people.
pub(super) struct List {
    title: &'static str,
    what: &'static str,
    columns: &'static [Column],
    sort: &'static str,
    by: By,
    empty: &'static str,
}

pub(super) const SESSIONS: List = List {
    title: "Sessions",
    what: "session",
    columns: &[LAST, text("name", "Session"), text("user", "User"), TRACES, CALLS, FAILED, TOKENS, COST],
    sort: "last",
    by: By::Session,
    empty: "No call in this time named a session: give session_id to a trace.",
};

pub(super) const USERS: List = List {
    title: "Users",
    what: "user",
    columns: &[text("name", "User"), TRACES, CALLS, FAILED, TOKENS, COST, LAST],
    sort: "cost",
    by: By::User,
    empty: "No call in this time named a user: give distinct_id to a trace.",
};

pub(super) fn page(page: &mut Page<'_>, list: &List) -> Made {
    let sorted = list::order(&page.context, list.columns, list.sort);
    let (data, ready) = page.ask();
    let (total, shown) = gather::members(&data, &ready, list.by, sorted.0, list::slice(&page.context, sorted));
    let is_empty = data.len == 0;
    drop(data);
    let texts = page.ids(shown.iter().flat_map(|member| [member.number, member.user]))?;
    let rows = html! { @for member in &shown { (row(&page.context, list, member, &texts)) } };
    Ok(html! {
        h1 { (list.title) " " small { (number(total as u64)) " in " (page.context.range.name) } }
        (page.notes())
        @if is_empty { (super::overview::welcome(page)) }
        @else if total == 0 { (nothing(&format!("No {}", list.title.to_lowercase()), list.empty)) }
        @else { (list::table(&page.context, list.title, list.columns, sorted, total, &rows)) }
    })
}

fn row(context: &Context, list: &List, member: &Member, texts: &HashMap<u32, String>) -> Markup {
    let text = |number: u32| texts.get(&number).map(String::as_str);
    // One that was removed meanwhile has no name any more.
    let key = text(member.number).unwrap_or("–");
    html! {
        tr data-key=(key) {
            @for column in list.columns {
                td class=(format!("{} c-{}", column.class, column.key)) {
                    @match column.key {
                        "name" => { a.open href=(context.address.only("/traces", list.what, key)) { (key) } },
                        "user" => (context.narrow("user", text(member.user))),
                        "calls" => (number(member.sums.calls)),
                        "errors" => (failed(&member.sums)),
                        "traces" => (number(member.traces)),
                        "tokens" => (tokens(member.sums.input, member.sums.output)),
                        "cost" => (cost(&member.sums)),
                        _ => (context.time(member.last)),
                    }
                }
            }
        }
    }
}
