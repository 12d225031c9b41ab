//! What Gemini's formats share: two spellings of every name, contents and parts, usage.

use serde_json::{Map, Value, json};

use super::call::{Call, Tokens};
use super::json::{count, text};

/// Members whose names below are the application's.
const OWN_NAMES: [&str; 4] = ["args", "response", "responseSchema", "responseJsonSchema"];

/// A member in either spelling, by its name in camelCase. Null is nothing.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let there = |name: &str| object.get(name).filter(|value| !value.is_null());
    there(name).or_else(|| there(&snake_name(name)))
}

/// A list's items; a single value is a list of one.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(single) => std::slice::from_ref(single),
    }
}

/// Nothing, or nothing inside.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A copy with the names of members in camelCase at every depth, but for those that are the application's.
pub(super) fn camel(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(camel).collect(),
        Value::Object(members) => {
            let renamed = members.iter().map(|(name, value)| {
                let name = camel_name(name);
                let value = if OWN_NAMES.contains(&name.as_str()) { value.clone() } else { camel(value) };
                (name, value)
            });
            Value::Object(renamed.collect())
        }
        other => other.clone(),
    }
}

pub(super) fn camel_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after = false;
    for letter in name.chars() {
        if letter == '_' && !out.is_empty() {
            after = true;
        } else {
            out.push(if std::mem::take(&mut after) { letter.to_ascii_uppercase() } else { letter });
        }
    }
    out
}

fn snake_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// A content as a message.
pub(super) fn message(content: &Value) -> Value {
    let role = match content.get("role").and_then(Value::as_str).unwrap_or_default() {
        "model" => "assistant",
        "function" => "tool",
        "" => "user",
        other => other,
    };
    json!({"role": role, "content": parts(content)})
}

/// The parts of a content in the normal form.
pub(super) fn parts(content: &Value) -> Vec<Value> {
    let raw = if content.is_object() { content.get("parts") } else { Some(content) };
    items(raw).iter().map(part).collect()
}

/// A part in the normal form.
fn part(raw: &Value) -> Value {
    let mut part = match camel(raw) {
        Value::Object(part) => part,
        Value::String(text) => return json!({"type": "text", "text": text}),
        other => return other,
    };
    let thought = part.remove("thought") == Some(Value::Bool(true));
    if let Some(signature) = part.remove("thoughtSignature").filter(|signature| !signature.is_null()) {
        part.insert("signature".to_owned(), signature);
    }
    if part.get("text").is_some_and(Value::is_string) {
        let kind = if thought { "thinking" } else { "text" };
        let text = part.remove("text").unwrap_or_default();
        part.insert(kind.to_owned(), text);
        part.insert("type".to_owned(), kind.into());
    } else if let Some(call) = whole_call(&part) {
        part.remove("functionCall");
        part.extend(call);
    } else if let Some(Value::Object(response)) = part.get("functionResponse") {
        let result = result(response);
        part.remove("functionResponse");
        part.extend(result);
    } else if let Some(data) =
        ["inlineData", "fileData"].iter().find_map(|name| part.get(*name).filter(|data| data.is_object()))
    {
        let kind = data.get("mimeType").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let kind = ["image", "audio", "video"].into_iter().find(|known| kind.split('/').next() == Some(known));
        part.insert("type".to_owned(), kind.unwrap_or("document").into());
    }
    Value::Object(part)
}

/// A function call that came whole; the pieces of one are told apart by path, and stay as they were sent.
fn whole_call(part: &Map<String, Value>) -> Option<Map<String, Value>> {
    let call = part.get("functionCall")?.as_object()?;
    if call.contains_key("partialArgs") || call.contains_key("willContinue") {
        return None;
    }
    let there = |name: &str| call.get(name).filter(|value| !value.is_null()).cloned();
    let function = [("name", there("name")), ("arguments", there("args"))];
    let function: Map<_, _> =
        function.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let out = [("type", Some("function".into())), ("id", there("id")), ("function", Some(Value::Object(function)))];
    Some(out.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn result(response: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in response.iter().filter(|(_, value)| !value.is_null()) {
        let (name, value) = match name.as_str() {
            "id" => ("tool_use_id", value.clone()),
            "response" => ("content", value.clone()),
            "parts" => ("parts", items(Some(value)).iter().map(part).collect()),
            other => (other, value.clone()),
        };
        out.insert(name.to_owned(), value);
    }
    out.insert("type".to_owned(), "tool_result".into());
    out
}

/// Reads `usageMetadata`: the tier, and the counts if there are any.
pub(super) fn usage(body: &Value, call: &mut Call) {
    let Some(raw) = member(body, "usageMetadata").filter(|usage| usage.is_object()) else { return };
    call.service_tier = text(member(raw, "serviceTier")).or_else(|| text(member(raw, "trafficType")));
    let number = |name: &str| count(member(raw, name));
    let sum = |counts: [Option<u64>; 2]| counts.into_iter().flatten().reduce(u64::saturating_add);
    let tokens = Tokens {
        input: sum([number("promptTokenCount"), number("toolUsePromptTokenCount")]),
        output: number("candidatesTokenCount"),
        total: number("totalTokenCount"),
        cache_read: number("cachedContentTokenCount"),
        reasoning: number("thoughtsTokenCount"),
        audio_in: sum(["promptTokensDetails", "toolUsePromptTokensDetails"].map(|list| of(raw, list, "AUDIO"))),
        image_in: sum(["promptTokensDetails", "toolUsePromptTokensDetails"].map(|list| of(raw, list, "IMAGE"))),
        cache_read_audio: of(raw, "cacheTokensDetails", "AUDIO"),
        text_out: of(raw, "candidatesTokensDetails", "TEXT"),
        audio_out: of(raw, "candidatesTokensDetails", "AUDIO"),
        image_out: of(raw, "candidatesTokensDetails", "IMAGE"),
        ..Tokens::default()
    };
    let counts = [tokens.input, tokens.output, tokens.total, tokens.cache_read, tokens.reasoning];
    // Vertex AI's first events have a traffic type and nothing else.
    if counts.iter().any(Option::is_some) {
        call.tokens = tokens;
        settle(call, of(raw, "cacheTokensDetails", "IMAGE"));
        call.raw_usage = Some(raw.clone());
    }
}

/// The tokens of one modality in a list of details.
fn of(usage: &Value, list: &str, modality: &str) -> Option<u64> {
    let details = items(member(usage, list)).iter();
    let same = details.filter(|detail| detail.get("modality").and_then(Value::as_str) == Some(modality));
    same.filter_map(|detail| count(member(detail, "tokenCount"))).reduce(u64::saturating_add)
}

/// Makes the buckets. Cached, audio and image tokens are inside the input, and any of them may be cached; thoughts lie
/// beside the output.
fn settle(call: &mut Call, cached_images: Option<u64>) {
    let tokens = call.tokens;
    let zero = |count: Option<u64>| count.unwrap_or(0);
    let cached_audio = zero(tokens.cache_read_audio).min(zero(tokens.cache_read));
    // Where it is not said what was cached, audio and images fill what is left of the input.
    let fresh = tokens.input.map_or(u64::MAX, |input| input.saturating_sub(zero(tokens.cache_read)));
    let audio = tokens.audio_in.map(|audio| audio.saturating_sub(cached_audio).min(fresh));
    let left = fresh.saturating_sub(zero(audio));
    let images = tokens.image_in.map(|images| images.saturating_sub(zero(cached_images)).min(left));
    let usage = &mut call.usage;
    usage.cache_read = tokens.cache_read.map(|cached| cached - cached_audio);
    usage.audio_cached = tokens.cache_read_audio.map(|_| cached_audio);
    usage.audio_in = audio;
    usage.image_in = images;
    usage.input_text = tokens.input.map(|_| left.saturating_sub(zero(images)));
    let spoken = zero(tokens.audio_out).saturating_add(zero(tokens.image_out));
    usage.output_text = tokens.output.map(|output| output.saturating_sub(spoken));
    usage.audio_out = tokens.audio_out;
    usage.image_out = tokens.image_out;
    usage.reasoning = tokens.reasoning;
    let parts = [tokens.input, tokens.output, tokens.reasoning];
    let all = parts.into_iter().map(zero).fold(0, u64::saturating_add);
    call.usage_inconsistent = tokens.total.is_some_and(|total| total != all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_camel_case_but_for_the_applications() {
        let sent = json!({"inline_data": {"mime_type": "a/b"}, "function_call": {"args": {"my_name": {"x_y": 1}}}});
        let named = json!({"inlineData": {"mimeType": "a/b"}, "functionCall": {"args": {"my_name": {"x_y": 1}}}});
        assert_eq!(camel(&sent), named);
        assert_eq!(camel(&named), named);
        assert_eq!(["topK", "responseMimeType"].map(snake_name), ["top_k", "response_mime_type"]);
    }

    #[test]
    fn buckets_are_disjoint() {
        for usage in [
            // What was cached is said, in part or not at all; more is cached than there was.
            json!({"promptTokenCount": 100, "cachedContentTokenCount": 60,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}, {"modality": "IMAGE", "tokenCount": 30}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}, {"modality": "IMAGE", "tokenCount": 10}]}),
            json!({"promptTokenCount": 100, "cachedContentTokenCount": 90,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 95}]}),
            json!({"promptTokenCount": 100, "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 200}]}),
        ] {
            let mut call = Call::default();
            super::usage(&json!({"usageMetadata": usage}), &mut call);
            assert_eq!(call.usage.input_total(), Some(100), "{usage}");
        }
    }
}
