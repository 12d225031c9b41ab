//! Which page an address is.

mod cost;
mod generation;
mod generations;
mod groups;
mod health;
mod list;
mod members;
mod overview;
mod trace;
mod traces;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::RwLockReadGuard;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::data::{Data, LONE};
use super::filter::{Field, Filter, Term, Test};
use super::gather::Trace;
use super::load::Store;
use super::page::{Address, Context, RANGES, Range, number};
use super::query::{Found, Ready};
use super::server::Answer;
use crate::error::Result;

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
    /// What has to be said of what was found, and whether there will be more soon.
    pub(super) notes: Vec<(String, bool)>,
    /// When the range begins that the page shows, in place of the one that was asked for, as long as the rest is read.
    pub(super) only_since: Option<i64>,
}

impl<'a> Page<'a> {
    /// The data and the filter, ready to be asked.
    pub(super) fn ask(&mut self) -> (RwLockReadGuard<'a, Data>, Ready) {
        // The file is asked first: while it is, nothing else has to wait.
        let mut notes = Vec::new();
        let find = |term: &Term| {
            self.find(&term.test, &mut notes).unwrap_or_else(|error| {
                notes.push((error.to_string(), false));
                Found::default()
            })
        };
        let found = self.filter.terms.iter().map(find).collect();
        self.notes = notes;
        let asked = self.context.since();
        let data = self.store.since(asked);
        // Of the time before there may be a part, whose sums would be neither those of all nor of anything else.
        self.only_since = (data.is_long() && data.since > asked).then_some(data.since);
        let ready = Ready::new(&data, &self.filter, self.only_since.unwrap_or(asked), found);
        (data, ready)
    }

    /// What the file says about a condition.
    fn find(&self, test: &Test, notes: &mut Vec<(String, bool)>) -> Result<Found> {
        let mut found = Found::default();
        match test {
            Test::Words(words) => {
                let (ids, progress) = self.store.read(|reader| reader.search(words, FOUND, INDEXING))?;
                if !progress.is_complete() {
                    let (done, total) = (number(progress.done), number(progress.total));
                    notes.push((format!("Messages are being indexed: {done} of {total} can be found by now."), true));
                }
                if ids.len() >= FOUND {
                    let found = number(FOUND as u64);
                    notes.push((format!("Very many messages have “{words}”: only the {found} events with it that were written last are looked at."), false));
                }
                found.events.extend(ids);
            }
            Test::Text(field @ (Field::Trace | Field::Session | Field::User), pattern) => {
                found.ids = self.store.ids_like(pattern)?;
                if *field == Field::Trace {
                    found.events = self.store.lone_like(pattern)?;
                }
            }
            _ => {}
        }
        Ok(found)
    }

    /// The ids of traces, with those of whom and what session they were for.
    pub(super) fn texts(
        &self,
        traces: &[Trace],
    ) -> std::result::Result<HashMap<u32, String>, Option<crate::error::Error>> {
        let numbers = traces.iter().flat_map(|trace| [trace.number, trace.user, trace.session]);
        let mut texts = self.ids(numbers)?;
        for trace in traces.iter().filter(|trace| trace.number & LONE != 0) {
            // It is its own event's.
            let id = trace.any;
            let uuid = self.store.read(|reader| reader.uuid(id)).map_err(Some)?;
            texts.extend(uuid.map(|uuid| (trace.number, uuid)));
        }
        Ok(texts)
    }

    /// Ids of traces, sessions and people by their numbers.
    pub(super) fn ids(
        &self,
        numbers: impl Iterator<Item = u32>,
    ) -> std::result::Result<HashMap<u32, String>, Option<crate::error::Error>> {
        let mut numbers: Vec<u32> = numbers.filter(|number| *number != 0 && *number & LONE == 0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            return Ok(HashMap::new());
        }
        let texts = self.store.read(|reader| reader.ids(&numbers)).map_err(Some)?;
        Ok(texts.into_iter().collect())
    }

    /// What has to be said above a list.
    pub(super) fn notes(&self) -> Markup {
        html! {
            @if let Some(trouble) = self.store.trouble() { p.wrong role="alert" { (trouble) } }
            @if let Some(since) = self.only_since { p.note role="status" data-busy {
                "Still reading the store: by now this shows what began since " (self.context.time(since)) ". The rest follows by itself."
            } }
            @for (note, is_busy) in &self.notes { p.note role="status" data-busy[*is_busy] { (note) } }
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
            return Answer::json(format!("{{\"last\":{},\"changes\":{}}}", version.last, version.changes));
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
    let mut page = Page { context, store, filter, notes: Vec::new(), only_since: None };
    let segments: Vec<String> = path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let made = match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [""] => overview::page(&mut page).map(|body| ("Overview", "/", body)),
        ["traces"] => traces::page(&mut page).map(|body| ("Traces", "/traces", body)),
        ["generations"] => generations::page(&mut page).map(|body| ("Generations", "/generations", body)),
        ["sessions"] => members::page(&mut page, &members::SESSIONS).map(|body| ("Sessions", "/sessions", body)),
        ["users"] => members::page(&mut page, &members::USERS).map(|body| ("Users", "/users", body)),
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
            let body = html! { h1 { (title) } div.nothing { p { (text) } } };
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
