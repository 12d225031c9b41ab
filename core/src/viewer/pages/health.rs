//! What is recorded, by whom, and what is missing from it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::columns::Columns;
use super::super::data::{Form, Of};
use super::super::filter::KINDS;
use super::super::page::{number, share};
use super::{Made, Page};
use crate::cli::terminal::bytes;

pub(super) fn page(page: &mut Page<'_>) -> Made {
    let (data, ready) = page.ask();
    let mut of_form = vec![0; data.forms.len()];
    let (mut calls, mut without) = (0, 0);
    ready.each(&data, Of::Everything, Columns::INPUT.and(Columns::OUTPUT), |event, form| {
        of_form[event.form as usize] += 1;
        calls += u64::from(form.is_call());
        without += u64::from(form.is_call() && !form.is_error && event.input == 0 && event.output == 0);
    });
    let counts = |name: &dyn Fn(&Form) -> Option<String>| {
        let mut counts = BTreeMap::new();
        for (form, count) in data.forms.iter().zip(&of_form).filter(|(_, count)| **count > 0) {
            if let Some(name) = name(form) {
                *counts.entry(name).or_default() += *count;
            }
        }
        counts
    };
    let name = |number| data.text(number).unwrap_or("not said").to_owned();
    let of_call = |form: &Form, text: String| form.is_call().then_some(text);
    let kinds = counts(&|form| Some(KINDS[usize::from(form.kind).min(KINDS.len() - 1)].to_owned()));
    let languages = counts(&|form| Some(name(form.language)));
    let sources = counts(&|form| of_call(form, name(form.source)));
    let providers = counts(&|form| of_call(form, name(form.provider)));
    let unpriced = counts(&|form| form.is_unpriced.then(|| format!("{} at {}", name(form.model), name(form.provider))));
    let (newest, total) = (data.newest, data.len);
    drop(data);
    let facts = page.store.read_if_there(crate::store::Reader::facts).map_err(Some)?;
    let spool = spool(page);
    let context = &page.context;
    Ok(html! {
        h1 { "Health " small { (context.range.name) } }
        (page.notes())
        div.tops {
            section.top { h2 { "Observed" } (list("Observed", "Events", &kinds)) }
            section.top { h2 { "Providers" } (list("Providers", "Calls", &providers)) }
            section.top { h2 { "Recorded from" } (list("Recorded from", "Events", &languages)) }
            section.top { h2 { "Prices from" } (list("Prices from", "Calls", &sources)) }
            section.top {
                h2 { "Missing" }
                dl.facts {
                    dt { "No known price" } dd { (number(unpriced.values().sum())) " of " (number(calls)) " calls, " (share(unpriced.values().sum(), calls)) }
                    dt { "No usage" } dd { (number(without)) " calls" }
                }
                @if !unpriced.is_empty() { (list("No known price", "Calls", &unpriced)) }
            }
            section.top {
                h2 { "The store" }
                dl.facts {
                    dt { "File" } dd { code { (page.store.path().display()) } }
                    @if let Some(facts) = &facts {
                        dt { "Size" } dd { (bytes(facts.bytes)) ", and " (bytes(facts.log_bytes)) " of log" }
                        dt { "Events" } dd { (number(total)) @if page.only_since.is_some() { " read by now" } }
                        @if facts.content_bytes > 0 {
                            dt { "Messages" } dd { (number(facts.contents)) " kept once each, " (bytes(facts.content_bytes)) " packed into " (bytes(facts.packed_bytes)) }
                        }
                        dt { "Search" } dd { @if facts.search_bytes > 0 { (bytes(facts.search_bytes)) " of index" } @else { "not indexed yet: it is when somebody first searches" } }
                        dt { "Schema" } dd { "version " (facts.schema) }
                    } @else { dt { "State" } dd { "not made yet" } }
                    @if let Some(newest) = newest { dt { "Latest event" } dd { (context.exact(newest)) } }
                    dt { "Spool" } dd { @if let Some((files, size)) = spool { (number(files)) " files, " (bytes(size)) " still to be sent" } @else { "empty" } }
                }
                p.note { "What a running program has queued or dropped, and why, is in its own stats()." }
            }
        }
    })
}

/// Files that wait in the spool beside the store.
fn spool(page: &Page<'_>) -> Option<(u64, u64)> {
    let folder = page.store.path().with_file_name("spool");
    let mut sums = (0, 0);
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok().into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => sums = (sums.0 + 1, sums.1 + about.len()),
                Err(_) => {}
            }
        }
    }
    (sums.0 > 0).then_some(sums)
}

fn list(title: &str, what: &str, counts: &BTreeMap<String, u64>) -> Markup {
    let mut rows: Vec<(&String, &u64)> = counts.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1));
    html! {
        @if rows.is_empty() { p.note { "none" } }
        @else {
            table aria-label=(title) {
                thead.visually-hidden { tr { th scope="col" { "Name" } th scope="col" { (what) } } }
                tbody { @for (name, count) in rows.into_iter().take(12) { tr { th.name scope="row" { (name) } td.number { (number(*count)) } } } }
            }
        }
    }
}
