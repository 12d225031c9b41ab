//! From a call to its event, in the words of PostHog's LLM analytics.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::policy::Policy;
use super::properties::{Properties, Property};
use super::{Draft, detect, media, secrets, timestamp};
use crate::attempts::Attempt;
use crate::config::Config;
use crate::context::{Scope, ScopeKind, new_id};
use crate::decode::Address;
use crate::decode::call::Call;
use crate::pipeline::Captured;
use crate::process::fresh_id;

/// Content: what privacy mode hides and media are looked for in.
const CONTENT: [&str; 5] = ["$ai_input", "$ai_output_choices", "$ai_tools", "$ai_input_state", "$ai_output_state"];

/// Pauses of the consumer below this are noise.
const PAUSE_WORTH_TELLING: Duration = Duration::from_millis(50);

/// The event of one call, without its cost.
///
/// `waited` is the time that the provider was waited for, over all attempts.
pub(crate) fn call_event(config: &Config, call: Call, attempt: &Attempt, waited: Duration) -> Draft {
    let Attempt { found, exchange, retries, earlier, .. } = attempt;
    let mut p = Properties::new();
    ids(&mut p, exchange.scope.as_ref(), None);
    p.insert("$ai_provider", found.provider.clone());
    addresses(&mut p, &exchange.url, found.suffix);
    p.put("$ai_http_status", exchange.status);
    p.insert("$ai_latency", seconds(waited));
    if exchange.paused >= PAUSE_WORTH_TELLING {
        p.insert("$ai_consumer_pause", seconds(exchange.paused));
    }
    if *retries > 0 {
        p.insert("$ai_retries", *retries);
    }
    if call.unknown {
        p.word("$ai_wire_format", "unknown");
        p.insert("$ai_request_bytes", exchange.request_body.len());
        p.put("$ai_response_bytes", call.response_bytes);
    }
    let name = match (&call.step, call.embedding) {
        (Some(_), _) => "$ai_span",
        (None, true) => "$ai_embedding",
        (None, false) => "$ai_generation",
    };
    call_properties(&mut p, call, *earlier);
    let started = exchange.started_at.unwrap_or_else(SystemTime::now);
    finish(config, name, exchange.scope.as_ref(), started, p)
}

/// The event of a trace or span that ended.
pub(crate) fn scope_event(config: &Config, scope: &Scope, took: Option<Duration>) -> Draft {
    let mut p = Properties::new();
    let trace = scope.kind() == ScopeKind::Trace;
    p.put("$ai_trace_id", scope.trace_id());
    p.put("$ai_session_id", scope.session_id());
    p.put("$ai_span_id", scope.span_id());
    p.put("$ai_parent_id", scope.parent_id());
    p.put("$ai_span_name", scope.name());
    p.put("$ai_span_type", scope.span_type());
    if trace {
        p.put("$ai_trace_name", scope.name());
    }
    // PostHog sums `$ai_latency` over a trace: the trace's own would count everything twice.
    p.put(if trace { "$ai_trace_latency" } else { "$ai_latency" }, took.map(seconds));
    // A null is what privacy mode leaves; a scope that was given nothing has no state at all.
    p.put("$ai_input_state", scope.input().filter(|state| !state.is_null()));
    p.put("$ai_output_state", scope.output().filter(|state| !state.is_null()));
    if let Some((kind, message)) = scope.error() {
        p.insert("$ai_is_error", true);
        p.insert("$ai_error", secrets::mask(&message));
        p.put("$ai_error_type", Some(kind).filter(|kind| !kind.is_empty()));
    }
    for (name, value) in scope.own_properties() {
        if !is_protected(&name) {
            p.insert(name, value);
        }
    }
    finish(config, if trace { "$ai_trace" } else { "$ai_span" }, Some(scope), scope.started_at(), p)
}

/// An event that the application made: as it is, where it has a say; else with what scope and client have for all events.
pub(crate) fn captured_event(config: &Config, captured: Captured) -> Draft {
    let Captured { event, uuid, at, options, scope } = captured;
    let scope = scope.as_ref();
    let mut p = Properties::new();
    p.extend(config.properties.clone());
    p.extend(scope.map(Scope::properties).cloned().unwrap_or_default());
    let mut groups = config.groups.clone();
    groups.extend(scope.map(Scope::groups).cloned().unwrap_or_default());
    groups.extend(options.groups);
    p.extend(options.properties);
    if !groups.is_empty() {
        p.add_new("$groups", Property::Value(groups.into()));
    }
    // The scope speaks for the trace that it is in, and for no other.
    let named = p.text("$ai_trace_id");
    let same = scope.filter(|scope| named.is_none_or(|named| scope.trace_id() == Some(named)));
    if let Some(scope) = same {
        let parent = matches!(event.as_str(), "$ai_generation" | "$ai_embedding" | "$ai_span")
            .then(|| scope.parent_id_for_children())
            .flatten();
        for (name, id) in
            [("$ai_trace_id", scope.trace_id()), ("$ai_session_id", scope.session_id()), ("$ai_parent_id", parent)]
        {
            if let Some(id) = id {
                p.add_new(name, Property::Value(id.into()));
            }
        }
    }
    let distinct_id = options
        .distinct_id
        .filter(|id| !id.is_empty())
        .or_else(|| scope.and_then(Scope::distinct_id).map(str::to_owned))
        .or_else(|| config.distinct_id.clone());
    if distinct_id.is_none() {
        p.add_new("$process_person_profile", Property::Value(false.into()));
    }
    let of_trace = || p.text("$ai_trace_id").map(str::to_owned);
    let distinct_id = distinct_id.or_else(of_trace).unwrap_or_else(|| uuid.to_string());
    p.add_new("$geoip_disable", Property::Value(true.into()));
    library(config, &mut p);
    Draft { event: event.into(), uuid, distinct_id, timestamp: timestamp(at), properties: p }
}

/// Where a call stands in the tree; `id` is its own, when it is known.
pub(crate) fn ids(p: &mut Properties, scope: Option<&Scope>, id: Option<String>) {
    let trace_id = scope.and_then(Scope::trace_id).map_or_else(new_id, str::to_owned);
    p.insert("$ai_trace_id", trace_id);
    p.insert("$ai_span_id", id.unwrap_or_else(new_id));
    p.put("$ai_session_id", scope.and_then(Scope::session_id));
    p.put("$ai_parent_id", scope.and_then(Scope::parent_id_for_children));
}

fn addresses(p: &mut Properties, url: &str, suffix: usize) {
    let Some(address) = Address::of(url) else { return };
    let request = address.whole();
    let base = request[..request.len().saturating_sub(suffix)].to_owned();
    p.insert("$ai_base_url", base);
    p.insert("$ai_request_url", request);
}

/// The address that an application gave, without query and user information.
pub(crate) fn base_address(p: &mut Properties, url: &str) {
    let Some(address) = Address::of(url) else { return };
    p.insert("$ai_base_url", address.whole());
}

pub(crate) fn call_properties(p: &mut Properties, call: Call, earlier: Duration) {
    let differs = call.model.is_some() && call.model_requested.is_some() && call.model != call.model_requested;
    let mut parameters = call.parameters;
    if let Some(temperature) = parameters.get("temperature").filter(|temperature| temperature.is_number()) {
        p.insert("$ai_temperature", temperature.clone());
    }
    p.put("$ai_max_tokens", call.max_tokens.filter(Value::is_number));
    if differs && let Some(requested) = &call.model_requested {
        parameters.insert("model_requested".into(), requested.clone().into());
    }
    if !parameters.is_empty() {
        p.insert("$ai_model_parameters", parameters);
    }
    p.put("$ai_model", call.model.or(call.model_requested));
    p.put("$ai_input", call.input);
    p.put("$ai_tools", call.tools);
    let is_span = call.step.is_some();
    if let Some(step) = call.step {
        p.word("$ai_span_name", step.name);
        p.word("$ai_span_type", step.kind);
        p.put("$ai_input_state", step.input);
        p.put("$ai_output_state", step.output);
        p.put("$ai_request_count", call.usage.requests);
    } else if call.embedding {
        p.put("$ai_embedding_count", call.embedding_count);
        p.put("$ai_embedding_dimensions", call.embedding_dimensions);
    } else {
        p.insert("$ai_output_choices", call.output);
        p.insert("$ai_stream", call.stream);
        if let Some(status) = call.stream_status {
            p.word("$ai_stream_status", status.as_str());
        }
        if call.stream {
            p.put("$ai_time_to_first_token", call.first_content_at.map(|at| seconds(at + earlier)));
        }
        if call.stop_reasons.windows(2).any(|pair| pair[0] != pair[1]) {
            p.insert("$ai_stop_reasons", call.stop_reasons.clone());
        }
        p.put("$ai_stop_reason", call.stop_reasons.into_iter().next());
    }
    let tokens = call.tokens;
    for (name, count) in [
        ("$ai_input_tokens", tokens.input),
        ("$ai_output_tokens", tokens.output),
        ("$ai_total_tokens", tokens.total),
        ("$ai_cache_read_input_tokens", tokens.cache_read),
        ("$ai_cache_creation_input_tokens", tokens.cache_write),
        ("$ai_cache_creation_5m_input_tokens", tokens.cache_write_5m),
        ("$ai_cache_creation_1h_input_tokens", tokens.cache_write_1h),
        ("$ai_reasoning_tokens", tokens.reasoning),
        ("$ai_audio_input_tokens", tokens.audio_in),
        ("$ai_audio_output_tokens", tokens.audio_out),
        ("$ai_image_input_tokens", tokens.image_in),
        ("$ai_image_output_tokens", tokens.image_out),
        ("$ai_text_output_tokens", tokens.text_out),
        ("$ai_cache_read_audio_tokens", tokens.cache_read_audio),
        ("$ai_web_search_count", tokens.web_searches),
    ] {
        p.put(name, count);
    }
    let counted = tokens.input.or(tokens.output).or(tokens.total).is_some();
    if !is_span {
        let source = match call.raw_usage.is_some() || counted {
            true if call.passed_on => "passthrough",
            true => "provider",
            false => "absent",
        };
        p.word("$ai_tokens_source", source);
    }
    if counted {
        p.insert("$ai_cache_reporting_exclusive", call.cache_exclusive);
    }
    p.put("$ai_usage", call.raw_usage);
    if call.usage_inconsistent {
        p.insert("$ai_usage_inconsistent", true);
    }
    p.put("$ai_service_tier", call.service_tier);
    p.put("$ai_response_id", call.response_id);
    p.put("$ai_completion_id", call.completion_id);
    if !call.metadata.is_empty() {
        p.insert("$ai_provider_metadata", call.metadata);
    }
    if let Some(error) = call.error {
        p.insert("$ai_is_error", true);
        p.insert("$ai_error", secrets::mask(&error.message));
        p.put("$ai_error_type", error.kind);
    }
}

/// Puts an event together: the application's properties, the library's own, the envelope.
pub(crate) fn finish(
    config: &Config,
    name: &'static str,
    scope: Option<&Scope>,
    started: SystemTime,
    mut p: Properties,
) -> Draft {
    let scoped = scope.map(Scope::properties);
    for (name, value) in config.properties.iter().chain(scoped.into_iter().flatten()) {
        // A span's own properties were put in before: the innermost wins.
        let own = scope.is_some_and(|scope| scope.kind() != ScopeKind::Options && !p.contains("$ai_provider"))
            && p.contains(name);
        if !is_protected(name) && !own {
            p.insert(name.clone(), value.clone());
        }
    }
    let mut groups = config.groups.clone();
    groups.extend(scope.map(Scope::groups).cloned().unwrap_or_default());
    if !groups.is_empty() {
        p.insert("$groups", groups);
    }
    let distinct_id = scope.and_then(Scope::distinct_id).or(config.distinct_id.as_deref()).map(str::to_owned);
    if distinct_id.is_none() {
        p.insert("$process_person_profile", false);
    }
    let distinct_id = distinct_id.or_else(|| p.text("$ai_trace_id").map(str::to_owned)).unwrap_or_else(new_id);
    p.add_new("$geoip_disable", Property::Value(true.into()));
    library(config, &mut p);
    Draft {
        event: name.into(),
        uuid: fresh_id(SystemTime::now()),
        distinct_id,
        timestamp: timestamp(started),
        properties: p,
    }
}

/// Names the library.
pub(crate) fn library(config: &Config, p: &mut Properties) {
    for (name, value) in [
        ("$lib", "llmtrail"),
        ("$lib_version", env!("CARGO_PKG_VERSION")),
        ("$ai_lib", "llmtrail"),
        ("$ai_lib_version", env!("CARGO_PKG_VERSION")),
        ("$ai_lib_language", config.language.as_str()),
    ] {
        p.word(name, value);
    }
}

/// The last step before the queue: media become placeholders, and privacy mode hides content.
/// `private`: the application wants it so for this one, whatever the policy is.
pub(crate) fn redact(policy: &Policy, private: bool, p: &mut Properties) {
    if policy.privacy || private {
        hide(p);
        return;
    }
    if !policy.full_capture {
        let format =
            p.get("$ai_model_parameters").and_then(|parameters| parameters.get("audio")?.get("format")?.as_str());
        let format = format.map(str::to_owned);
        // An error may quote what was sent, and a parameter may hold anything.
        for name in CONTENT.into_iter().chain(["$ai_error", "$ai_model_parameters"]) {
            if let Some(content) = p.get_mut(name) {
                media::redact(content, format.as_deref());
            }
        }
    }
    if !policy.detectors.is_empty() {
        for name in CONTENT.into_iter().chain(["$ai_error", "$ai_model_parameters", "$ai_feedback_text"]) {
            if let Some(content) = p.get_mut(name) {
                detect::redact(&policy.detectors, content);
            }
        }
    }
}

/// Privacy mode: content is null, errors keep their type, parameters keep numbers, switches and names of levels.
fn hide(p: &mut Properties) {
    /// Texts that choose among a provider's own words, and so say nothing about the content.
    const CHOICES: [&str; 8] = [
        "reasoning_effort",
        "service_tier",
        "verbosity",
        "truncation",
        "encoding_format",
        "model_requested",
        "speed",
        "inference_geo",
    ];
    for name in CONTENT {
        if let Some(content) = p.get_mut(name) {
            *content = Value::Null;
        }
    }
    if p.contains("$ai_error") {
        let status = p.get("$ai_http_status").and_then(Value::as_u64);
        let kind = p.text("$ai_error_type").map(str::to_owned);
        let text = kind.or_else(|| status.map(|status| format!("HTTP {status}"))).unwrap_or_else(|| "error".into());
        p.insert("$ai_error", text);
    }
    if let Some(Value::Object(parameters)) = p.get_mut("$ai_model_parameters") {
        parameters.retain(|name, value| value.is_number() || value.is_boolean() || CHOICES.contains(&name.as_str()));
    }
    if let Some(Value::Object(metadata)) = p.get_mut("$ai_provider_metadata") {
        metadata.remove("stop_sequence");
        metadata.remove("stop_details");
        metadata.remove("promptFeedback");
    }
}

/// What the application cannot overwrite.
fn is_protected(name: &str) -> bool {
    name.starts_with("$lib")
        || name.starts_with("$ai_lib")
        || matches!(name, "$ai_trace_id" | "$ai_session_id" | "$ai_span_id" | "$ai_parent_id")
}

/// Seconds with microseconds; more digits are noise.
pub(crate) fn seconds(time: Duration) -> Value {
    json!((time.as_secs_f64() * 1e6).round() / 1e6)
}
