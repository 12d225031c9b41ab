//! What is said: a support agent's sentences, tool calls and structured answers made from their schemas.

use serde_json::{Map, Value, json};

use super::{Asked, tokens};

/// A tool that may be called.
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Value,
    /// Takes free text instead of JSON.
    pub(crate) custom: bool,
}

/// What the request comes down to.
#[derive(Default)]
pub(crate) struct Question<'a> {
    /// The last thing the user said.
    pub(crate) text: String,
    /// The result that a tool gave, when that is the last message.
    pub(crate) result: Option<String>,
    pub(crate) tools: Vec<Tool<'a>>,
    /// `none`, or the name of the tool that must be called.
    pub(crate) choice: Option<&'a str>,
    /// The schema that the answer must follow.
    pub(crate) schema: Option<&'a Value>,
    /// The most tokens that the answer may have.
    pub(crate) limit: Option<u64>,
}

/// What is answered.
pub(crate) enum Say {
    Text {
        text: String,
        /// It ended because there was no room for more.
        cut: bool,
    },
    Call {
        name: String,
        /// JSON text, or free text for a custom tool.
        arguments: String,
        custom: bool,
    },
}

impl Say {
    pub(crate) fn tokens(&self) -> usize {
        match self {
            Self::Text { text, .. } => tokens(text.chars().count()),
            Self::Call { name, arguments, .. } => tokens(name.len() + arguments.chars().count()),
        }
    }

    /// The text, or the arguments, in the pieces of a stream.
    pub(crate) fn pieces(&self, asked: &Asked<'_>) -> Vec<String> {
        match self {
            Self::Text { text, .. } => match asked.knobs.chunks {
                Some(chunks) => even(text, chunks),
                None => text.split_inclusive(' ').map(str::to_owned).collect(),
            },
            Self::Call { arguments, .. } => even(arguments, arguments.len().div_ceil(8).max(1)),
        }
    }
}

/// Chooses between a tool call and a text.
pub(crate) fn say(asked: &Asked<'_>, question: &Question<'_>) -> Say {
    let tool = match question.choice {
        Some("none") => None,
        Some(name) => question.tools.iter().find(|tool| tool.name == name).or(question.tools.first()),
        None => question.tools.first(),
    };
    if let Some(tool) = tool.filter(|_| question.result.is_none()) {
        let arguments = if tool.custom {
            question.text.clone()
        } else {
            sample(tool.schema, tool.schema, "", &question.text, 0).to_string()
        };
        return Say::Call { name: tool.name.to_owned(), arguments, custom: tool.custom };
    }
    let mut text = match question.schema {
        Some(schema) => sample(schema, schema, "", &question.text, 0).to_string(),
        None => sentence(&question.text, question.result.as_deref()),
    };
    let wanted = asked.knobs.reply_bytes.or(asked.knobs.chunks.map(|chunks| text.len().max(chunks * 6)));
    if let Some(bytes) = wanted {
        let once = format!("{text} ");
        text = once.repeat(bytes / once.len() + 1);
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    } else if let Some(limit) = question.limit.and_then(|limit| usize::try_from(limit).ok())
        && tokens(text.chars().count()) > limit
    {
        return Say::Text { text: text.chars().take(limit * 4).collect(), cut: true };
    }
    Say::Text { text, cut: false }
}

/// A support agent's answer by keyword; the first that fits.
fn sentence(question: &str, result: Option<&str>) -> String {
    if let Some(result) = result {
        return format!("I looked it up: {}. Is there anything else I can help you with?", spoken(result));
    }
    let lower = question.to_lowercase();
    let order = number(question).map_or_else(|| "your order".to_owned(), |number| format!("order {number}"));
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["refund", "money back", "return"]) {
        format!(
            "I am sorry that this did not work out. I have started the refund for {order}; the money will be back on \
             your card within five working days."
        )
    } else if has(&["password", "log in", "login", "sign in"]) {
        "You can set a new password under Account, Security. The link in the message that we send you is good for one \
         hour."
            .to_owned()
    } else if has(&["deliver", "shipping", "shipped", "arrive"]) {
        format!(
            "Standard delivery takes two to four working days. As soon as {order} leaves our warehouse, you get a tracking link."
        )
    } else if has(&["order", "parcel", "package"]) {
        format!("I have found {order}: it is packed and leaves our warehouse today. You should have it by Thursday.")
    } else {
        "Thank you for your message. Could you tell me a little more, so that I can find the right answer for you?"
            .to_owned()
    }
}

/// A tool's result in words: the members of an object, or the text.
fn spoken(result: &str) -> String {
    const LONGEST: usize = 300;
    let words = match serde_json::from_str(result) {
        Ok(Value::Object(members)) => {
            let said = members.iter().filter_map(|(key, value)| {
                let value = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    _ => return None,
                };
                Some(format!("{} is {value}", key.replace('_', " ")))
            });
            said.collect::<Vec<_>>().join(", ")
        }
        Ok(Value::String(text)) => text,
        _ => result.to_owned(),
    };
    words.chars().take(LONGEST).collect::<String>().trim_end_matches('.').to_owned()
}

/// The first word with digits, such as an order number.
fn number(text: &str) -> Option<&str> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .find(|word| word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// A value that follows a JSON schema. `root` resolves references, `name` is the member's.
fn sample(root: &Value, schema: &Value, name: &str, question: &str, depth: usize) -> Value {
    const DEEPEST: usize = 12;
    if depth > DEEPEST {
        return Value::Null;
    }
    let below = |schema: &Value, name: &str| sample(root, schema, name, question, depth + 1);
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return below(root.pointer(pointer).unwrap_or(&Value::Null), name);
    }
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key).filter(|value| !value.is_null()) {
            return value.clone();
        }
    }
    for key in ["enum", "examples"] {
        if let Some(first) = schema[key].get(0) {
            return first.clone();
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[key].get(0) {
            return below(first, name);
        }
    }
    let kind = schema["type"].as_str().or(schema["type"].get(0).and_then(Value::as_str));
    match kind {
        Some("object") | None if schema["properties"].is_object() || kind.is_some() => {
            let none = Map::new();
            let members = schema["properties"].as_object().unwrap_or(&none);
            let required = schema["required"].as_array();
            let wanted = |key: &String| required.is_none_or(|required| required.iter().any(|name| name == key));
            let made =
                members.iter().filter(|(key, _)| wanted(key)).map(|(key, schema)| (key.clone(), below(schema, key)));
            Value::Object(made.collect())
        }
        Some("array") => Value::Array(vec![below(&schema["items"], name)]),
        Some("integer" | "number") => {
            let found = number(question).and_then(|number| number.parse::<i64>().ok());
            found.map_or_else(|| schema.get("minimum").cloned().unwrap_or_else(|| json!(1)), Value::from)
        }
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => {
            let names_it =
                ["id", "order", "number", "code", "ref"].iter().any(|part| name.to_lowercase().contains(part));
            match number(question).filter(|_| names_it) {
                Some(number) => json!(number),
                None if question.is_empty() => json!("text"),
                None => json!(question.chars().take(80).collect::<String>()),
            }
        }
    }
}

/// Cuts a text into so many pieces of about the same length, as far as it reaches.
fn even(text: &str, pieces: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let cut = |at: usize| at * characters.len() / pieces.max(1);
    (0..pieces).map(|at| characters[cut(at)..cut(at + 1)].iter().collect()).collect()
}

/// The text of a message's content: a string, or the texts of its parts.
pub(crate) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str().or_else(|| part["content"].as_str()));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}
