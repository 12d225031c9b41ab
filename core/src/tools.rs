//! Tool spans without code: a tool call in one answer, and its result in a later request of the same trace.
//!
//! What is looked at are messages in their normal form, so it holds for every wire format. A conversation repeats all old
//! results in each request; a call that was answered is forgotten, so each gives one span.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::config::Config;
use crate::context::{Scope, ScopeKind, new_id};
use crate::event::properties::Properties;
use crate::event::{Draft, build};

/// Calls that wait for their result, and the bytes of their arguments; the oldest go first.
const MOST_CALLS: usize = 4096;
const MOST_BYTES: usize = 4 << 20;

/// Spans that the application made by itself for a tool, of which none is made again.
const MOST_OWN: usize = 1024;

/// A call of a tool that waits for its result.
struct Open {
    trace_id: String,
    id: Option<String>,
    name: String,
    arguments: Option<Value>,
    size: usize,
    scope: Option<Scope>,
    /// When the answer with the call in it had ended.
    since: SystemTime,
}

/// A tool's result in a request.
struct Found<'a> {
    id: Option<&'a str>,
    name: Option<&'a str>,
    output: Option<&'a Value>,
    failed: bool,
}

/// What is known of tools.
#[derive(Default)]
pub(crate) struct Tools {
    open: VecDeque<Open>,
    bytes: usize,
    /// Trace and name of spans of type `tool` that ended.
    own: VecDeque<(String, String)>,
}

impl Tools {
    /// A generation that began and ended at these times, not redacted yet: gives the spans of the tools whose results it
    /// was given, and remembers what it calls.
    pub(crate) fn see(
        &mut self,
        config: &Config,
        p: &Properties,
        scope: Option<&Scope>,
        began: SystemTime,
        ended: SystemTime,
    ) -> Vec<(Draft, bool)> {
        // Outside of a scope each call is a trace of its own.
        let (Some(trace_id), Some(_)) = (p.text("$ai_trace_id"), scope.and_then(Scope::trace_id)) else {
            return Vec::new();
        };
        let mut spans = Vec::new();
        if self.open.iter().any(|open| open.trace_id == trace_id) {
            for (open, found) in self.answered(trace_id, &results(p.get("$ai_input"))) {
                if !self.made_by_hand(&open) {
                    spans.push((span(config, &open, found, began), open.scope.as_ref().is_some_and(Scope::privacy)));
                }
            }
        }
        for call in calls(p.get("$ai_output_choices")) {
            self.remember(trace_id, call, scope, ended);
        }
        spans
    }

    /// A span that the application made.
    pub(crate) fn ended(&mut self, scope: &Scope) {
        if scope.kind() == ScopeKind::Span
            && scope.span_type().as_deref() == Some("tool")
            && let (Some(trace_id), Some(name)) = (scope.trace_id(), scope.name())
            && self.open.iter().any(|open| open.trace_id == trace_id && open.name == name)
        {
            if self.own.len() >= MOST_OWN {
                self.own.pop_front();
            }
            self.own.push_back((trace_id.to_owned(), name));
        }
    }

    fn made_by_hand(&mut self, open: &Open) -> bool {
        let same = |(trace_id, name): &(String, String)| *trace_id == open.trace_id && *name == open.name;
        self.own.iter().position(same).and_then(|at| self.own.remove(at)).is_some()
    }

    /// The calls that have their results here, in the order of the results.
    fn answered<'a>(&mut self, trace_id: &str, results: &'a [Found<'a>]) -> Vec<(Open, &'a Found<'a>)> {
        // Few of all are of this trace, and a long conversation has many results.
        let mut waiting: Vec<usize> = (0..self.open.len()).filter(|n| self.open[*n].trace_id == trace_id).collect();
        // By the name alone a new result cannot be told from old ones of the same tool, but for that it comes last.
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for (at, found) in results.iter().enumerate().rev() {
            let fits = |open: &Open| match (found.id, &open.id) {
                (Some(id), Some(known)) => id == known,
                (Some(_), None) => false,
                (None, _) => found.name == Some(open.name.as_str()),
            };
            if let Some(last) = waiting.iter().rposition(|n| fits(&self.open[*n])) {
                taken.push((at, waiting.remove(last)));
            }
        }
        taken.sort_unstable_by_key(|(_, n)| std::cmp::Reverse(*n));
        let mut answered: Vec<(usize, Open)> =
            taken.into_iter().filter_map(|(at, n)| Some((at, self.open.remove(n)?))).collect();
        self.bytes -= answered.iter().map(|(_, open)| open.size).sum::<usize>();
        answered.sort_unstable_by_key(|(at, _)| *at);
        answered.into_iter().map(|(at, open)| (open, &results[at])).collect()
    }

    fn remember(&mut self, trace_id: &str, call: Called<'_>, scope: Option<&Scope>, since: SystemTime) {
        let arguments = call.arguments.map(|arguments| match arguments {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone()),
            other => other.clone(),
        });
        let size = call.arguments.map_or(0, |arguments| arguments.to_string().len()) + call.name.len() + 64;
        if size > MOST_BYTES {
            return;
        }
        self.bytes += size;
        self.open.push_back(Open {
            trace_id: trace_id.to_owned(),
            id: call.id.map(str::to_owned),
            name: call.name.to_owned(),
            arguments,
            size,
            scope: scope.cloned(),
            since,
        });
        while self.bytes > MOST_BYTES || self.open.len() > MOST_CALLS {
            let Some(oldest) = self.open.pop_front() else { break };
            self.bytes -= oldest.size;
        }
    }
}

/// The span of a tool: from the answer with the call in it to the request with the result. It stands beside the call.
fn span(config: &Config, open: &Open, found: &Found<'_>, until: SystemTime) -> Draft {
    let scope = open.scope.as_ref();
    let mut p = Properties::new();
    p.put("$ai_trace_id", Some(open.trace_id.as_str()));
    p.put("$ai_session_id", scope.and_then(Scope::session_id));
    p.put("$ai_span_id", Some(new_id()));
    p.put("$ai_parent_id", scope.and_then(Scope::parent_id_for_children));
    p.put("$ai_span_name", Some(open.name.as_str()));
    p.put("$ai_span_type", Some("tool"));
    p.put("$ai_tool_call_id", open.id.as_deref());
    let took = until.duration_since(open.since).unwrap_or(Duration::ZERO);
    p.put("$ai_latency", Some(build::seconds(took)));
    p.put("$ai_input_state", open.arguments.clone());
    p.put("$ai_output_state", found.output.cloned());
    if found.failed {
        p.put("$ai_is_error", Some(true));
    }
    build::finish(config, "$ai_span", scope, open.since, p)
}

#[derive(Clone, Copy)]
struct Called<'a> {
    id: Option<&'a str>,
    name: &'a str,
    arguments: Option<&'a Value>,
}

/// The tool calls of an answer.
fn calls(choices: Option<&Value>) -> impl Iterator<Item = Called<'_>> {
    let messages = choices.and_then(Value::as_array).into_iter().flatten();
    messages.flat_map(|message| parts(message).chain(list(message.get("tool_calls")))).filter_map(|part| {
        let (named, arguments) = match (part.get("function"), part.get("custom")) {
            (Some(function), _) => (function, function.get("arguments")),
            (None, Some(custom)) => (custom, custom.get("input")),
            (None, None) if part["type"] == "tool_use" => (part, part.get("input")),
            _ => return None,
        };
        Some(Called { id: part["id"].as_str(), name: named["name"].as_str()?, arguments })
    })
}

/// The results of tools in a request, in their order.
fn results(input: Option<&Value>) -> Vec<Found<'_>> {
    let messages = input.and_then(Value::as_array).into_iter().flatten();
    let mut found = Vec::new();
    for message in messages {
        let role = message["role"].as_str().unwrap_or_default();
        if matches!(role, "tool" | "function") {
            found.push(Found {
                id: message["tool_call_id"].as_str(),
                name: message["tool_name"].as_str().or_else(|| message["name"].as_str()),
                output: message.get("content"),
                failed: message["is_error"] == true,
            });
            continue;
        }
        for part in parts(message).filter(|part| part["type"] == "tool_result") {
            found.push(Found {
                id: part["tool_use_id"].as_str(),
                name: part["name"].as_str(),
                output: part.get("content"),
                failed: part["is_error"] == true,
            });
        }
    }
    found
}

fn parts(message: &Value) -> impl Iterator<Item = &Value> {
    list(message.get("content"))
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::ScopeOptions;
    use serde_json::json;

    fn generation(scope: &Scope, input: &Value, output: &Value) -> Properties {
        let mut properties = Properties::new();
        properties.put("$ai_trace_id", scope.trace_id());
        properties.insert("$ai_input", input.clone());
        properties.insert("$ai_output_choices", output.clone());
        properties
    }

    fn call(id: usize) -> Value {
        let function = json!({"name": "lookup", "arguments": "x".repeat(1000)});
        json!([{"role": "assistant", "content": [{"type": "function", "id": id.to_string(), "function": function}]}])
    }

    #[test]
    fn what_waits_is_bounded_and_the_latest_is_kept() {
        let trace = Scope::open(ScopeKind::Trace, None, ScopeOptions::default());
        let (config, now) = (Config::default(), SystemTime::now());
        let mut tools = Tools::default();
        for id in 0..20_000 {
            tools.see(&config, &generation(&trace, &Value::Null, &call(id)), Some(&trace), now, now);
        }
        assert!(tools.bytes <= MOST_BYTES && tools.open.len() <= MOST_CALLS);
        let result = |id: &str| json!([{"role": "tool", "tool_call_id": id, "content": "ok"}]);
        let mut see =
            |id: &str| tools.see(&config, &generation(&trace, &result(id), &json!([])), Some(&trace), now, now).len();
        assert_eq!((see("0"), see("19999"), see("19999")), (0, 1, 0));
        let bytes: usize = tools.open.iter().map(|open| open.size).sum();
        assert_eq!(tools.bytes, bytes);
    }
}
