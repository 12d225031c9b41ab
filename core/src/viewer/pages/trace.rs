//! One trace: its tree and waterfall on one axis, and the node that was chosen.

use maud::{Markup, html};

use super::super::data::Sums;
use super::super::page::{Address, cost, encode, number, status, tokens, took};
use super::Page;
use super::generation;
use crate::cli::terminal::seconds;
use crate::error::Result;
use crate::store::{Node, Row, Trace};

/// The page, with its title. `part` is `detail` when only the chosen node is wanted.
pub(super) fn page(page: &mut Page<'_>, id: &str, part: Option<&str>) -> Result<Option<(String, Markup)>> {
    if !page.store.path().exists() {
        return Ok(None);
    }
    let Some(trace) = page.store.read(|reader| reader.trace(id))? else { return Ok(None) };
    let rows = || trace.own.iter().chain(trace.nodes.iter().map(|node| &node.row));
    let wanted = page.context.address.get("span");
    let chosen = wanted.and_then(|wanted| rows().find(|row| row.uuid == wanted || row.node_id() == wanted));
    let chosen = chosen.or_else(|| rows().find(|row| row.is_call())).or_else(|| rows().next());
    let detail = if let Some(row) = chosen {
        generation::detail(page, row, true)?
    } else {
        html! {}
    };
    let name = trace
        .name
        .clone()
        .unwrap_or_else(|| chosen.and_then(|row| row.model.clone()).unwrap_or_else(|| "trace".to_owned()));
    if part == Some("detail") {
        return Ok(Some((name, detail)));
    }
    let body = html! {
        (heading(page, &trace, &name))
        div.trace {
            section.tree aria-label="Spans" {
                div.ruler aria-hidden="true" { span { "0" } span { (seconds(trace.duration / 2.0)) } span { (seconds(trace.duration)) } }
                (tree(&page.context.address, &trace, chosen))
            }
            section #detail.detail aria-label="The chosen span" tabindex="-1" { (detail) }
        }
    };
    Ok(Some((name, body)))
}

fn heading(page: &Page<'_>, trace: &Trace, name: &str) -> Markup {
    let context = &page.context;
    let sums = sums_of(trace);
    let failed = trace.own.as_ref().is_some_and(|own| own.is_error);
    html! {
        p.crumbs { a href=(context.address.back("/traces")) { "Traces" } " / " code { (trace.id) } }
        h1 { (name) " "
            @if failed { (status(true, "failed")) }
            @else if sums.errors > 0 { (status(true, &format!("{} failed", sums.errors))) }
            @else { (status(false, "ok")) }
        }
        dl.summary {
            div { dt { "Started" } dd { (context.exact(trace.timestamp_ms)) } }
            div { dt { "Took" } dd { (seconds(trace.duration)) } }
            div { dt { "Calls" } dd { (number(sums.calls)) } }
            div { dt { "Tokens" } dd { (tokens(sums.input, sums.output)) } }
            div { dt { "Cost" } dd { (cost(&sums)) } }
            @if let Some(user) = &trace.user { div { dt { "User" } dd { (context.lead("/traces", "user", Some(user))) } } }
            @if let Some(session) = &trace.session_id { div { dt { "Session" } dd { (context.lead("/traces", "session", Some(session))) } } }
        }
    }
}

fn sums_of(trace: &Trace) -> Sums {
    let totals = &trace.totals;
    Sums {
        calls: totals.calls,
        errors: totals.errors,
        unpriced: totals.unpriced,
        input: totals.total_input_tokens,
        cached: totals.cache_read_input_tokens,
        output: totals.output_tokens,
        cost: totals.cost,
        saved: 0.0,
    }
}

/// What is in each node, itself included.
fn below(nodes: &[Node]) -> Vec<Sums> {
    let mut sums: Vec<Sums> = vec![Sums::default(); nodes.len()];
    // The ways up from where we are: nodes come parents first.
    let mut up: Vec<usize> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        up.truncate(node.depth);
        up.push(at);
        let row = &node.row;
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        // Of a very deep tree only the nearest: a sum for each of thousands of ancestors would be seen by nobody.
        for ancestor in up.iter().rev().take(64) {
            let sum = &mut sums[*ancestor];
            sum.errors += u64::from(row.is_error);
            if row.is_call() {
                sum.calls += 1;
                sum.input += count(row.total_input_tokens);
                sum.output += count(row.output_tokens);
                sum.unpriced +=
                    u64::from(row.total_cost_usd_exact.is_none() && (!row.is_error || row.input_tokens.is_some()));
                sum.cost = row.total_cost_usd_exact.map_or(sum.cost, |cost| sum.cost + cost);
            }
        }
    }
    sums
}

fn tree(address: &Address, trace: &Trace, chosen: Option<&Row>) -> Markup {
    let sums = below(&trace.nodes);
    let axis = trace.duration.max(0.001) * 1000.0;
    let path = format!("/trace/{}", encode(&trace.id));
    let link = |row: &Row| address.to(&path, &[("span", &row.uuid)]);
    html! {
        ol #rows.spans {
            @if let Some(own) = &trace.own {
                (line(own, 0, &sums_of(trace), axis, trace.timestamp_ms, chosen, &link(own)))
            }
            @for (node, sums) in trace.nodes.iter().zip(&sums) {
                @let depth = node.depth + usize::from(trace.own.is_some());
                (line(&node.row, depth, sums, axis, trace.timestamp_ms, chosen, &link(&node.row)))
            }
        }
    }
}

fn line(row: &Row, depth: usize, sums: &Sums, axis: f64, begin: i64, chosen: Option<&Row>, link: &str) -> Markup {
    const DEEP: usize = 12;
    let kind = kind(row);
    let here = chosen.is_some_and(|chosen| chosen.uuid == row.uuid);
    let start = (row.timestamp_ms - begin) as f64 / axis * 1000.0;
    let width = row.latency.unwrap_or(0.0) * 1000.0 / axis * 1000.0;
    let first = row.time_to_first_token.map(|first| first * 1000.0 / axis * 1000.0);
    let px = |number: f64| format!("{:.1}", number.clamp(0.0, 1000.0));
    let hidden = sums.errors.saturating_sub(u64::from(row.is_error));
    html! {
        li class=(format!("d{}{}", depth.min(DEEP), if row.is_error { " failed" } else { "" })) data-key=(row.uuid) aria-level=(depth + 1) {
            a.open href=(link) aria-current=[here.then_some("true")] {
                span.label {
                    span class=(format!("kind {kind}")) role="img" aria-label=(kind) title=(kind) {} " "
                    span.name { (label(row)) } " "
                    @if row.is_error { span.badge.bad { (row.error_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("failed")) } }
                    @else if hidden > 0 { span.badge.bad.soft title="failed inside" { (hidden) " failed" } }
                }
                span.sums {
                    @if row.latency.is_some() { span { (took(row.latency)) } " " }
                    @if sums.input + sums.output > 0 { (tokens(sums.input, sums.output)) " " }
                    @if sums.calls > 0 { (cost(sums)) }
                }
                svg.fall viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                    rect class=(format!("time {kind}")) x=(px(start)) width=(px(width.max(3.0))) y="1" height="8" rx="1.5" {}
                    @if let Some(first) = first {
                        rect.wait x=(px(start)) width=(px(first)) y="1" height="8" rx="1.5" {}
                        rect.first x=(px(start + first)) width="2.5" y="0" height="10" {}
                    }
                }
            }
        }
    }
}

pub(super) fn kind(row: &Row) -> &'static str {
    match row.event.as_str() {
        "$ai_generation" => "generation",
        "$ai_embedding" => "embedding",
        "$ai_trace" => "trace",
        "$ai_metric" | "$ai_feedback" => "metric",
        _ => match row.span_type.as_deref() {
            Some("tool") => "tool",
            Some("retrieval") => "retrieval",
            Some("agent") => "agent",
            _ => "span",
        },
    }
}

/// What an event is called.
pub(super) fn label(row: &Row) -> String {
    let name = row.name.as_deref().filter(|name| !name.is_empty());
    match (row.event.as_str(), name) {
        ("$ai_generation" | "$ai_embedding", Some(name)) => {
            format!("{name} · {}", row.model.as_deref().unwrap_or("unknown model"))
        }
        ("$ai_generation" | "$ai_embedding", None) => row.model.clone().unwrap_or_else(|| "unknown model".to_owned()),
        ("$ai_metric", _) => format!("{} = {}", name.unwrap_or("metric"), row.value.as_deref().unwrap_or("")),
        ("$ai_feedback", _) => format!("feedback: {}", row.value.as_deref().unwrap_or("")),
        (other, None) => other.trim_start_matches("$ai_").to_owned(),
        (_, Some(name)) => name.to_owned(),
    }
}
