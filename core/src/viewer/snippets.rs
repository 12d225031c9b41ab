//! A call as code that makes it again.

use serde_json::{Map, Value, json};

/// What it can be copied as.
pub(super) const KINDS: [(&str, &str); 5] =
    [("json", "JSON"), ("curl", "curl"), ("python", "Python"), ("typescript", "TypeScript"), ("raw", "Raw event")];

/// The text of a call in one of these forms. `raw` is the event as it was captured.
pub(super) fn make(kind: &str, raw: &str) -> Option<String> {
    if kind == "raw" {
        return Some(raw.to_owned());
    }
    let event: Value = serde_json::from_str(raw).ok()?;
    let p = event.get("properties")?.as_object()?;
    let request = request(p);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    Some(match kind {
        "json" => pretty(&request.body),
        "curl" => {
            let headers: Vec<String> = request.headers.iter().map(|header| format!("  -H \"{header}\" \\\n")).collect();
            // Nothing in single quotes means anything to a shell, but a single quote.
            let body = pretty(&request.body).replace('\'', "'\\''");
            format!(
                "curl '{}' \\\n  -H 'Content-Type: application/json' \\\n{}  -d '{body}'",
                request.url.replace('\'', "%27"),
                headers.concat()
            )
        }
        "python" => python(&request),
        "typescript" => typescript(&request),
        _ => return None,
    })
}

struct Request {
    url: String,
    headers: Vec<String>,
    body: Value,
    /// The SDK and its method.
    sdk: Option<(&'static str, &'static str)>,
    base: String,
    /// Where the key is, in the environment. It is sent to the address, so it has to be that of whoever is there.
    key: String,
}

/// The usual name of the variable that holds a provider's key.
fn key_of(provider: &str) -> String {
    let name = match provider {
        "google-ai-studio" | "google-vertex" => "gemini",
        "azure" => "azure_openai",
        "" => "openai",
        other => other,
    };
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    // No variable's name begins with a digit.
    let first = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    format!("{first}{name}_API_KEY")
}

impl Request {
    /// Whether the key is not the one that the SDK finds by itself.
    fn has_other_key(&self, class: &str) -> bool {
        self.key != format!("{}_API_KEY", class.to_uppercase())
    }
}

fn request(p: &Map<String, Value>) -> Request {
    let text = |name: &str| p.get(name).and_then(Value::as_str).unwrap_or_default();
    let url = text("$ai_request_url").to_owned();
    let parameters = p.get("$ai_model_parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let model =
        parameters.get("model_requested").and_then(Value::as_str).unwrap_or_else(|| text("$ai_model")).to_owned();
    let mut body: Map<String, Value> = parameters.into_iter().filter(|(name, _)| name != "model_requested").collect();
    body.insert("model".to_owned(), model.into());
    let input = p.get("$ai_input").cloned().unwrap_or_default();
    let is_anthropic = url.ends_with("/v1/messages");
    let is_responses = url.ends_with("/responses");
    let is_embedding = url.ends_with("/embeddings");
    if is_anthropic {
        let messages = input.as_array().cloned().unwrap_or_default();
        let (system, rest): (Vec<Value>, Vec<Value>) =
            messages.into_iter().partition(|message| message.get("role") == Some(&json!("system")));
        if let Some(system) = system.first().and_then(|message| message.get("content")) {
            body.insert("system".to_owned(), system.clone());
        }
        body.insert("messages".to_owned(), rest.into());
        if let Some(most) = p.get("$ai_max_tokens") {
            body.entry("max_tokens").or_insert_with(|| most.clone());
        }
    } else {
        body.insert(if is_responses || is_embedding { "input" } else { "messages" }.to_owned(), input);
    }
    if let Some(tools) = p.get("$ai_tools").filter(|tools| !tools.is_null()) {
        body.insert("tools".to_owned(), tools.clone());
    }
    let key = key_of(text("$ai_provider"));
    let headers = if is_anthropic {
        vec![format!("x-api-key: ${key}"), "anthropic-version: 2023-06-01".to_owned()]
    } else if text("$ai_provider") == "azure" {
        vec![format!("api-key: ${key}")]
    } else {
        vec![format!("Authorization: Bearer ${key}")]
    };
    let sdk = if is_anthropic {
        Some(("anthropic", "messages.create"))
    } else if is_responses {
        Some(("openai", "responses.create"))
    } else if is_embedding {
        Some(("openai", "embeddings.create"))
    } else if url.ends_with("/chat/completions") {
        Some(("openai", "chat.completions.create"))
    } else {
        None
    };
    Request { url, headers, body: body.into(), sdk, base: text("$ai_base_url").to_owned(), key }
}

fn base(request: &Request) -> Option<&str> {
    let own = ["https://api.openai.com/v1", "https://api.anthropic.com"];
    Some(request.base.as_str()).filter(|base| !base.is_empty() && !own.contains(base))
}

fn python(request: &Request) -> String {
    let arguments = request.body.as_object().into_iter().flatten();
    let arguments: Vec<String> =
        arguments.map(|(name, value)| format!("    {name}={},\n", python_value(value, 1))).collect();
    let Some((sdk, method)) = request.sdk else {
        return format!(
            "import json\nimport urllib.request\n\nbody = {}\nrequest = urllib.request.Request(\n    {},\n    json.dumps(body).encode(),\n    {{\"Content-Type\": \"application/json\"}},\n)\nprint(urllib.request.urlopen(request).read().decode())\n",
            python_value(&request.body, 0),
            python_value(&request.url.clone().into(), 0)
        );
    };
    let class = if sdk == "openai" { "OpenAI" } else { "Anthropic" };
    let mut given: Vec<String> =
        base(request).map(|base| format!("base_url={}", python_value(&base.into(), 0))).into_iter().collect();
    let mut before = "";
    if request.has_other_key(class) {
        before = "import os\n\n";
        given.push(format!("api_key=os.environ[{}]", python_value(&request.key.as_str().into(), 0)));
    }
    let given = given.join(", ");
    format!(
        "{before}from {sdk} import {class}\n\nclient = {class}({given})\nreply = client.{method}(\n{})\nprint(reply)\n",
        arguments.concat()
    )
}

fn python_value(value: &Value, depth: usize) -> String {
    let (indent, end) = ("    ".repeat(depth + 1), "    ".repeat(depth));
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        // JSON's strings are Python's, but for a half of a pair, which JSON text from here never has.
        Value::String(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| format!("{indent}{},\n", python_value(item, depth + 1))).collect();
            format!("[\n{}{end}]", items.concat())
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| {
                    format!("{indent}{}: {},\n", Value::from(name.as_str()), python_value(value, depth + 1))
                })
                .collect();
            format!("{{\n{}{end}}}", members.concat())
        }
    }
}

fn typescript(request: &Request) -> String {
    let body = serde_json::to_string_pretty(&request.body).unwrap_or_default();
    let quoted = |text: &str| Value::from(text).to_string();
    let Some((sdk, method)) = request.sdk else {
        return format!(
            "const reply = await fetch({}, {{\n  method: 'POST',\n  headers: {{ 'Content-Type': 'application/json' }},\n  body: JSON.stringify({body}),\n}})\nconsole.log(await reply.json())\n",
            quoted(&request.url)
        );
    };
    let (class, package) = if sdk == "openai" { ("OpenAI", "openai") } else { ("Anthropic", "@anthropic-ai/sdk") };
    let mut given: Vec<String> = base(request).map(|base| format!("baseURL: {}", quoted(base))).into_iter().collect();
    if request.has_other_key(class) {
        given.push(format!("apiKey: process.env.{}", request.key));
    }
    let given = if given.is_empty() { String::new() } else { format!("{{ {} }}", given.join(", ")) };
    format!(
        "import {class} from '{package}'\n\nconst client = new {class}({given})\nconst reply = await client.{method}({body})\nconsole.log(reply)\n"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn chat() -> String {
        json!({"properties": {
            "$ai_model": "gpt-5-mini-2025-08-07", "$ai_request_url": "https://api.openai.com/v1/chat/completions",
            "$ai_base_url": "https://api.openai.com/v1", "$ai_input": [{"role": "user", "content": "It's \"quoted\"\n"}],
            "$ai_model_parameters": {"model_requested": "gpt-5-mini", "stream": true, "stop": null},
        }})
        .to_string()
    }

    #[test]
    fn a_call_as_code() {
        let json: Value = serde_json::from_str(&make("json", &chat()).unwrap()).unwrap();
        assert_eq!(
            json,
            json!({"model": "gpt-5-mini", "stream": true, "stop": null, "messages": [{"role": "user", "content": "It's \"quoted\"\n"}]})
        );
        let curl = make("curl", &chat()).unwrap();
        assert!(
            curl.starts_with("curl 'https://api.openai.com/v1/chat/completions'")
                && curl.contains("It'\\''s \\\"quoted"),
            "{curl}"
        );
        let python = make("python", &chat()).unwrap();
        assert!(
            python.contains("client.chat.completions.create(\n")
                && python.contains("    stream=True,\n")
                && python.contains("stop=None"),
            "{python}"
        );
        let typescript = make("typescript", &chat()).unwrap();
        assert!(
            typescript.contains("new OpenAI()") && typescript.contains("client.chat.completions.create({"),
            "{typescript}"
        );
        assert_eq!(make("raw", &chat()).unwrap(), chat());
        assert_eq!(make("cobol", &chat()), None);
    }

    #[test]
    fn a_key_goes_to_nobody_else() {
        let raw = json!({"properties": {"$ai_model": "llama", "$ai_provider": "groq", "$ai_base_url": "https://api.groq.com/openai/v1",
            "$ai_request_url": "https://api.groq.com/openai/v1/chat/completions", "$ai_input": []}})
        .to_string();
        for (kind, piece) in [
            ("curl", "Authorization: Bearer $GROQ_API_KEY"),
            ("python", "OpenAI(base_url=\"https://api.groq.com/openai/v1\", api_key=os.environ[\"GROQ_API_KEY\"])"),
            (
                "typescript",
                "new OpenAI({ baseURL: \"https://api.groq.com/openai/v1\", apiKey: process.env.GROQ_API_KEY })",
            ),
        ] {
            let code = make(kind, &raw).unwrap();
            assert!(code.contains(piece) && !code.contains("OPENAI_API_KEY"), "{kind}: {code}");
        }
    }

    #[test]
    fn anthropic_has_its_system_apart() {
        let raw = json!({"properties": {"$ai_model": "claude-sonnet-4-6", "$ai_provider": "anthropic", "$ai_request_url": "https://gateway.example/v1/messages",
            "$ai_base_url": "https://gateway.example", "$ai_max_tokens": 5,
            "$ai_input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}});
        let python = make("python", &raw.to_string()).unwrap();
        for piece in [
            "Anthropic(base_url=\"https://gateway.example\")",
            "client.messages.create(",
            "    system=\"Be kind.\",",
            "    max_tokens=5,",
        ] {
            assert!(python.contains(piece), "{piece}: {python}");
        }
    }
}
