//! OpenAI Responses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::speech::{Question, Say, Tool, say, text_of};
use super::{Asked, CREATED, Made, background, count, event, tokens};

pub(crate) fn answer(asked: &Asked<'_>) -> Result<Made, String> {
    let body = asked.body;
    if body["input"].is_null() && body["prompt"].is_null() && body["previous_response_id"].is_null() {
        return Err("Missing required parameter: 'input'.".to_owned());
    }
    let said = say(asked, &question(body));
    let input = tokens(count(&body["instructions"]) + count(&body["input"]) + count(&body["tools"]));
    let output = said.tokens();
    let usage = json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + output,
    });
    let cut = matches!(said, Say::Text { cut: true, .. });
    let status = if cut { "incomplete" } else { "completed" };
    let done = response(asked, status, &json!([item(asked, &said, status)]), &usage);
    let background = body["background"] == true;
    Ok(match (asked.stream(), background) {
        (false, false) => Made::Whole(done),
        (true, false) => Made::Stream(stream(asked, &said, &done)),
        (false, true) => Made::Whole(background::begin(asked.log, &done, stream(asked, &said, &done))),
        (true, true) => {
            let events = stream(asked, &said, &done);
            background::begin(asked.log, &done, events.clone());
            Made::Stream(events)
        }
    })
}

fn question(body: &Value) -> Question<'_> {
    let items = body["input"].as_array();
    let last = items.and_then(|items| items.last());
    let is_result = last.and_then(|last| last["type"].as_str()).is_some_and(|kind| kind.ends_with("_call_output"));
    let user = items.and_then(|items| items.iter().rev().find(|item| item["role"] == "user"));
    let choice = &body["tool_choice"];
    let tools = body["tools"].as_array().into_iter().flatten().filter_map(|tool| {
        // Tools of the provider's own have no name.
        Some(Tool { name: tool["name"].as_str()?, schema: &tool["parameters"], custom: tool["type"] == "custom" })
    });
    let format = &body["text"]["format"];
    Question {
        text: body["input"]
            .as_str()
            .map(str::to_owned)
            .or(user.map(|user| text_of(&user["content"])))
            .unwrap_or_default(),
        result: last.filter(|_| is_result).map(|last| text_of(&last["output"])),
        tools: tools.collect(),
        choice: choice["name"].as_str().or(choice.as_str().filter(|choice| *choice == "none")),
        schema: match format["type"].as_str() {
            Some("json_schema") => Some(&format["schema"]),
            Some("json_object") => Some(&Value::Null),
            _ => None,
        },
        limit: body["max_output_tokens"].as_u64(),
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn item(asked: &Asked<'_>, said: &Say, status: &str) -> Value {
    match said {
        Say::Text { text, .. } => json!({
            "id": asked.id("msg_", ""), "type": "message", "status": status, "role": "assistant", "content": [part(text)],
        }),
        Say::Call { name, arguments, custom: true } => json!({
            "id": asked.id("ctc_", ""), "type": "custom_tool_call", "status": status, "call_id": asked.id("call_", ""),
            "name": name, "input": arguments,
        }),
        Say::Call { name, arguments, custom: false } => json!({
            "id": asked.id("fc_", ""), "type": "function_call", "status": status, "call_id": asked.id("call_", ""),
            "name": name, "arguments": arguments,
        }),
    }
}

fn response(asked: &Asked<'_>, status: &str, output: &Value, usage: &Value) -> Value {
    let body = asked.body;
    let given = |key: &str, default: Value| match &body[key] {
        Value::Null => default,
        value => value.clone(),
    };
    let details = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
    json!({
        "id": asked.id("resp_", ""),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": given("background", json!(false)),
        "error": null,
        "incomplete_details": details,
        "instructions": body["instructions"],
        "max_output_tokens": body["max_output_tokens"],
        "max_tool_calls": body["max_tool_calls"],
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
        "previous_response_id": body["previous_response_id"],
        "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
        "service_tier": "default",
        "store": given("store", json!(true)),
        "temperature": given("temperature", json!(1.0)),
        "text": given("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        "tool_choice": given("tool_choice", json!("auto")),
        "tools": given("tools", json!([])),
        "top_logprobs": 0,
        "top_p": given("top_p", json!(1.0)),
        "truncation": given("truncation", json!("disabled")),
        "usage": usage,
        "user": body["user"],
        "metadata": given("metadata", json!({})),
    })
}

fn stream(asked: &Asked<'_>, said: &Say, done: &Value) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut send = |name: &str, mut data: Value| {
        data["type"] = name.into();
        data["sequence_number"] = out.len().into();
        out.push(event(Some(name), &data));
    };
    let empty = match said {
        Say::Text { .. } => Say::Text { text: String::new(), cut: false },
        Say::Call { name, custom, .. } => Say::Call { name: name.clone(), arguments: String::new(), custom: *custom },
    };
    let mut first = item(asked, &empty, "in_progress");
    let id = first["id"].clone();
    let begun = response(asked, "in_progress", &json!([]), &Value::Null);
    send("response.created", json!({"response": begun}));
    send("response.in_progress", json!({"response": begun}));
    if first["content"].is_array() {
        first["content"] = json!([]);
    }
    send("response.output_item.added", json!({"output_index": 0, "item": first}));
    match said {
        Say::Text { text, .. } => {
            let at = json!({"item_id": id, "output_index": 0, "content_index": 0});
            let with = |members: Value| {
                let mut all = at.clone();
                for (key, value) in members.as_object().into_iter().flatten() {
                    all[key] = value.clone();
                }
                all
            };
            send("response.content_part.added", with(json!({"part": part("")})));
            for piece in said.pieces(asked) {
                send("response.output_text.delta", with(json!({"delta": piece, "logprobs": []})));
            }
            send("response.output_text.done", with(json!({"text": text, "logprobs": []})));
            send("response.content_part.done", with(json!({"part": part(text)})));
        }
        Say::Call { name, arguments, custom } => {
            let (delta, end, key) = if *custom {
                ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input")
            } else {
                ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments")
            };
            for piece in said.pieces(asked) {
                send(delta, json!({"item_id": id, "output_index": 0, "delta": piece}));
            }
            let mut last = json!({"item_id": id, "output_index": 0, "name": name});
            last[key] = arguments.as_str().into();
            send(end, last);
        }
    }
    send("response.output_item.done", json!({"output_index": 0, "item": done["output"][0]}));
    let name = if done["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
    send(name, json!({"response": done}));
    out
}
