//! Which provider and wire format: what the address of a request says.

use std::borrow::Cow;

use crate::config::Config;

/// A wire format: how a provider's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// OpenAI chat completions and everything compatible.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// A response of OpenAI's that is asked for again, or cancelled: no call of its own, but the end of one that runs in
    /// the background.
    OpenAiResponsesPoll,
    /// OpenAI embeddings and everything compatible.
    OpenAiEmbeddings,
    /// OpenAI's old completions, and Mistral's filling in the middle.
    OpenAiCompletions,
    /// OpenAI's transcriptions and translations of sound.
    OpenAiTranscriptions,
    /// OpenAI's speech.
    OpenAiSpeech,
    /// OpenAI's image generations.
    OpenAiImages,
    /// Ollama's own chat and generate.
    OllamaChat,
    /// Ollama's own embeddings.
    OllamaEmbed,
    /// Anthropic messages.
    AnthropicMessages,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    GeminiGenerate,
    /// Gemini's embeddings.
    GeminiEmbed,
    /// Anthropic messages on Vertex.
    VertexAnthropic,
    /// Anthropic messages, and what is not read, through Bedrock's `InvokeModel`.
    BedrockInvoke,
    /// Bedrock Converse.
    BedrockConverse,
    /// Cohere chat.
    CohereChat,
    /// Cohere embed.
    CohereEmbed,
    /// Cohere rerank, which is a span.
    CohereRerank,
    /// JSON to a host of models, of a format that is not read.
    Unknown,
}

/// What the address of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The wire format.
    pub wire: Wire,
    /// The provider's canonical name.
    pub provider: String,
    /// The host is loopback or private and nobody said who it is: calls cost nothing unless a price is set.
    pub local: bool,
    /// The address alone shows that this is a call to a model: the provider is known, or nobody else has such a path.
    /// Whoever observes a whole process records no other call: an application's own `/responses` is not to be read.
    pub certain: bool,
    /// The provider is one that reports usage in streams when asked.
    pub reports_stream_usage: bool,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// Whether a stream is asked for, where the path says so.
    pub streams: Option<bool>,
    /// Length of the endpoint's suffix in the path.
    pub(crate) suffix: usize,
    /// The response that is asked for again.
    pub(crate) response: Option<String>,
}

/// What an endpoint's path says.
#[derive(Debug, Default)]
struct Said {
    /// Length of what lies behind the base address.
    suffix: usize,
    model: Option<String>,
    streams: Option<bool>,
    /// The provider, where the path says it and nobody else does.
    provider: Option<&'static str>,
    /// The response that is asked for again.
    response: Option<String>,
}

/// Whether a request is to the endpoints of one wire format, and what its path says then.
type Reader = fn(&Place<'_>) -> Option<Said>;

/// The endpoints of the wire formats; the first that knows a path has it.
const ENDPOINTS: &[(Wire, Reader)] = &[
    (Wire::OllamaChat, |at| at.ends_of_ollama(&["/api/chat", "/api/generate"])),
    (Wire::OllamaEmbed, |at| at.ends_of_ollama(&["/api/embed", "/api/embeddings"])),
    (Wire::OpenAiChat, |at| at.ends(&["/chat/completions"])),
    (Wire::OpenAiResponses, |at| at.ends(&["/responses"])),
    (Wire::OpenAiEmbeddings, |at| at.ends(&["/embeddings"])),
    (Wire::OpenAiCompletions, |at| at.ends(&["/completions"])),
    (Wire::OpenAiTranscriptions, |at| at.ends(&["/audio/transcriptions", "/audio/translations"])),
    (Wire::OpenAiSpeech, |at| at.ends(&["/audio/speech"])),
    (Wire::OpenAiImages, |at| at.ends(&["/images/generations"])),
    (Wire::AnthropicMessages, |at| at.ends(&["/v1/messages"])),
    (Wire::GeminiGenerate, |at| {
        let (said, method) = at.google_method()?;
        let streams = method == "streamGenerateContent";
        (streams || method == "generateContent").then_some(Said { streams: Some(streams), ..said })
    }),
    (Wire::GeminiEmbed, |at| {
        let (said, method) = at.google_method()?;
        // Every model of Vertex AI has a `predict`.
        let embeds = method == "predict" && said.model.as_ref().is_some_and(|model| model.contains("embedding"));
        (embeds || method == "embedContent" || method == "batchEmbedContents").then_some(said)
    }),
    (Wire::VertexAnthropic, |at| {
        at.model_between("/publishers/anthropic/models/", &[(":rawPredict", false), (":streamRawPredict", true)])
            .filter(|said| said.model.as_deref() != Some("count-tokens"))
    }),
    (Wire::BedrockConverse, |at| at.model_between("/model/", &[("/converse", false), ("/converse-stream", true)])),
    (Wire::BedrockInvoke, |at| {
        at.model_between("/model/", &[("/invoke", false), ("/invoke-with-response-stream", true)])
            .filter(|_| at.is("amazon-bedrock"))
    }),
    (Wire::CohereChat, |at| at.ends(&["/v2/chat"]).filter(|_| at.is("cohere"))),
    (Wire::CohereEmbed, |at| at.ends(&["/v2/embed"]).filter(|_| at.is("cohere"))),
    (Wire::CohereRerank, |at| at.ends(&["/v2/rerank"]).filter(|_| at.is("cohere"))),
    (Wire::OpenAiResponsesPoll, |at| at.response_again("/cancel")),
];

/// Hosts by suffix: provider, and whether it knows `stream_options.include_usage`.
const HOSTS: &[(&str, &str, bool)] = &[
    ("api.openai.com", "openai", true),
    ("openai.azure.com", "azure", true),
    ("cognitiveservices.azure.com", "azure", true),
    ("services.ai.azure.com", "azure", true),
    ("api.anthropic.com", "anthropic", false),
    ("generativelanguage.googleapis.com", "google-ai-studio", true),
    ("aiplatform.googleapis.com", "google-vertex", true),
    ("openrouter.ai", "openrouter", true),
    ("api.groq.com", "groq", true),
    ("api.mistral.ai", "mistral", false),
    ("api.deepseek.com", "deepseek", true),
    ("api.together.xyz", "together", true),
    ("api.together.ai", "together", true),
    ("api.fireworks.ai", "fireworks", true),
    ("api.x.ai", "xai", true),
    ("api.perplexity.ai", "perplexity", false),
    ("api.cohere.ai", "cohere", false),
    ("api.cohere.com", "cohere", false),
    ("api.cerebras.ai", "cerebras", true),
    ("api.moonshot.ai", "moonshotai", true),
    ("api.moonshot.cn", "moonshotai", true),
    ("api.z.ai", "zai", false),
    ("api.minimax.io", "minimax", false),
    ("ollama.com", "ollama", false),
];

/// The provider of hosts whose names are made by rule.
fn cloud(host: &str) -> Option<&'static str> {
    if let Some(front) = host.strip_suffix(".googleapis.com") {
        // `us-central1-aiplatform`, and `aiplatform.us.rep`.
        let vertex = front.ends_with("-aiplatform") || front.starts_with("aiplatform.") && front.ends_with(".rep");
        return vertex.then_some("google-vertex");
    }
    let aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().find_map(|zone| host.strip_suffix(zone))?;
    let bedrock = |label| matches!(label, "bedrock-runtime" | "bedrock-runtime-fips" | "bedrock-mantle");
    aws.split('.').any(bedrock).then_some("amazon-bedrock")
}

/// The provider that a host belongs to.
fn known(host: &str) -> Option<&'static str> {
    let listed = HOSTS
        .iter()
        .find(|(suffix, ..)| host.strip_suffix(suffix).is_some_and(|front| front.is_empty() || front.ends_with('.')));
    listed.map(|(_, provider, _)| *provider).or_else(|| cloud(host))
}

/// What is not a call to a model at a host of models: a path with one of these in it...
const KEEPS: &[&str] = &[
    "assistants",
    "async-invoke",
    "batch",
    "batches",
    "blobs",
    "cachedcontents",
    "chatkit",
    "completions",
    "connectors",
    "containers",
    "corpora",
    "datasets",
    "evals",
    "files",
    "filesearchstores",
    "fine-tune",
    "fine-tunes",
    "fine_tuning",
    "finetune",
    "finetunes",
    "graders",
    "guardrail",
    "keys",
    "libraries",
    "operations",
    "organization",
    "organizations",
    "realtime",
    "responses",
    "sessions",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "webhooks",
    "workflows",
];
/// ... or with one of these at its end.
const COUNTS: &[&str] = &[
    "agents",
    "asyncbatchembedcontent",
    "batchgeneratecontent",
    "cancel",
    "client_secrets",
    "compact",
    "computetokens",
    "copy",
    "count-tokens",
    "count_tokens",
    "counttokens",
    "create",
    "delete",
    "deployments",
    "detokenize",
    "edits",
    "endpoints",
    "feedback",
    "input_tokens",
    "models",
    "predict",
    "pull",
    "push",
    "show",
    "tokenize",
    "tokenize-text",
    "variations",
];

/// Where a request goes, as the endpoints' readers see it.
struct Place<'a> {
    address: &'a Address<'a>,
    /// The provider that the application named, for this client or for the host.
    chosen: Option<&'a str>,
}

impl Place<'_> {
    /// The path ends in one of these.
    fn ends(&self, suffixes: &[&str]) -> Option<Said> {
        let suffix = suffixes.iter().find(|suffix| self.address.path.ends_with(*suffix))?.len();
        Some(Said { suffix, ..Said::default() })
    }

    /// As [`Self::ends`], at Ollama: its paths are common, so its host or its port must be known too.
    fn ends_of_ollama(&self, suffixes: &[&str]) -> Option<Said> {
        let said = self.ends(suffixes)?;
        let here = self.chosen.is_none() && self.address.host_port.ends_with(":11434") && self.address.is_private();
        (here || self.is("ollama")).then_some(Said { provider: Some("ollama"), ..said })
    }

    /// The path ends in the mark, the model's name and one of these, which says whether a stream is asked for. The base
    /// address ends before the mark's first directory.
    fn model_between(&self, mark: &str, ends: &[(&str, bool)]) -> Option<Said> {
        let path = self.address.path;
        let (front, streams) = ends.iter().find_map(|(end, streams)| Some((path.strip_suffix(end)?, *streams)))?;
        let at = front.rfind(mark)?;
        let id = &front[at + mark.len()..];
        let model = percent_encoding::percent_decode_str(id).decode_utf8_lossy().into_owned();
        let said = Said { suffix: path.len() - at, model: Some(model), streams: Some(streams), ..Said::default() };
        Some(said).filter(|_| !id.is_empty())
    }

    /// The path is one that only servers of models have, whoever they are. Servers of one's own (vLLM, llama.cpp, LM
    /// Studio) have the others of OpenAI's below `/v1`.
    fn speaks_for_itself(&self, wire: Wire) -> bool {
        match wire {
            Wire::OpenAiChat | Wire::GeminiGenerate | Wire::BedrockConverse | Wire::VertexAnthropic => true,
            Wire::OpenAiResponses | Wire::OpenAiEmbeddings | Wire::OpenAiCompletions => {
                let path = self.address.path;
                self.address.is_private() && path.rsplit_once('/').is_some_and(|(front, _)| front.ends_with("/v1"))
            }
            Wire::OpenAiResponsesPoll => self.address.is_private() && self.address.path.contains("/v1/responses/"),
            _ => false,
        }
    }

    /// The path is at a host of models, and none that is known to be no call. Vertex AI's hosts serve much besides.
    fn unread(&self, provider: Option<&str>) -> Option<Said> {
        let provider = provider.filter(|provider| *provider != "google-vertex")?;
        let path = self.address.path.to_ascii_lowercase();
        let mut parts = path.trim_start_matches('/').split(['/', ':']).peekable();
        while let Some(part) = parts.next() {
            let keeps = KEEPS.contains(&part) || part == "conversations" && provider != "mistral";
            if part.is_empty() || keeps || parts.peek().is_none() && COUNTS.contains(&part) {
                return None;
            }
        }
        Some(Said { suffix: path.len(), ..Said::default() })
    }

    /// The path is that of a response that was made before, with this behind it.
    fn response_again(&self, end: &str) -> Option<Said> {
        const MARK: &str = "/responses/";
        let path = self.address.path;
        let front = path.strip_suffix(end)?;
        let at = front.rfind(MARK)?;
        // Other services have responses too; these ids begin so.
        let id = Some(&front[at + MARK.len()..]).filter(|id| id.starts_with("resp") && !id.contains('/'))?;
        Some(Said { suffix: path.len() - at, response: Some(id.to_owned()), ..Said::default() })
    }

    /// The provider is known, and is this one.
    fn is(&self, provider: &str) -> bool {
        match self.chosen {
            Some(name) => crate::price::canonical_provider(name) == provider,
            None => known(self.address.host()) == Some(provider),
        }
    }
}

impl<'a> Place<'a> {
    /// Google's own way with paths: a resource, a colon, and what is to be done with it.
    fn google_method(&self) -> Option<(Said, &'a str)> {
        const KINDS: [&str; 4] = ["/models/", "/tunedModels/", "/endpoints/", "/publishers/"];
        let path = self.address.path;
        let (resource, method) = path.rsplit_once(':')?;
        let base = KINDS.iter().filter_map(|kind| resource.find(kind)).min();
        if base.is_none() && !self.is("google-ai-studio") && !self.is("google-vertex") {
            return None;
        }
        // The last kind is the innermost: `publishers/google/models/{model}`.
        let named = KINDS[..3].iter().filter_map(|kind| Some((resource.rfind(kind)?, *kind))).max();
        let model = named.map(|(at, kind)| &resource[at + if kind == "/models/" { kind.len() } else { 1 }..]);
        let base = base.or_else(|| resource.rfind('/')).unwrap_or_default();
        let model = model.filter(|model| !model.is_empty()).map(str::to_owned);
        Some((Said { suffix: path.len() - base, model, ..Said::default() }, method))
    }
}

/// Reads a request's address. `None`: not a call that is recorded, which is then left wholly alone.
///
/// `named` is the provider that the application gave; it wins over the host.
pub fn recognise(config: &Config, method: &str, url: &str, named: Option<&str>) -> Option<Recognised> {
    let post = method.eq_ignore_ascii_case("POST");
    if !post && !method.eq_ignore_ascii_case("GET") {
        return None;
    }
    let address = &Address::of(url)?;
    let configured = config.hosts.iter().find(|(host, _)| *host == address.host_port || host == address.host());
    let chosen = named.or(configured.map(|(_, provider)| provider.as_str()));
    let place = Place { address, chosen };
    let (wire, said) = if post {
        let read = ENDPOINTS.iter().find_map(|(wire, read)| Some((*wire, read(&place)?)));
        // A provider that was named for a client says nothing of the hosts that it calls.
        let at = configured.map(|(_, provider)| provider.as_str()).or_else(|| known(address.host()));
        read.or_else(|| Some((Wire::Unknown, place.unread(at)?)))?
    } else {
        (Wire::OpenAiResponsesPoll, place.response_again("")?)
    };
    let known = said.provider.or_else(|| known(address.host()));
    let local = chosen.is_none() && known.is_none() && address.is_private();
    let provider = match (chosen, known) {
        (Some(name), _) => crate::price::canonical_provider(name).into_owned(),
        (None, Some(provider)) => provider.to_owned(),
        (None, None) if local => "local".to_owned(),
        (None, None) => address.host().to_owned(),
    };
    let certain = chosen.is_some() || known.is_some() || place.speaks_for_itself(wire);
    let reports_stream_usage = HOSTS.iter().any(|(_, name, asks)| *name == provider && *asks);
    let Said { suffix, model, streams, response, .. } = said;
    Some(Recognised { wire, provider, local, certain, reports_stream_usage, model, streams, suffix, response })
}

/// The parts of a URL that matter, without query, fragment and user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    scheme: Cow<'a, str>,
    host_port: Cow<'a, str>,
    /// Length of the host in that.
    host: usize,
    path: &'a str,
}

impl<'a> Address<'a> {
    /// Splits a URL by hand: this runs on the caller's thread for every request that a client makes.
    pub(crate) fn of(url: &'a str) -> Option<Self> {
        // The first colon is that of the scheme, mostly; to search for all three characters takes much longer.
        let first = url.find(':').and_then(|colon| Some((&url[..colon], url[colon..].strip_prefix("://")?)));
        let (scheme, rest) = first.or_else(|| url.split_once("://"))?;
        let before = |text: &str, ends: &[u8]| text.bytes().position(|byte| ends.contains(&byte)).unwrap_or(text.len());
        let end = before(rest, b"/?#");
        let (authority, tail) = rest.split_at(end);
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host_port.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host_port,
        };
        let path = &tail[..before(tail, b"?#")];
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        Some(Self { scheme: lower(scheme), host: host.len(), host_port: lower(host_port), path })
    }

    /// Its parts together again.
    pub(crate) fn whole(&self) -> String {
        [&self.scheme, "://", &self.host_port, self.path].concat()
    }

    fn host(&self) -> &str {
        &self.host_port[..self.host]
    }

    fn is_private(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse::<std::net::IpAddr>() {
            return match ip {
                std::net::IpAddr::V4(ip) => {
                    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
                }
                std::net::IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
                }
            };
        }
        host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local") || !host.contains('.')
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn provider(url: &str) -> Option<(Wire, String, bool)> {
        let config = Config { hosts: vec![("llm.corp.example:8080".into(), "oai".into())], ..Config::default() };
        recognise(&config, "POST", url, None).map(|found| (found.wire, found.provider, found.local))
    }

    #[test]
    fn providers_come_from_the_host() {
        for (url, wire, name, local) in [
            ("https://api.openai.com/v1/chat/completions", Wire::OpenAiChat, "openai", false),
            ("https://eu.api.openai.com/v1/responses", Wire::OpenAiResponses, "openai", false),
            (
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
                Wire::OpenAiChat,
                "azure",
                false,
            ),
            ("https://api.anthropic.com/v1/messages?beta=true", Wire::AnthropicMessages, "anthropic", false),
            ("http://user:pw@localhost:11434/v1/embeddings", Wire::OpenAiEmbeddings, "local", true),
            ("http://[::1]:8000/v1/chat/completions/", Wire::OpenAiChat, "local", true),
            ("http://llm.corp.example:8080/v1/chat/completions", Wire::OpenAiChat, "openai", false),
            ("https://llm.corp.example/v1/chat/completions", Wire::OpenAiChat, "llm.corp.example", false),
            (
                "https://europe-west4-aiplatform.googleapis.com/v1/chat/completions",
                Wire::OpenAiChat,
                "google-vertex",
                false,
            ),
            ("https://aiplatform.eu.rep.googleapis.com/v1/chat/completions", Wire::OpenAiChat, "google-vertex", false),
            ("https://bedrock-mantle.us-east-1.api.aws/v1/responses", Wire::OpenAiResponses, "amazon-bedrock", false),
            (
                "https://vpce-1.bedrock-runtime-fips.us-east-1.vpce.amazonaws.com/openai/v1/chat/completions",
                Wire::OpenAiChat,
                "amazon-bedrock",
                false,
            ),
            ("https://my-openrouter.ai/v1/chat/completions", Wire::OpenAiChat, "my-openrouter.ai", false),
            (
                "https://notapi.openai.com.evil.example/v1/responses",
                Wire::OpenAiResponses,
                "notapi.openai.com.evil.example",
                false,
            ),
        ] {
            assert_eq!(provider(url), Some((wire, name.to_owned(), local)), "{url}");
        }
    }

    #[test]
    fn what_is_not_a_generation_is_left_alone() {
        for url in [
            "https://api.openai.com/v1/models",
            "https://api.openai.com/v1/responses/resp_1",
            "https://api.openai.com/v1/responses/resp_1/input_items",
            "https://api.openai.com/v1/responses/input_tokens",
            "https://api.openai.com/v1/responses/compact",
            "https://api.anthropic.com/v1/messages/count_tokens",
            "https://api.anthropic.com/v1/messages/batches",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/count-tokens",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model//converse",
            "https://lambda.us-east-1.amazonaws.com/model/m/invoke",
            "https://chat.example/v2/chat",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:batchGenerateContent",
            "https://generativelanguage.googleapis.com/v1beta/models",
            "https://us-central1-aiplatform.googleapis.com/v1/p/publishers/google/models/imagen-4:predict",
            "https://example.com/v1/things/thing:generateContent",
            "not a url",
        ] {
            assert_eq!(provider(url), None, "{url}");
        }
        for (method, url) in [
            ("GET", "https://api.openai.com/v1/responses"),
            ("GET", "https://api.openai.com/v1/responses/resp_1/input_items"),
            ("GET", "https://forms.example/responses/17"),
            ("GET", "https://api.openai.com/v1/chat/completions"),
            ("DELETE", "https://api.openai.com/v1/responses/resp_1"),
        ] {
            assert!(recognise(&Config::default(), method, url, None).is_none(), "{method} {url}");
        }
    }

    #[test]
    fn a_response_may_be_asked_for_again() {
        for (method, url) in [
            ("GET", "https://api.openai.com/v1/responses/resp_1"),
            ("GET", "https://api.openai.com/v1/responses/resp_1?stream=true&starting_after=7"),
            ("POST", "https://api.openai.com/v1/responses/resp_1/cancel"),
            ("GET", "https://x.openai.azure.com/openai/v1/responses/resp_1/?api-version=preview"),
        ] {
            let found = recognise(&Config::default(), method, url, None).unwrap();
            assert_eq!((found.wire, found.response.as_deref()), (Wire::OpenAiResponsesPoll, Some("resp_1")), "{url}");
        }
    }

    #[test]
    fn google_names_the_model_in_the_path() {
        for (url, provider, base, model, streams) in [
            (
                "https://generativelanguage.googleapis.com/v1beta/models/g:generateContent",
                "google-ai-studio",
                "/v1beta",
                Some("g"),
                Some(false),
            ),
            (
                "https://generativelanguage.googleapis.com/v1/tunedModels/t:streamGenerateContent?alt=sse",
                "google-ai-studio",
                "/v1",
                Some("tunedModels/t"),
                Some(true),
            ),
            (
                "https://generativelanguage.googleapis.com/v1beta/models/models/g:embedContent",
                "google-ai-studio",
                "/v1beta",
                Some("g"),
                None,
            ),
            (
                "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/google/models/text-embedding-005:predict",
                "google-vertex",
                "/v1/projects/p/locations/eu",
                Some("text-embedding-005"),
                None,
            ),
            (
                "https://aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/12:generateContent",
                "google-vertex",
                "/v1/projects/p/locations/l",
                Some("endpoints/12"),
                Some(false),
            ),
            (
                "https://aiplatform.googleapis.com/v1/dynamic/x:generateContent",
                "google-vertex",
                "/v1/dynamic",
                None,
                Some(false),
            ),
            (
                "http://127.0.0.1:4000/gemini/v1beta/models/g:generateContent",
                "local",
                "/gemini/v1beta",
                Some("g"),
                Some(false),
            ),
        ] {
            let found = recognise(&Config::default(), "POST", url, None).unwrap();
            let path = Address::of(url).unwrap().path;
            let said =
                (found.provider.as_str(), &path[..path.len() - found.suffix], found.model.as_deref(), found.streams);
            assert_eq!(said, (provider, base, model, streams), "{url}");
        }
    }

    #[test]
    fn an_address_of_an_application_is_not_certain() {
        let config = Config { hosts: vec![("llm.corp.example:8080".into(), "openai".into())], ..Config::default() };
        for (url, certain) in [
            ("https://api.openai.com/v1/responses", true),
            ("https://llm.corp.example:8080/responses", true),
            ("https://llm.corp.example/v1/chat/completions", true),
            ("http://127.0.0.1:11434/api/chat", true),
            ("http://127.0.0.1:8000/v1/embeddings", true),
            ("http://vllm:8000/v1/responses", true),
            ("http://surveys:8080/api/responses", false),
            ("https://surveys.example/v1/responses", false),
            ("https://search.example/v1/embeddings", false),
            ("https://chat.example/v1/messages", false),
            ("http://chat:8080/v1/messages", false),
        ] {
            assert_eq!(recognise(&config, "POST", url, None).map(|found| found.certain), Some(certain), "{url}");
        }
        let named = recognise(&config, "POST", "https://chat.example/v1/messages", Some("anthropic")).unwrap();
        assert!(named.certain);
    }

    #[test]
    fn a_name_given_by_the_application_wins() {
        let found = recognise(&Config::default(), "POST", "http://127.0.0.1:9/v1/messages", Some("anthropic")).unwrap();
        assert_eq!((found.provider.as_str(), found.local), ("anthropic", false));
    }
}
