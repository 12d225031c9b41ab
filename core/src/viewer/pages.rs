//! Which page an address is.

mod cost;
mod generation;
mod generations;
mod groups;
mod health;
mod list;
mod overview;
mod trace;
mod traces;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::RwLockReadGuard;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::data::Data;
use super::filter::Filter;
use super::load::Store;
use super::page::{Address, Context, RANGES, Range, nothing};
use super::query::Ready;
use super::server::Answer;

const CSS: &str = include_str!("assets/app.css");
const JS: &str = include_str!("assets/app.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Rows of a list on one page.
pub(super) const ROWS: usize = 50;

/// How many events words may lead to: those that were written last.
const FOUND: usize = 5000;

/// How long a page may take for an index of words that is not there yet.
const INDEXING: Duration = Duration::from_millis(150);

/// A page in the making.
pub(super) struct Page<'a> {
    pub(super) context: Context,
    pub(super) store: &'a Store,
    pub(super) filter: Filter,
    /// What is not in the index of words yet.
    pub(super) note: Option<String>,
}

impl<'a> Page<'a> {
    /// The data and the filter, ready to be asked.
    pub(super) fn ask(&mut self) -> (RwLockReadGuard<'a, Data>, Ready) {
        let (store, since) = (self.store, self.context.since());
        let mut note = None;
        // Words are looked up first: while they are, nothing else has to wait.
        let words: Vec<(String, HashSet<i64>)> = self
            .filter
            .terms
            .iter()
            .filter_map(|term| match &term.test {
                super::filter::Test::Words(words) => Some(words.clone()),
                _ => None,
            })
            .map(|words| {
                let found = store.read(|reader| reader.search(&words, FOUND, INDEXING));
                let ids = match found {
                    Ok((ids, progress)) => {
                        if !progress.is_complete() {
                            note = Some(format!(
                                "Messages are being indexed: {} of {} can be found by now.",
                                super::page::number(progress.done),
                                super::page::number(progress.total)
                            ));
                        }
                        ids
                    }
                    Err(error) => {
                        note = Some(error.to_string());
                        Vec::new()
                    }
                };
                (words, ids.into_iter().collect())
            })
            .collect();
        self.note = note;
        let data = self.store.since(since);
        let find = |wanted: &str| {
            words.iter().find(|(words, _)| words == wanted).map(|(_, ids)| ids.clone()).unwrap_or_default()
        };
        let ready = Ready::new(&data, &self.filter, since, find);
        (data, ready)
    }

    /// What has to be said above a list.
    pub(super) fn notes(&self) -> Markup {
        html! {
            @if let Some(trouble) = self.store.trouble() { p.wrong role="alert" { (trouble) } }
            @if let Some(note) = &self.note { p.note role="status" data-busy { (note) } }
        }
    }
}

/// The answer to an address. `part` names the part of a page that is wanted alone.
pub(super) fn answer(store: &Arc<Store>, path: &str, address: Address, part: Option<&str>) -> Answer {
    match path {
        "/assets/app.css" => {
            return Answer { status: StatusCode::OK, kind: "text/css; charset=utf-8", body: CSS.to_owned() };
        }
        "/assets/app.js" => {
            return Answer { status: StatusCode::OK, kind: "text/javascript; charset=utf-8", body: JS.to_owned() };
        }
        "/assets/icon.svg" | "/favicon.ico" => {
            return Answer { status: StatusCode::OK, kind: "image/svg+xml", body: ICON.to_owned() };
        }
        "/version" => {
            let version = store.version();
            return Answer::json(format!("{{\"last\":{},\"removals\":{}}}", version.last, version.removals));
        }
        _ => {}
    }
    let now = Timestamp::now().as_millisecond();
    let (filter, wrong) = match Filter::parse(address.get("q").unwrap_or_default()) {
        Ok(filter) => (filter, None),
        Err(why) => (Filter::default(), Some(why)),
    };
    let range = range(store, &address, now);
    let context = Context { address, range, now, zone: TimeZone::system(), wrong };
    let mut page = Page { context, store, filter, note: None };
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let made = match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [""] => Ok(("Overview", "/", overview::page(&mut page))),
        ["traces"] => traces::page(&mut page).map(|body| ("Traces", "/traces", body)),
        ["generations"] => generations::page(&mut page).map(|body| ("Generations", "/generations", body)),
        ["sessions"] => Ok(("Sessions", "/sessions", groups::page(&mut page, &groups::SESSIONS))),
        ["users"] => Ok(("Users", "/users", groups::page(&mut page, &groups::USERS))),
        ["models"] => Ok(("Models", "/models", groups::page(&mut page, &groups::MODELS))),
        ["errors"] => Ok(("Errors", "/errors", groups::page(&mut page, &groups::ERRORS))),
        ["tools"] => Ok(("Tools", "/tools", groups::page(&mut page, &groups::TOOLS))),
        ["health"] => health::page(&mut page).map(|body| ("Health", "/health", body)),
        ["trace", id] => match trace::page(&mut page, id, part) {
            Ok(Some((title, body))) => {
                return if part.is_some() {
                    Answer::html(body.into_string())
                } else {
                    Answer::html(page.context.frame(&title, "/traces", &body))
                };
            }
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        },
        ["event", uuid] => match generation::page(&mut page, uuid) {
            Ok(Some((title, body))) => return Answer::html(page.context.frame(&title, "/generations", &body)),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        },
        ["event", uuid, "copy"] => return generation::copy(&page, uuid),
        _ => Err(None),
    };
    match made {
        Ok((_, _, body)) if part.is_some() => Answer::html(body.into_string()),
        Ok((title, place, body)) => Answer::html(page.context.frame(title, place, &body)),
        Err(why) => {
            let (status, title, text) = match why {
                Some(error) => (StatusCode::INTERNAL_SERVER_ERROR, "This cannot be read", error.to_string()),
                None => (
                    StatusCode::NOT_FOUND,
                    "There is nothing here",
                    "It may have been removed, or it never was.".to_owned(),
                ),
            };
            let body = nothing(title, &text);
            let body = if part.is_some() { body.into_string() } else { page.context.frame(title, "", &body) };
            Answer { status, ..Answer::html(body) }
        }
    }
}

type Made = std::result::Result<Markup, Option<crate::error::Error>>;

/// The range that was asked for, or the shortest from a day on that has something in it.
fn range(store: &Store, address: &Address, now: i64) -> Range {
    let asked = address.get("range").and_then(|key| RANGES.iter().find(|range| range.key == key));
    if let Some(range) = asked {
        return *range;
    }
    let newest = store.newest();
    let reaches =
        |range: &&Range| range.millis.is_none_or(|millis| newest.is_some_and(|newest| newest >= now - millis));
    RANGES.iter().skip(1).find(reaches).copied().unwrap_or(RANGES[4])
}
