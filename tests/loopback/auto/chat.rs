//! OpenAI chat completions.

use serde_json::{Value, json};

use super::speech::{Question, Say, Tool, say, text_of};
use super::{Asked, CREATED, Made, count, event, tokens};

const MOST_CHOICES: u64 = 128;

pub(crate) fn answer(asked: &Asked<'_>) -> Result<Made, String> {
    let body = asked.body;
    let Some(messages) = body["messages"].as_array().filter(|messages| !messages.is_empty()) else {
        return Err("Missing required parameter: 'messages'.".to_owned());
    };
    let said = say(asked, &question(body, messages));
    let choices = body["n"].as_u64().unwrap_or(1).clamp(1, MOST_CHOICES);
    let said: Vec<Say> = (0..choices).map(|at| variant(&said, at)).collect();
    let input = tokens(count(&body["messages"]) + count(&body["tools"]));
    let output: usize = said.iter().map(Say::tokens).sum();
    let usage = json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    });
    Ok(if asked.stream() { stream(asked, &said, &usage) } else { whole(asked, &said, &usage) })
}

fn question<'a>(body: &'a Value, messages: &'a [Value]) -> Question<'a> {
    let last = messages.last().unwrap_or(&Value::Null);
    let user = messages.iter().rev().find(|message| message["role"] == "user");
    let choice = &body["tool_choice"];
    let named = choice["function"]["name"].as_str().or(choice["custom"]["name"].as_str());
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        let (inner, custom) =
            if tool["type"] == "custom" { (&tool["custom"], true) } else { (&tool["function"], false) };
        Some(Tool { name: inner["name"].as_str()?, schema: &inner["parameters"], custom })
    });
    Question {
        text: user.map(|user| text_of(&user["content"])).unwrap_or_default(),
        result: (last["role"] == "tool").then(|| text_of(&last["content"])),
        tools: tools.collect(),
        choice: named.or(choice.as_str().filter(|choice| *choice == "none")),
        schema: match body["response_format"]["type"].as_str() {
            Some("json_schema") => Some(&body["response_format"]["json_schema"]["schema"]),
            Some("json_object") => Some(&Value::Null),
            _ => None,
        },
        limit: body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()),
    }
}

/// Further choices say the same and can be told apart.
fn variant(said: &Say, at: u64) -> Say {
    match said {
        Say::Text { text, cut } if at > 0 && !text.starts_with('{') => {
            Say::Text { text: format!("{text} (Option {}.)", at + 1), cut: *cut }
        }
        Say::Text { text, cut } => Say::Text { text: text.clone(), cut: *cut },
        Say::Call { name, arguments, custom } => {
            Say::Call { name: name.clone(), arguments: arguments.clone(), custom: *custom }
        }
    }
}

fn finish(said: &Say) -> &'static str {
    match said {
        Say::Text { cut: true, .. } => "length",
        Say::Text { .. } => "stop",
        Say::Call { .. } => "tool_calls",
    }
}

fn whole(asked: &Asked<'_>, said: &[Say], usage: &Value) -> Made {
    let choices = said.iter().enumerate().map(|(index, said)| {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null, "annotations": []});
        match said {
            Say::Text { text, .. } => message["content"] = json!(text),
            Say::Call { name, arguments, custom } => {
                let id = asked.id("call_", &index.to_string());
                message["tool_calls"] = if *custom {
                    json!([{"id": id, "type": "custom", "custom": {"name": name, "input": arguments}}])
                } else {
                    json!([{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}])
                };
            }
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish(said)})
    });
    Made::Whole(json!({
        "id": asked.id("chatcmpl-", ""),
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_loopback",
    }))
}

fn stream(asked: &Asked<'_>, said: &[Say], usage: &Value) -> Made {
    let asks_usage = asked.body["stream_options"]["include_usage"] == true;
    let id = asked.id("chatcmpl-", "");
    let chunk = |choices: Value, usage: &Value| {
        let mut chunk = json!({
            "id": id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": asked.model,
            "service_tier": "default",
            "system_fingerprint": "fp_loopback",
            "choices": choices,
        });
        if asks_usage {
            chunk["usage"] = usage.clone();
        }
        event(None, &chunk)
    };
    let delta = |index: usize, delta: Value, finish: Option<&str>| {
        let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
        chunk(json!([choice]), &Value::Null)
    };
    let mut out = Vec::new();
    for (index, said) in said.iter().enumerate() {
        let first = match said {
            Say::Text { .. } => json!({"role": "assistant", "content": "", "refusal": null}),
            Say::Call { name, custom, .. } => {
                let id = asked.id("call_", &index.to_string());
                let call = if *custom {
                    json!({"index": 0, "id": id, "type": "custom", "custom": {"name": name, "input": ""}})
                } else {
                    json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})
                };
                json!({"role": "assistant", "content": null, "tool_calls": [call]})
            }
        };
        out.push(delta(index, first, None));
    }
    // Choices come interleaved, as they are made side by side.
    let pieces: Vec<Vec<String>> = said.iter().map(|said| said.pieces(asked)).collect();
    for at in 0..pieces.iter().map(Vec::len).max().unwrap_or_default() {
        for (index, said) in said.iter().enumerate() {
            let Some(piece) = pieces[index].get(at) else { continue };
            let change = match said {
                Say::Text { .. } => json!({"content": piece}),
                Say::Call { custom: true, .. } => json!({"tool_calls": [{"index": 0, "custom": {"input": piece}}]}),
                Say::Call { .. } => json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
            };
            out.push(delta(index, change, None));
        }
    }
    out.extend(said.iter().enumerate().map(|(index, said)| delta(index, json!({}), Some(finish(said)))));
    if asks_usage {
        out.push(chunk(json!([]), usage));
    }
    out.push("data: [DONE]\n\n".into());
    Made::Stream(out)
}
