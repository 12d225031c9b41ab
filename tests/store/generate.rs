//! A made-up application's calls: the same ones whenever it runs, as many as are wanted.
//!
//! Conversations that grow turn by turn, with retrieval, tools, streams, caches, failures and calls on their own, by a
//! few thousand people on a dozen models, over thirty days. Prices are those of the catalogue's form, not of today.

use std::time::{Duration, SystemTime};

use llmtrail::event::{Event, WireEvent, timestamp};
use llmtrail::price::Amount;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// What the calls are spread over.
const DAYS: u64 = 30;

/// Provider, model, dollars per million tokens: input, cached input, output.
const MODELS: [(&str, &str, &str, &str, &str); 10] = [
    ("openai", "gpt-5-mini-2025-08-07", "0.25", "0.025", "2"),
    ("openai", "gpt-5-2025-08-07", "1.25", "0.125", "10"),
    ("anthropic", "claude-sonnet-4-6", "3", "0.3", "15"),
    ("anthropic", "claude-haiku-4-5", "1", "0.1", "5"),
    ("google-ai-studio", "gemini-2.5-flash", "0.3", "0.03", "2.5"),
    ("openai", "gpt-5-nano-2025-08-07", "0.05", "0.005", "0.4"),
    ("mistral", "mistral-large-2512", "0.5", "0.05", "1.5"),
    ("groq", "llama-3.3-70b-versatile", "0.59", "0.59", "0.79"),
    ("deepseek", "deepseek-chat", "0.27", "0.07", "1.1"),
    // Which nobody has a price for.
    ("together", "some-lab/unlisted-70b", "", "", ""),
];

const WORDS: &str = "order book refund delivery please could you tell me where my parcel is today because the tracking page \
    shows nothing since last week and I would like to give it as a present on Saturday thank you very much for your help \
    the pages are wavy can I return it or exchange it for another copy of the same edition in hardcover if available";

/// Numbers that look like chance and are not.
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn text(&mut self, words: u64) -> String {
        let all: Vec<&str> = WORDS.split_whitespace().collect();
        let mut out = Vec::new();
        for _ in 0..words {
            out.push(all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]);
        }
        out.join(" ")
    }
}

/// Makes events until there are so many generations; `take` gets them trace by trace, in the order of their times.
pub struct Generator {
    dice: Dice,
    end: SystemTime,
    generations: u64,
    made: u64,
    sessions: u64,
}

struct Turn<'a> {
    scope: Map<String, Value>,
    user: Option<&'a str>,
    at: SystemTime,
    events: Vec<WireEvent>,
}

impl Generator {
    /// As many generations, the last of which is at `end`.
    pub fn new(generations: u64, end: SystemTime) -> Self {
        Self { dice: Dice(0x9e37_79b9_7f4a_7c15), end, generations, made: 0, sessions: 0 }
    }

    fn uuid(&mut self, at: SystemTime) -> Uuid {
        let millis = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let (high, low) = (self.dice.next(), self.dice.next());
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[10..]);
        bytes[6..8].copy_from_slice(&high.to_be_bytes()[..2]);
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Uuid::from_bytes(bytes)
    }

    /// How far through the thirty days we are.
    fn time(&mut self) -> SystemTime {
        let share = self.made as f64 / self.generations.max(1) as f64;
        let span = Duration::from_secs(DAYS * 86_400).mul_f64((1.0 - share).max(0.0));
        self.end.checked_sub(span).unwrap_or(self.end)
    }

    fn session(&mut self) -> Vec<WireEvent> {
        self.sessions += 1;
        let session = format!("chat-{}", 10_000 + self.sessions);
        let user = format!("user-{}@example.com", self.dice.below(2000));
        let named = !self.dice.is(15);
        let (model, turns) = (self.model(), 1 + self.dice.below(6));
        let system = json!({"role": "system", "content": format!("You are the support desk of a small bookshop, number {}. Be kind, be brief. {}", self.sessions % 20, WORDS)});
        let mut messages = vec![system];
        let mut all = Vec::new();
        for _ in 0..turns {
            if self.made >= self.generations {
                break;
            }
            let at = self.time();
            let trace = self.uuid(at).to_string();
            let mut scope =
                Map::from_iter([("$ai_trace_id".to_owned(), json!(trace)), ("plan".to_owned(), json!("pro"))]);
            if named {
                scope.insert("$ai_session_id".to_owned(), session.clone().into());
            }
            let mut turn = Turn { scope, user: named.then_some(&user), at, events: Vec::new() };
            self.turn(&mut turn, model, &mut messages, &trace);
            all.append(&mut turn.events);
        }
        all
    }

    fn model(&mut self) -> usize {
        // A few are used most.
        let roll = self.dice.below(100);
        let shares = [34, 46, 64, 74, 84, 90, 93, 96, 98];
        shares.iter().position(|share| roll < *share).unwrap_or(9)
    }

    fn turn(&mut self, turn: &mut Turn<'_>, model: usize, messages: &mut Vec<Value>, trace: &str) {
        let words = 8 + self.dice.below(60);
        let question = self.dice.text(words);
        messages.push(json!({"role": "user", "content": question}));
        let begin = turn.at;
        if self.dice.is(30) {
            let span = self.uuid(turn.at).to_string();
            self.push(turn, "$ai_span", 0.21, json!({"$ai_span_id": span, "$ai_parent_id": trace, "$ai_span_name": "retrieve", "$ai_span_type": "retrieval",
                "$ai_latency": 0.21, "$ai_input_state": question, "$ai_output_state": [{"title": "Delivery times", "score": 0.82}, {"title": "Refunds", "score": 0.61}]}));
        }
        if self.dice.is(25) {
            let call = format!("call_{:x}", self.dice.next());
            let asked = json!({"role": "assistant", "content": null, "tool_calls": [{"id": call, "type": "function", "function": {"name": "lookup_order", "arguments": format!("{{\"order\":{}}}", self.dice.below(9000))}}]});
            let answer = json!({"role": "assistant", "content": [{"type": "function", "id": call, "function": {"name": "lookup_order", "arguments": "{\"order\":1042}"}}]});
            self.generation(turn, model, messages, &answer, trace, "tool_calls");
            messages.push(asked);
            let span = self.uuid(turn.at).to_string();
            self.push(turn, "$ai_span", 0.04, json!({"$ai_span_id": span, "$ai_parent_id": trace, "$ai_span_name": "lookup_order", "$ai_span_type": "tool", "$ai_latency": 0.04,
                "$ai_input_state": {"order": 1042}, "$ai_output_state": {"status": "shipped", "eta": "2026-07-06"}}));
            messages.push(json!({"role": "tool", "tool_call_id": call, "content": format!("{{\"status\":\"shipped\",\"carrier\":\"post\",\"parcel\":{}}}", self.dice.below(1_000_000))}));
        }
        if self.made >= self.generations {
            return;
        }
        let words = 20 + self.dice.below(120);
        let text =
            format!("**Of course.** {}\n\n- {}\n- {}", self.dice.text(words), self.dice.text(6), self.dice.text(5));
        let answer = json!({"role": "assistant", "content": text});
        let failed = self.generation(turn, model, messages, &answer, trace, "stop");
        if !failed {
            messages.push(answer);
        }
        let took = turn.at.duration_since(begin).unwrap_or_default().as_secs_f64();
        turn.at = begin;
        self.push(
            turn,
            "$ai_trace",
            took,
            json!({"$ai_span_name": "answer", "$ai_trace_name": "answer", "$ai_trace_latency": took,
            "$ai_input_state": question, "$ai_output_state": if failed { Value::Null } else { json!(text) }}),
        );
    }

    /// A call; says whether it failed.
    fn generation(
        &mut self,
        turn: &mut Turn<'_>,
        model: usize,
        messages: &[Value],
        answer: &Value,
        trace: &str,
        reason: &str,
    ) -> bool {
        self.made += 1;
        let (provider, name, input_price, cached_price, output_price) = MODELS[model];
        let failed = self.dice.is(2);
        let streamed = !failed && self.dice.is(60);
        let latency =
            (400 + self.dice.below(2600) + if self.dice.is(4) { self.dice.below(20_000) } else { 0 }) as f64 / 1000.0;
        let input = messages.iter().map(|message| message.to_string().len() as u64 / 4).sum::<u64>() + 40;
        let cached = if messages.len() > 3 { input * 6 / 10 / 128 * 128 } else { 0 };
        let (output, reasoning) = (answer.to_string().len() as u64 / 4 + 64, 64);
        let span = self.uuid(turn.at).to_string();
        let mut p = json!({
            "$ai_span_id": span, "$ai_parent_id": trace, "$ai_provider": provider, "$ai_model": name,
            "$ai_base_url": format!("https://api.{provider}.com/v1"), "$ai_request_url": format!("https://api.{provider}.com/v1/chat/completions"),
            "$ai_input": messages, "$ai_stream": streamed, "$ai_latency": latency, "$ai_model_parameters": {"reasoning_effort": "low", "temperature": 0.3},
            "$ai_temperature": 0.3,
        });
        let more = if failed {
            json!({"$ai_http_status": 429, "$ai_is_error": true, "$ai_error": "Rate limit reached for requests per minute. Please try again later.",
                "$ai_error_type": "rate_limit_exceeded", "$ai_retries": 2, "$ai_tokens_source": "absent", "$ai_output_choices": []})
        } else {
            json!({"$ai_http_status": 200, "$ai_output_choices": [answer], "$ai_stop_reason": reason, "$ai_input_tokens": input,
                "$ai_output_tokens": output, "$ai_total_tokens": input + output, "$ai_cache_read_input_tokens": cached, "$ai_reasoning_tokens": reasoning,
                "$ai_cache_reporting_exclusive": false, "$ai_tokens_source": "provider", "$ai_response_id": format!("chatcmpl-{:x}", self.dice.next()),
                "$ai_service_tier": "default",
                "$ai_usage": {"completion_tokens": output, "completion_tokens_details": {"accepted_prediction_tokens": 0, "audio_tokens": 0, "reasoning_tokens": reasoning, "rejected_prediction_tokens": 0},
                    "prompt_tokens": input, "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": cached}, "total_tokens": input + output}})
        };
        merge(&mut p, more);
        if streamed {
            merge(&mut p, json!({"$ai_stream_status": "complete", "$ai_time_to_first_token": latency * 0.3}));
        }
        if !failed {
            merge(
                &mut p,
                bill(
                    provider,
                    name,
                    &[
                        ("input_text", input - cached, input_price),
                        ("cache_read", cached, cached_price),
                        ("output_text", output - reasoning, output_price),
                        ("reasoning", reasoning, output_price),
                    ],
                ),
            );
        }
        self.push(turn, "$ai_generation", latency, p);
        failed
    }

    fn push(&mut self, turn: &mut Turn<'_>, event: &str, took: f64, mut p: Value) {
        merge(&mut p, Value::Object(turn.scope.clone()));
        merge(
            &mut p,
            json!({"$lib": "llmtrail", "$lib_version": "0.1.0", "$ai_lib": "llmtrail", "$ai_lib_version": "0.1.0", "$ai_lib_language": if self.sessions.is_multiple_of(3) { "node" } else { "python" }, "$geoip_disable": true}),
        );
        let uuid = self.uuid(turn.at);
        let trace = p["$ai_trace_id"].as_str().unwrap_or_default().to_owned();
        let Value::Object(properties) = p else { return };
        let distinct_id = turn.user.map_or(trace, str::to_owned);
        turn.events.push(
            Event { event: event.to_owned(), uuid, distinct_id, timestamp: timestamp(turn.at), properties }.encode(),
        );
        turn.at += Duration::from_secs_f64(took);
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// A bill as the library writes it.
fn bill(provider: &str, model: &str, lines: &[(&str, u64, &str)]) -> Value {
    if lines[0].2.is_empty() {
        return json!({"$ai_cost_model_source": "unknown", "$ai_cost_details": {"source": "unknown", "reason": "no price list has a model of this name"}});
    }
    let mut buckets = Map::new();
    let mut total = Amount::ZERO;
    for (bucket, units, price) in lines.iter().filter(|(_, units, _)| *units > 0) {
        let price = Amount::parse_per(price, 6).unwrap_or_default();
        let amount = price.times(*units);
        total = total + amount;
        buckets.insert(
            (*bucket).to_owned(),
            json!({"units": units, "unit_price": price.to_string(), "amount": amount.to_string()}),
        );
    }
    json!({"$ai_total_cost_usd": total.to_f64(), "$ai_cost_model_source": "openrouter", "$ai_model_cost_used": model, "$ai_cost_model_provider": provider,
        "$ai_cost_details": {"source": "openrouter", "model": model, "provider": provider, "match": "exact", "catalogue": "openrouter 2026-11-20, genai-prices 2026-11-18",
            "buckets": buckets, "total": total.to_string()}})
}

impl Iterator for Generator {
    /// The events of a session.
    type Item = Vec<WireEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.made < self.generations).then(|| self.session())
    }
}

/// One trace of so many spans, three deep.
pub fn wide(spans: usize, end: SystemTime) -> Vec<WireEvent> {
    let mut generator = Generator::new(1, end);
    let at = end.checked_sub(Duration::from_secs(600)).unwrap_or(end);
    let scope = Map::from_iter([("$ai_trace_id".to_owned(), json!("wide-trace"))]);
    let mut turn = Turn { scope, user: Some("user-wide@example.com"), at, events: Vec::new() };
    let mut parents = ["wide-trace".to_owned(), String::new()];
    for number in 0..spans {
        turn.at = at + Duration::from_millis(number as u64 * 100);
        let id = format!("wide-{number}");
        let (parent, name) =
            if number % 25 == 0 { (parents[0].clone(), "step") } else { (parents[1].clone(), "lookup") };
        if number % 25 == 0 {
            parents[1].clone_from(&id);
        }
        generator.push(&mut turn, "$ai_span", 0.09, json!({"$ai_span_id": id, "$ai_parent_id": parent, "$ai_span_name": format!("{name} {number}"), "$ai_span_type": if number % 25 == 0 { "agent" } else { "tool" }, "$ai_latency": if number % 25 == 0 { 2.4 } else { 0.09 }}));
    }
    turn.events
}
