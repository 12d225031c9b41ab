//! A small application's day, as events: what the command line is tried on.
#![expect(clippy::needless_pass_by_value, reason = "json! in place reads better")]

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::event::{Event, WireEvent};

/// Span ids of events that tests look at.
pub(super) const STREAMED: &str = "019f2d6a-5000-7000-8000-00000000a003";
pub(super) const CLAUDE: &str = "019f2d6a-5000-7000-8000-00000000a008";
pub(super) const FAILED: &str = "019f2d6a-5000-7000-8000-00000000a009";
pub(super) const SPAN: &str = "019f2d6a-5000-7000-8000-00000000a002";

struct Sample {
    events: Vec<WireEvent>,
}

/// A session of two traces, with a retrieval, a streamed answer, a tool call, a failed and an abandoned call, and a
/// Claude call with a cached prompt; then single calls, and a trace that has not ended.
pub(super) fn events() -> Vec<WireEvent> {
    let mut s = Sample { events: Vec::new() };
    let chat = json!({"$ai_session_id": "chat-42", "plan": "pro"});
    let user = Some("ada@example.com");

    let first = with(&chat, json!({"$ai_trace_id": "trace-where"}));
    let span = with(&first, json!({"$ai_span_id": SPAN, "$ai_parent_id": "trace-where", "$ai_span_name": "retrieve"}));
    s.add(
        "$ai_embedding",
        "2026-07-04T12:03:05.120Z",
        user,
        with(
            &call(&first, 1, SPAN),
            json!({
                "$ai_provider": "openai", "$ai_model": "text-embedding-3-small", "$ai_input": "Where is my order 1042?",
                "$ai_latency": 0.1182, "$ai_input_tokens": 9, "$ai_total_tokens": 9, "$ai_embedding_count": 1,
                "$ai_request_url": "https://api.openai.com/v1/embeddings", "$ai_base_url": "https://api.openai.com/v1",
            }),
        )
        .priced(
            "openrouter",
            "text-embedding-3-small",
            "openai",
            &[("input_text", 9, "0.00000002", "0.00000018")],
        ),
    );
    s.add("$ai_span", "2026-07-04T12:03:05.100Z", user, with(&span, json!({
        "$ai_span_type": "retrieval", "$ai_latency": 0.3141, "$ai_input_state": "Where is my order 1042?",
        "$ai_output_state": [{"title": "Delivery times", "score": 0.82}, {"title": "Tracking an order", "score": 0.79}],
    })));
    let system =
        json!({"role": "system", "content": "You are the support desk of a small bookshop. Be kind, be brief."});
    let question = json!({"role": "user", "content": "Where is my order 1042?"});
    let asks = json!({"role": "assistant", "content": [{"type": "function", "id": "call_9KqX",
        "function": {"name": "lookup_order", "arguments": "{\"order\": 1042}"}}]});
    let asked = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_9KqX", "type": "function",
        "function": {"name": "lookup_order", "arguments": "{\"order\": 1042}"}}]});
    let found = json!({"role": "tool", "tool_call_id": "call_9KqX",
        "content": "{\"order\":1042,\"status\":\"shipped\",\"carrier\":\"post\",\"eta\":\"2026-07-06\"}"});
    let tools = json!([{"type": "function", "function": {"name": "lookup_order", "parameters":
        {"type": "object", "properties": {"order": {"type": "integer"}}}}}]);
    s.add("$ai_generation", "2026-07-04T12:03:05.420Z", user, with(&chat_call(&first, 4, "trace-where"), json!({
        "$ai_input": [system, question], "$ai_output_choices": [asks], "$ai_tools": tools, "$ai_stop_reason": "tool_calls",
        "$ai_latency": 0.9417, "$ai_stream": false, "$ai_input_tokens": 142, "$ai_output_tokens": 83,
        "$ai_total_tokens": 225, "$ai_reasoning_tokens": 64,
    })).priced("openrouter", "gpt-5-mini", "openai",
        &[("input_text", 142, "0.00000025", "0.0000355"), ("output_text", 19, "0.000002", "0.000038"),
          ("reasoning", 64, "0.000002", "0.000128")]));
    s.add("$ai_span", "2026-07-04T12:03:06.380Z", user, with(&first, json!({
        "$ai_span_id": id(5), "$ai_parent_id": "trace-where", "$ai_span_name": "lookup_order", "$ai_span_type": "tool",
        "$ai_latency": 0.0213, "$ai_input_state": {"order": 1042}, "$ai_output_state": {"status": "shipped"},
    })));
    let answer = "Your order 1042 is on its way: it was handed to the post, and should be with you on **6 July**.\n\nIs there anything else that I can do for you?";
    s.add("$ai_generation", "2026-07-04T12:03:06.410Z", user, with(&chat_call(&first, 3, "trace-where"), json!({
        "$ai_input": [system, question, asked, found], "$ai_tools": tools, "$ai_stop_reason": "stop",
        "$ai_output_choices": [{"role": "assistant", "content": answer}],
        "$ai_latency": 1.8324, "$ai_time_to_first_token": 0.4126, "$ai_stream": true, "$ai_stream_status": "complete",
        "$ai_input_tokens": 1398, "$ai_output_tokens": 231, "$ai_total_tokens": 1629,
        "$ai_cache_read_input_tokens": 1152, "$ai_reasoning_tokens": 192,
    })).priced("openrouter", "gpt-5-mini", "openai",
        &[("input_text", 246, "0.00000025", "0.0000615"), ("cache_read", 1152, "0.000000025", "0.0000288"),
          ("output_text", 39, "0.000002", "0.000078"), ("reasoning", 192, "0.000002", "0.000384")]));
    s.add(
        "$ai_trace",
        "2026-07-04T12:03:05.090Z",
        user,
        with(
            &first,
            json!({
                "$ai_span_name": "answer", "$ai_trace_name": "answer", "$ai_trace_latency": 3.1642,
                "$ai_input_state": "Where is my order 1042?", "$ai_output_state": answer,
            }),
        ),
    );
    s.add(
        "$ai_metric",
        "2026-07-04T12:03:40.000Z",
        user,
        with(
            &first,
            json!({
                "$ai_metric_name": "helpful", "$ai_metric_value": "0.9", "$ai_parent_id": "trace-where",
            }),
        ),
    );

    let second = with(&chat, json!({"$ai_trace_id": "trace-refund"}));
    let agent = with(&second, json!({"$ai_span_id": id(6), "$ai_parent_id": "trace-refund"}));
    let manual = "The shop's manual. ".repeat(12) + "Refunds: within 30 days, unless the book was read in the bath.";
    let claude = |span: &str, more: Value| {
        with(
            &with(
                &second,
                json!({
                    "$ai_span_id": span, "$ai_parent_id": id(6), "$ai_provider": "anthropic", "$ai_model": "claude-sonnet-4-6",
                    "$ai_base_url": "https://api.anthropic.com", "$ai_request_url": "https://api.anthropic.com/v1/messages",
                    "$ai_stream": false, "$ai_tokens_source": "provider", "$ai_max_tokens": 1024,
                    "$ai_model_parameters": {"max_tokens": 1024, "thinking": {"type": "enabled", "budget_tokens": 2048}},
                }),
            ),
            more,
        )
    };
    let input = json!([
        {"role": "system", "content": [{"type": "text", "text": manual, "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [
            {"type": "text", "text": "May I return this? The \u{1b}[31mpages\u{1b}[0m are wavy."},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg",
                "data": "[redacted image/jpeg, 183204 bytes, sha256:4e2b3e9cec59c570]"},
                "media": {"mime": "image/jpeg", "bytes": 183_204, "sha256": "4e2b3e9cec59c570"}},
        ]},
    ]);
    s.add("$ai_generation", "2026-07-04T12:05:11.050Z", user, claude(FAILED, json!({
        "$ai_input": input, "$ai_output_choices": [], "$ai_latency": 2.2071, "$ai_http_status": 529, "$ai_is_error": true,
        "$ai_error": "Overloaded", "$ai_error_type": "overloaded_error", "$ai_retries": 2, "$ai_tokens_source": "absent",
    })));
    s.add("$ai_generation", "2026-07-04T12:05:13.300Z", user, claude(CLAUDE, json!({
        "$ai_input": input, "$ai_http_status": 200, "$ai_latency": 4.0518, "$ai_stop_reason": "end_turn",
        "$ai_output_choices": [{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Wavy pages: water. The manual excludes reading in the bath. But I do not know that it was one, so I ask.", "signature": "EqQB"},
            {"type": "text", "text": "I am sorry about the wavy pages. Did they arrive like that?"},
        ]}],
        "$ai_input_tokens": 412, "$ai_output_tokens": 187, "$ai_cache_read_input_tokens": 4096,
        "$ai_cache_creation_input_tokens": 1200, "$ai_cache_creation_5m_input_tokens": 1200,
        "$ai_cache_creation_1h_input_tokens": 0, "$ai_cache_reporting_exclusive": true,
        "$ai_response_id": "msg_01RzYp9GmJ7wWsd3Uo3vnnQ2",
    })).priced("openrouter", "claude-sonnet-4-6", "anthropic",
        &[("input_text", 412, "0.000003", "0.001236"), ("cache_read", 4096, "0.0000003", "0.0012288"),
          ("cache_write_5m", 1200, "0.00000375", "0.0045"), ("output_text", 187, "0.000015", "0.002805")]));
    s.add(
        "$ai_span",
        "2026-07-04T12:05:11.010Z",
        user,
        with(
            &agent,
            json!({
                "$ai_span_name": "refund agent, the careful one that checks everything twice", "$ai_span_type": "agent",
                "$ai_latency": 6.3612,
            }),
        ),
    );
    s.add("$ai_generation", "2026-07-04T12:05:17.400Z", user, with(&chat_call(&second, 10, "trace-refund"), json!({
        "$ai_input": [{"role": "user", "content": "Summarise this conversation in one line."}],
        "$ai_output_choices": [{"role": "assistant", "content": "A reader asks to return"}],
        "$ai_latency": 0.7702, "$ai_time_to_first_token": 0.3904, "$ai_stream": true, "$ai_stream_status": "abandoned",
        "$ai_tokens_source": "absent", "$ai_cost_model_source": "unknown",
        "$ai_cost_details": {"source": "unknown", "reason": "the provider reported no usage"},
    })));
    s.add(
        "$ai_trace",
        "2026-07-04T12:05:11.000Z",
        user,
        with(
            &second,
            json!({
                "$ai_span_name": "refund", "$ai_trace_name": "refund", "$ai_trace_latency": 7.2210,
            }),
        ),
    );
    s.add(
        "$ai_feedback",
        "2026-07-04T12:06:00.000Z",
        user,
        with(
            &second,
            json!({
                "$ai_feedback_text": "It was the bath. 我很抱歉 🙂", "$ai_parent_id": "trace-refund",
            }),
        ),
    );

    // Calls outside of everything: a local model that is free, and one that no price list knows.
    s.add("$ai_generation", "2026-07-04T13:00:00.000Z", None, with(&call(&json!({"$ai_trace_id": id(20)}), 21, ""), json!({
        "$ai_provider": "ollama", "$ai_model": "llama3.2:3b", "$ai_input": [{"role": "user", "content": "hi"}],
        "$ai_output_choices": [{"role": "assistant", "content": "Hello!"}], "$ai_latency": 12.25, "$ai_stream": false,
        "$ai_input_tokens": 26, "$ai_output_tokens": 8,
    })).priced("local", "llama3.2:3b", "ollama", &[("input_text", 26, "0", "0"), ("output_text", 8, "0", "0")]));
    s.add("$ai_generation", "2026-07-03T23:59:59.999Z", None, with(&call(&json!({"$ai_trace_id": id(22)}), 23, ""), json!({
        "$ai_provider": "together", "$ai_model": "some-lab/a-model-with-a-long-name-that-nobody-has-priced-yet-70b",
        "$ai_input": [{"role": "user", "content": "hi"}], "$ai_output_choices": [{"role": "assistant", "content": "Hi."}],
        "$ai_latency": 0.52, "$ai_stream": false, "$ai_input_tokens": 11, "$ai_output_tokens": 3,
        "$ai_cost_model_source": "unknown",
        "$ai_cost_details": {"source": "unknown", "reason": "no price list has a model of this name"},
    })));
    // The span that this is in has not ended.
    let open = json!({"$ai_trace_id": "trace-nightly"});
    for (number, at) in [(30, "2026-07-04T14:30:00.000Z"), (31, "2026-07-04T14:30:02.500Z")] {
        s.add("$ai_generation", at, Some("cron"), with(&chat_call(&open, number, &id(99)), json!({
            "$ai_input": [{"role": "user", "content": "Tag this review."}],
            "$ai_output_choices": [{"role": "assistant", "content": "shipping, praise"}], "$ai_stop_reason": "stop",
            "$ai_latency": 0.6113, "$ai_stream": false, "$ai_input_tokens": 1_204_331, "$ai_output_tokens": 12,
            "$ai_total_tokens": 1_204_343,
        })).priced("openrouter", "gpt-5-mini", "openai", &[("input_text", 1_204_331, "0.00000025", "0.30108275"),
            ("output_text", 12, "0.000002", "0.000024")]));
    }
    // And something that is no LLM event.
    s.add("purchase", "2026-07-04T14:45:00.000Z", user, json!({"amount": 12.5}));
    s.events
}

impl Sample {
    fn add(&mut self, event: &str, timestamp: &str, user: Option<&str>, properties: Value) {
        let number = 0x0001_0000 + self.events.len();
        let uuid = Uuid::parse_str(&format!("019f2d6a-5000-7000-8000-0000{number:08x}")).unwrap();
        let Value::Object(mut properties) = properties else { panic!("properties are an object") };
        for (key, value) in [("$lib", "llmtrail"), ("$ai_lib", "llmtrail"), ("$ai_lib_language", "python")] {
            properties.insert(key.to_owned(), value.into());
        }
        let trace = properties.get("$ai_trace_id").and_then(Value::as_str).unwrap_or("nobody");
        let distinct_id = user.unwrap_or(trace).to_owned();
        let event = Event { event: event.to_owned(), uuid, distinct_id, timestamp: timestamp.to_owned(), properties };
        self.events.push(event.encode());
    }
}

fn id(number: u32) -> String {
    format!("019f2d6a-5000-7000-8000-00000000a{number:03}")
}

fn with(base: &Value, more: Value) -> Value {
    let mut all: Map<String, Value> = base.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    all.into()
}

fn call(scope: &Value, number: u32, parent: &str) -> Value {
    let base = with(scope, json!({"$ai_span_id": id(number), "$ai_http_status": 200, "$ai_tokens_source": "provider"}));
    if parent.is_empty() { base } else { with(&base, json!({"$ai_parent_id": parent})) }
}

fn chat_call(scope: &Value, number: u32, parent: &str) -> Value {
    with(
        &call(scope, number, parent),
        json!({
            "$ai_provider": "openai", "$ai_model": "gpt-5-mini-2025-08-07", "$ai_base_url": "https://api.openai.com/v1",
            "$ai_request_url": "https://api.openai.com/v1/chat/completions", "$ai_cache_reporting_exclusive": false,
            "$ai_model_parameters": {"model_requested": "gpt-5-mini", "reasoning_effort": "low"},
        }),
    )
}

trait Priced {
    /// Adds a bill: bucket, units, price per unit, amount.
    fn priced(self, source: &str, model: &str, provider: &str, bill: &[(&str, u64, &str, &str)]) -> Value;
}

impl Priced for Value {
    fn priced(self, source: &str, model: &str, provider: &str, bill: &[(&str, u64, &str, &str)]) -> Value {
        use crate::price::Amount;
        let total: Amount = bill.iter().map(|(.., amount)| Amount::parse(amount).unwrap()).sum();
        let buckets: Map<String, Value> = bill
            .iter()
            .map(|(bucket, units, price, amount)| {
                assert_eq!(Amount::parse(price).unwrap().times(*units), Amount::parse(amount).unwrap());
                ((*bucket).to_owned(), json!({"units": units, "unit_price": price, "amount": amount}))
            })
            .collect();
        with(
            &self,
            json!({
                "$ai_total_cost_usd": total.to_f64(), "$ai_cost_model_source": source, "$ai_model_cost_used": model,
                "$ai_cost_model_provider": provider,
                "$ai_cost_details": {"source": source, "model": model, "provider": provider, "match": "exact",
                    "buckets": buckets, "total": total.to_string()},
            }),
        )
    }
}
