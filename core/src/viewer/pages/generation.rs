//! One event: its conversation, what it used and cost, its parameters, and the event as it was captured.

use axum::http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::conversation::{self, Look};
use super::super::page::{Context, encode, number, took};
use super::super::server::Answer;
use super::super::snippets;
use super::generations::{cost_of, status_of};
use super::{Page, cost, trace};
use crate::error::Result;
use crate::store::{Reader, Row};

/// Characters of a raw event that a page shows; all of it can be copied.
const RAW: usize = 200_000;

/// The page of an event, with its title.
pub(super) fn page(page: &mut Page<'_>, uuid: &str) -> Result<Option<(String, Markup)>> {
    if !page.store.path().exists() {
        return Ok(None);
    }
    let Some(row) = page.store.read(|reader| reader.event(uuid))? else { return Ok(None) };
    let detail = detail(page, &row, false)?;
    let context = &page.context;
    let body = html! {
        p.crumbs {
            a href=(context.address.back("/generations")) { "Generations" } " / "
            @if let Some(trace) = &row.trace_id { a href=(context.address.to(&format!("/trace/{}", encode(trace)), &[("span", &row.uuid), ("sort", ""), ("page", "")])) { "in its trace" } " / " }
            code { (row.uuid) }
        }
        // The name stands with the rest of what is told of it, which in a trace is under the trace's own name.
        h1.visually-hidden { (trace::kind(&row)) }
        div.detail { (detail) }
    };
    Ok(Some((trace::label(&row), body)))
}

/// The text of an event to copy.
pub(super) fn copy(page: &Page<'_>, uuid: &str) -> Answer {
    let kind = page.context.address.get("as").unwrap_or("raw");
    match page.store.read(|reader| reader.event_json(uuid)) {
        Ok(Some(raw)) => match snippets::make(kind, &raw) {
            Some(text) => Answer::text(StatusCode::OK, text),
            None => Answer::text(StatusCode::NOT_FOUND, "There is no such form."),
        },
        Ok(None) => Answer::text(StatusCode::NOT_FOUND, "There is no such event."),
        Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Everything about an event.
pub(super) fn detail(page: &Page<'_>, row: &Row, in_trace: bool) -> Result<Markup> {
    let (raw, known) =
        page.store.read(|reader| Ok((reader.event_json(&row.uuid)?.unwrap_or_default(), known(reader, row)?)))?;
    let event: Value = serde_json::from_str(&raw).unwrap_or_default();
    let p = event.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let context = &page.context;
    let markdown = context.address.get("look") != Some("plain");
    let look = Look { markdown, known };
    let has_content = ["$ai_input", "$ai_output_choices", "$ai_input_state", "$ai_output_state", "$ai_error"]
        .iter()
        .any(|name| p.contains_key(*name));
    let is_call = row.is_call();
    let here = |look: &str| {
        if in_trace {
            context.address.with(&[("span", &row.uuid), ("look", look)])
        } else {
            context.address.with(&[("look", look)])
        }
    };
    Ok(html! {
        header.about {
            h2 { span class=(format!("kind {}", trace::kind(row))) role="img" aria-label=(trace::kind(row)) {} " " (trace::label(row)) " " (status_of(row)) }
            (facts(context, row, &p))
        }
        @if has_content {
            section aria-label="Conversation" {
                div.tools {
                    h3 { (if is_call { "Conversation" } else { "Input and output" }) }
                    span.toggle role="group" aria-label="Texts" {
                        a href=(here("")) data-detail aria-current=[markdown.then_some("true")] { "Markdown" }
                        a href=(here("plain")) data-detail aria-current=[(!markdown).then_some("true")] { "Plain" }
                    }
                    @if is_call { span.copy role="group" aria-label="Copy as" {
                        "Copy " @for (kind, name) in snippets::KINDS { button type="button" data-copy=(format!("/event/{}/copy?as={kind}", encode(&row.uuid))) { (name) } }
                    } }
                }
                (conversation::show(&p, look))
            }
        }
        @if is_call {
            details.panel open { summary { h3 { "Usage and cost" } span.money { (cost_of(row)) } } (usage(row, &p)) (cost::panel(row, &p)) }
        }
        @if let Some(parameters) = p.get("$ai_model_parameters").and_then(Value::as_object).filter(|some| !some.is_empty()) {
            details.panel { summary { h3 { "Parameters" } } (pairs(parameters)) }
        }
        @if let Some(tools) = p.get("$ai_tools").and_then(Value::as_array) {
            details.panel { summary { h3 { "Tools " small { (tools.len()) " offered" } } }
                @for tool in tools { (conversation::value(tool, look)) }
            }
        }
        @if let Some(own) = row.properties.as_deref().and_then(|own| serde_json::from_str::<Map<String, Value>>(own).ok()) {
            details.panel open { summary { h3 { "Properties" } } (pairs(&own)) }
        }
        details.panel { summary { h3 { "Raw event" } }
            @if raw.len() > RAW { p.note { "Too large to show here: copy it instead." } }
            @else { pre.json { code { (serde_json::to_string_pretty(&event).unwrap_or_default()) } } }
            @if !is_call { button type="button" data-copy=(format!("/event/{}/copy?as=raw", encode(&row.uuid))) { "Copy" } }
        }
    })
}

/// How many messages at the beginning are those of a call before it in the same trace or session.
fn known(reader: &Reader, row: &Row) -> Result<usize> {
    if row.event != "$ai_generation" {
        return Ok(0);
    }
    let own = reader.chain(&row.uuid)?;
    let mut most = 0;
    for uuid in reader.calls_before(row)? {
        let other = reader.chain(&uuid)?;
        most = most.max(own.iter().zip(&other).take_while(|(a, b)| a == b).count());
    }
    Ok(most)
}

fn facts(context: &Context, row: &Row, p: &Map<String, Value>) -> Markup {
    let text = |name: &str| p.get(name).and_then(Value::as_str);
    let user = Some(row.distinct_id.as_str()).filter(|user| Some(*user) != row.trace_id.as_deref());
    html! {
        dl.facts {
            dt { "Started" } dd { (context.exact(row.timestamp_ms)) }
            @if row.latency.is_some() { dt { "Took" } dd {
                (took(row.latency))
                @if row.time_to_first_token.is_some() { ", first token after " (took(row.time_to_first_token)) }
                @if let Some(pause) = p.get("$ai_consumer_pause").and_then(Value::as_f64) { ", and the reader paused for " (took(Some(pause))) }
            } }
            @if let Some(provider) = &row.provider { dt { "Provider" } dd { (context.lead("/generations", "provider", Some(provider))) } }
            @if let Some(url) = text("$ai_request_url") {
                dt { "Request" } dd.wide { code { (url) } @if let Some(code) = row.http_status { " → " (code) } @else { " → no answer" } }
            }
            @if let Some(reason) = &row.stop_reason { dt { "Stopped" } dd { (reason) } }
            @if row.stream == Some(true) { dt { "Stream" } dd { (row.stream_status.as_deref().unwrap_or("yes")) } }
            @if let Some(tier) = text("$ai_service_tier") { dt { "Tier" } dd { (tier) } }
            @if let Some(user) = user { dt { "User" } dd { (context.lead("/traces", "user", Some(user))) } }
            @if let Some(session) = &row.session_id { dt { "Session" } dd { (context.lead("/traces", "session", Some(session))) } }
            @if let Some(id) = text("$ai_response_id") { dt { "Response" } dd { code { (id) } } }
            @if let Some(value) = &row.value { dt { "Value" } dd { (value) } }
        }
    }
}

fn usage(row: &Row, p: &Map<String, Value>) -> Markup {
    let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let more = |name: &str| p.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
    let parts = [
        ("Input", count(row.total_input_tokens)),
        ("from cache", count(row.cache_read_input_tokens).filter(|number| *number > 0)),
        ("into cache", count(row.cache_creation_input_tokens).filter(|number| *number > 0)),
        ("audio in", more("$ai_audio_input_tokens")),
        ("image in", more("$ai_image_input_tokens")),
        ("Output", count(row.output_tokens)),
        ("reasoning", count(row.reasoning_tokens).filter(|number| *number > 0)),
        ("audio out", more("$ai_audio_output_tokens")),
        ("image out", more("$ai_image_output_tokens")),
    ];
    html! {
        dl.summary {
            @for (name, tokens) in parts { @if let Some(tokens) = tokens { div { dt { (name) } dd { (number(tokens)) " " span.unit { "tokens" } } } } }
            @if let Some(searches) = more("$ai_web_search_count") { div { dt { "Web searches" } dd { (number(searches)) } } }
        }
        @if row.total_input_tokens.or(row.output_tokens).is_none() { p.note { "The provider reported no usage." } }
    }
}

fn pairs(of: &Map<String, Value>) -> Markup {
    html! { dl.facts { @for (name, value) in of { dt { code { (name) } } dd { @match value { Value::String(text) => (text), other => { code { (other.to_string()) } } } } } } }
}
