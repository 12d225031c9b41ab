//! Anthropic messages.

use serde_json::{Value, json};

use super::speech::{Question, Say, Tool, say, text_of};
use super::{Asked, Made, count, event, tokens};
use crate::loopback::hash;

const THOUGHT: &str = "The customer wants an answer that is short and right. I look at what I know and say it plainly.";

pub(crate) fn answer(asked: &Asked<'_>) -> Result<Made, String> {
    let body = asked.body;
    let Some(messages) = body["messages"].as_array().filter(|messages| !messages.is_empty()) else {
        return Err("messages: Field required".to_owned());
    };
    if body["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return Err("max_tokens: Field required".to_owned());
    }
    let said = say(asked, &question(body, messages));
    let thinks = matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    let mut usage = usage(asked, messages);
    let output = said.tokens() + if thinks { tokens(THOUGHT.len()) } else { 0 };
    usage["output_tokens"] = output.into();
    usage["service_tier"] = "standard".into();
    let mut blocks = Vec::new();
    if thinks {
        blocks.push(json!({"type": "thinking", "thinking": THOUGHT, "signature": signature(asked)}));
    }
    blocks.push(match &said {
        Say::Text { text, .. } => json!({"type": "text", "text": text}),
        Say::Call { name, arguments, .. } => {
            let input: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({"type": "tool_use", "id": asked.id("toolu_", ""), "name": name, "input": input})
        }
    });
    let reason = match &said {
        Say::Text { cut: true, .. } => "max_tokens",
        Say::Text { .. } => "end_turn",
        Say::Call { .. } => "tool_use",
    };
    let message = json!({
        "id": asked.id("msg_", ""),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": null,
        "usage": usage,
    });
    Ok(if asked.stream() { stream(asked, &said, &message) } else { Made::Whole(message) })
}

fn question<'a>(body: &'a Value, messages: &'a [Value]) -> Question<'a> {
    let last = messages.last().unwrap_or(&Value::Null);
    let results = last["content"].as_array().into_iter().flatten().filter(|part| part["type"] == "tool_result");
    let results: Vec<String> = results.map(|part| text_of(&part["content"])).collect();
    // The messages that carry tool results are the user's too.
    let said = |message: &&Value| message["role"] == "user" && !text_of(&message["content"]).is_empty();
    let user = messages.iter().rev().find(said);
    let choice = &body["tool_choice"];
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        // Anthropic's own tools have no schema.
        let schema = tool.get("input_schema")?;
        Some(Tool { name: tool["name"].as_str()?, schema, custom: false })
    });
    let format =
        if body["output_format"].is_null() { &body["output_config"]["format"] } else { &body["output_format"] };
    Question {
        text: user.map(|user| text_of(&user["content"])).unwrap_or_default(),
        result: (!results.is_empty()).then(|| results.join(" ")),
        tools: tools.collect(),
        choice: choice["name"].as_str().or(choice["type"].as_str().filter(|kind| *kind == "none")),
        schema: (format["type"] == "json_schema").then_some(&format["schema"]),
        limit: body["max_tokens"].as_u64(),
    }
}

fn signature(asked: &Asked<'_>) -> String {
    format!("Er{}", hash(asked.seed.as_bytes()))
}

/// Input tokens by where they come from. A prefix up to a `cache_control` is written when it is first seen and read
/// when it comes again; the longest known prefix counts.
fn usage(asked: &Asked<'_>, messages: &[Value]) -> Value {
    let body = asked.body;
    let mut blocks: Vec<(&Value, Option<&Value>)> = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        blocks.push((tool, tool.get("cache_control")));
    }
    for content in std::iter::once(&body["system"]).chain(messages.iter().map(|message| &message["content"])) {
        match content {
            Value::Array(parts) => blocks.extend(parts.iter().map(|part| (part, part.get("cache_control")))),
            Value::Null => {}
            whole => blocks.push((whole, None)),
        }
    }
    if let (Some(last), Some(control)) = (blocks.last_mut(), body.get("cache_control")) {
        last.1 = Some(control);
    }
    let mut log = asked.log.lock();
    let (mut seen, mut read, mut written) = (0, 0, 0);
    let (mut five_minutes, mut hour) = (0, 0);
    let mut prefix = hash(asked.model.as_bytes());
    for (block, control) in blocks {
        seen += count(block);
        prefix = hash(format!("{prefix}{}", bare(block)).as_bytes());
        let Some(control) = control.filter(|control| control.is_object()) else { continue };
        if log.knows_prefix(&prefix) {
            (read, written, five_minutes, hour) = (seen, seen, 0, 0);
        } else {
            let fresh = tokens(seen) - tokens(written);
            written = seen;
            if control["ttl"] == "1h" {
                hour += fresh;
            } else {
                five_minutes += fresh;
            }
            log.learn_prefix(prefix.clone());
        }
    }
    json!({
        "input_tokens": tokens(seen) - tokens(written),
        "cache_creation_input_tokens": five_minutes + hour,
        "cache_read_input_tokens": tokens(read),
        "cache_creation": {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour},
    })
}

/// A block without its `cache_control`, which moves on from call to call and is no part of the prefix.
fn bare(block: &Value) -> String {
    let mut block = block.clone();
    if let Some(members) = block.as_object_mut() {
        members.remove("cache_control");
    }
    block.to_string()
}

fn stream(asked: &Asked<'_>, said: &Say, message: &Value) -> Made {
    let mut out = Vec::new();
    let mut send = |name: &str, mut data: Value| {
        data["type"] = name.into();
        out.push(event(Some(name), &data));
    };
    let mut begun = message.clone();
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    begun["usage"]["output_tokens"] = json!(1);
    send("message_start", json!({"message": begun}));
    let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            Some("thinking") => {
                let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
                send("content_block_start", json!({"index": index, "content_block": empty}));
                for piece in THOUGHT.split_inclusive(". ") {
                    send(
                        "content_block_delta",
                        json!({"index": index, "delta": {"type": "thinking_delta", "thinking": piece}}),
                    );
                }
                let signed = json!({"type": "signature_delta", "signature": block["signature"]});
                send("content_block_delta", json!({"index": index, "delta": signed}));
            }
            Some("tool_use") => {
                let empty = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
                send("content_block_start", json!({"index": index, "content_block": empty}));
                for piece in std::iter::once(String::new()).chain(said.pieces(asked)) {
                    let delta = json!({"type": "input_json_delta", "partial_json": piece});
                    send("content_block_delta", json!({"index": index, "delta": delta}));
                }
            }
            _ => {
                send("content_block_start", json!({"index": index, "content_block": {"type": "text", "text": ""}}));
                send("ping", json!({}));
                for piece in said.pieces(asked) {
                    send(
                        "content_block_delta",
                        json!({"index": index, "delta": {"type": "text_delta", "text": piece}}),
                    );
                }
            }
        }
        send("content_block_stop", json!({"index": index}));
    }
    let usage = &message["usage"];
    send(
        "message_delta",
        json!({
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": null},
            "usage": {
                "input_tokens": usage["input_tokens"],
                "cache_creation_input_tokens": usage["cache_creation_input_tokens"],
                "cache_read_input_tokens": usage["cache_read_input_tokens"],
                "output_tokens": usage["output_tokens"],
            },
        }),
    );
    send("message_stop", json!({}));
    Made::Stream(out)
}
