//! Every option, its default, its environment variable and what it may be, in one table.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::deliver::hook::{Elsewhere, HookSet, Hooks, Notice};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::event::detect::Detector;
use crate::event::policy::{Policy, PolicyChange};
use crate::event::texts::Text;
use crate::finished::FinishedCall;
use crate::sink::{MadeSink, Sink};

/// The language that the library is used from. It names the options and the unit of times, and is
/// `$ai_lib_language` on every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// `snake_case`, durations given as milliseconds to [`Options::set`].
    #[default]
    Rust,
    /// `snake_case`, durations in seconds.
    Python,
    /// `camelCase`, durations in milliseconds.
    Node,
}

impl Language {
    /// The value of `$ai_lib_language`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// Times are seconds in Python, else milliseconds.
    pub(crate) fn units_in_a_second(self) -> f64 {
        if self == Self::Python { 1.0 } else { 1e3 }
    }

    /// A name of ours in the language's own spelling.
    pub(crate) fn name_of(self, option: &str) -> String {
        self.spelled(option).into_owned()
    }

    /// The same, without a copy where it is ours.
    pub(crate) fn spelled(self, option: &str) -> Cow<'_, str> {
        match self {
            Self::Node if option.contains('_') => camel(option).into(),
            _ => option.into(),
        }
    }
}

/// When events are also written to disk on their way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpoolMode {
    /// Memory only.
    Off,
    /// What does not fit in memory, what the server does not take now, and what is left at exit.
    #[default]
    Overflow,
    /// Every event before it is sent: survives kill -9.
    Always,
}

/// The resolved configuration of a client. Code wins over environment, environment over default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The language of the caller.
    pub language: Language,
    /// The PostHog project key; `None`: events go to the local store.
    pub api_key: Option<Secret>,
    /// Scheme and host of the server, without a final slash.
    pub host: String,
    /// Default for every event.
    pub distinct_id: Option<String>,
    /// Default for every event.
    pub properties: Map<String, Value>,
    /// Default for every event.
    pub groups: Map<String, Value>,
    /// False turns everything into a no-op.
    pub enabled: bool,
    /// Says on stderr what is done.
    pub debug: bool,
    /// The share of traces that is kept, 0 to 1.
    pub sample_rate: f64,
    /// Sends errors of traces that are not kept too.
    pub keep_errors: bool,
    /// Hides content in every event.
    pub privacy: bool,
    /// Keeps media as sent.
    pub full_capture: bool,
    /// What of all that is different for the local store.
    pub store: PolicyChange,
    /// Personal data that is looked for in content and replaced.
    pub detectors: Vec<Detector>,
    /// Asks providers for usage in streams where the caller did not say.
    pub stream_usage: bool,
    /// Makes a span of each tool call and its result.
    pub tool_spans: bool,
    /// Sends a batch at this many events.
    pub flush_at: usize,
    /// Sends what there is after this time.
    pub flush_interval: Duration,
    /// Tries after the first one.
    pub max_retries: u32,
    /// Of one request to the server.
    pub timeout: Duration,
    /// Compresses batches.
    pub gzip: bool,
    /// Bytes that everything queued may take.
    pub max_memory: usize,
    /// See [`SpoolMode`].
    pub spool: SpoolMode,
    /// Where the local store and the spool live.
    pub dir: PathBuf,
    /// How long the local store keeps events; `None`: for ever.
    pub store_max_age: Option<Duration>,
    /// Bytes that the local store may take before its oldest events go; `None`: as many as there are.
    pub store_max_size: Option<u64>,
    /// A price file.
    pub prices: Option<PathBuf>,
    /// The price file was named by the environment alone: what is wrong with it is a warning.
    pub prices_from_env: bool,
    /// Refresh prices from OpenRouter in the background.
    pub prices_update: bool,
    /// Where OpenRouter's list of models is fetched, if not at OpenRouter.
    pub prices_url: Option<String>,
    /// Provider of a host that is not known: `host[:port]` to provider.
    pub hosts: Vec<(String, String)>,
    /// Events go to the local store too, when they go elsewhere.
    pub local: bool,
    /// Sinks of the application's: see [`Options::add_sink`].
    pub sinks: Vec<MadeSink>,
    /// What the application has called with events and trouble: see [`Options::before_send`].
    pub hooks: Hooks,
    /// What is worth a warning about the environment; printed once at the first use.
    pub warnings: Vec<String>,
}

/// A text that is shown by its first letters only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The whole text, to be sent and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}...", self.0.chars().take(6).collect::<String>())
    }
}

enum Kind {
    Text,
    Bool,
    /// A number from 0 to 1.
    Share,
    /// A whole number within bounds.
    Count(u64, u64),
    /// A duration; the longest allowed in seconds.
    Time(f64),
    Object,
    /// Names of detectors, or true for all of them.
    Detectors,
    /// What of privacy is different for a sink.
    Policy,
    OneOf(&'static [&'static str]),
}

struct Row {
    name: &'static str,
    env: &'static [&'static str],
    kind: Kind,
}

const fn row(name: &'static str, env: &'static [&'static str], kind: Kind) -> Row {
    Row { name, env, kind }
}

const KIB: u64 = 1024;

/// The table. Defaults are in [`Config::default`], for a default needs its own type.
const TABLE: &[Row] = &[
    row("api_key", &["POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY"], Kind::Text),
    row("host", &["POSTHOG_HOST"], Kind::Text),
    row("distinct_id", &[], Kind::Text),
    row("properties", &[], Kind::Object),
    row("groups", &[], Kind::Object),
    row("enabled", &["LLMTRAIL_ENABLED"], Kind::Bool),
    row("debug", &["LLMTRAIL_DEBUG"], Kind::Bool),
    row("sample_rate", &["LLMTRAIL_SAMPLE_RATE"], Kind::Share),
    row("keep_errors", &["LLMTRAIL_KEEP_ERRORS"], Kind::Bool),
    row("privacy", &["LLMTRAIL_PRIVACY"], Kind::Bool),
    row("full_capture", &[], Kind::Bool),
    row("store", &[], Kind::Policy),
    row("detectors", &["LLMTRAIL_DETECTORS"], Kind::Detectors),
    row("stream_usage", &[], Kind::Bool),
    row("tool_spans", &[], Kind::Bool),
    row("flush_at", &["LLMTRAIL_FLUSH_AT"], Kind::Count(1, 10_000)),
    row("flush_interval", &["LLMTRAIL_FLUSH_INTERVAL"], Kind::Time(3600.0)),
    row("max_retries", &[], Kind::Count(0, 100)),
    row("timeout", &[], Kind::Time(600.0)),
    row("gzip", &[], Kind::Bool),
    row("max_memory", &[], Kind::Count(64 * KIB, 64 * KIB * KIB * KIB)),
    row("spool", &["LLMTRAIL_SPOOL"], Kind::OneOf(&["off", "overflow", "always"])),
    row("dir", &["LLMTRAIL_DIR"], Kind::Text),
    row("store_max_age", &["LLMTRAIL_STORE_MAX_AGE"], Kind::Text),
    row("store_max_size", &["LLMTRAIL_STORE_MAX_SIZE"], Kind::Text),
    row("prices", &["LLMTRAIL_PRICES"], Kind::Text),
    row("prices_update", &["LLMTRAIL_PRICES_UPDATE"], Kind::Bool),
    row("prices_url", &["LLMTRAIL_PRICES_URL"], Kind::Text),
    row("hosts", &[], Kind::Object),
    row("local", &["LLMTRAIL_LOCAL"], Kind::Bool),
];

impl Default for Config {
    fn default() -> Self {
        Self {
            language: Language::default(),
            api_key: None,
            host: "https://us.i.posthog.com".to_owned(),
            distinct_id: None,
            properties: Map::new(),
            groups: Map::new(),
            enabled: true,
            debug: false,
            sample_rate: 1.0,
            keep_errors: false,
            privacy: false,
            full_capture: false,
            store: PolicyChange::default(),
            detectors: Vec::new(),
            stream_usage: true,
            tool_spans: true,
            flush_at: 100,
            flush_interval: Duration::from_secs(5),
            max_retries: 3,
            timeout: Duration::from_secs(10),
            gzip: true,
            max_memory: 64 << 20,
            spool: SpoolMode::default(),
            dir: data_dir(),
            store_max_age: None,
            store_max_size: None,
            prices: None,
            prices_from_env: false,
            prices_update: false,
            prices_url: None,
            hosts: Vec::new(),
            local: false,
            sinks: Vec::new(),
            hooks: Hooks::default(),
            warnings: Vec::new(),
        }
    }
}

/// Options on their way to a [`Config`]: names and JSON values, as the languages hand them over.
#[derive(Debug, Clone, Default)]
pub struct Options {
    language: Language,
    values: Map<String, Value>,
    sinks: Vec<MadeSink>,
    hooks: Hooks,
}

impl Options {
    /// No options yet, for a caller in a language.
    pub fn new(language: Language) -> Self {
        Self { language, ..Self::default() }
    }

    /// Options from a JSON object in the language's own names and units. `null` counts as not given.
    ///
    /// # Errors
    /// A config error when the text is not a JSON object.
    pub fn from_json(language: Language, json: &str) -> Result<Self> {
        match serde_json::from_str(json) {
            Ok(Value::Object(values)) => Ok(Self { language, values, ..Self::default() }),
            Ok(_) => Err(Error::config("options: expected an object of names and values")),
            Err(error) => Err(Error::config(format!("options: not valid JSON: {error}")).with_source(error)),
        }
    }

    /// Sets one option. Times are milliseconds unless the language is Python.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a sink beside PostHog or the local store. With one and no key, events go to the local store only when
    /// `local` says so. The function is called on the sink's own thread, and again in a forked child.
    #[must_use]
    pub fn add_sink<S: Sink + 'static>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(move || Box::new(make()) as Box<dyn Sink>);
        self.sinks.push(MadeSink { name: name.into(), make });
        self
    }

    /// Has every event seen by a function before it is sent: it gives the event back, changed or not, or `None` to have it
    /// dropped and counted under `hook`. `uuid` and `timestamp` stay what they are. When it panics the event is not sent
    /// either, for it may have been about to take something out.
    ///
    /// It runs on a thread of its own, one event after the other; a flush and a shutdown wait for it until their deadline.
    /// What it has not seen by the end of a shutdown is not sent, and counted under `shutdown`; and what it has not seen is
    /// not on disk.
    #[must_use]
    pub fn before_send(mut self, hook: impl Fn(Event) -> Option<Event> + Send + Sync + 'static) -> Self {
        self.hooks.before_send = Some(Arc::new(hook));
        self
    }

    /// Has a function told of trouble with delivery: of what is also a warning on stderr, but each time (once a second at
    /// most of each code) and not only the first. It runs on the thread of [`before_send`](Self::before_send).
    #[must_use]
    pub fn on_error(mut self, hook: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.hooks.on_error = Some(Arc::new(hook));
        self
    }

    /// Has a function told of every generation and embedding that is over, those that sampling leaves out among them. It
    /// runs on the thread of [`before_send`](Self::before_send), never in the call, once the call is decoded and priced; a
    /// flush and a shutdown wait for it until their deadline. A panic in it goes nowhere and is counted in
    /// [`Stats::notes`](crate::Stats::notes) under `on_generation_failed`; of more than 4,096 calls that wait for it the
    /// newest are left out and counted under `on_generation_missed`.
    #[must_use]
    pub fn on_generation(mut self, hook: impl Fn(&FinishedCall) + Send + Sync + 'static) -> Self {
        self.hooks.on_generation = Some(Arc::new(hook));
        self
    }

    /// Has every text of an event that leaves (messages, arguments and results of tools, errors, names, parameters and
    /// properties of one's own, but for ids and names of members) replaced by what a function makes of it and of its path,
    /// such as `$ai_input[0].content`. It is asked after media, privacy and detectors had their say, and before
    /// [`before_send`](Self::before_send), on the same thread and with the same promises. Where it panics `[withheld]` stands
    /// in place of the text, which is counted in [`Stats::notes`](crate::Stats::notes) under `redact_failed`.
    #[must_use]
    pub fn redact(mut self, hook: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Self {
        self.hooks.redact = Some(Arc::new(move |text: &Text| hook(&text.text, &text.path)));
        self
    }

    /// For bindings: which hooks the application has in its own language, and how to tell that there is work for them
    /// at [`Client::hooks`](crate::Client::hooks). `ring` is called by the worker and must not block.
    #[must_use]
    pub fn hooks_elsewhere(mut self, which: HookSet, ring: impl Fn() + Send + Sync + 'static) -> Self {
        if which != HookSet::default() {
            self.hooks.elsewhere = Some(Elsewhere { which, ring: Arc::new(ring) });
        }
        self
    }

    /// Checks every option and fills in environment and defaults.
    ///
    /// # Errors
    /// A config error that names the option and says what is allowed. An environment variable that cannot be used
    /// is not an error but a warning, for it must not stop a program that somebody else wrote.
    pub fn resolve(self) -> Result<Config> {
        self.resolve_with(|name| std::env::var(name).ok())
    }

    fn resolve_with(self, env: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let language = self.language;
        let mut config = Config { language, ..Config::default() };
        if SERVERLESS.iter().any(|name| env(name).is_some_and(|value| !value.is_empty())) {
            config.timeout = SERVERLESS_TIMEOUT;
        }
        for row in TABLE {
            for name in row.env {
                let Some(text) = env(name).filter(|text| !text.trim().is_empty()) else { continue };
                match row.parse_env(text.trim()).and_then(|value| config.apply(row, &value, Language::Python)) {
                    Ok(()) => {}
                    Err(why) => config.warnings.push(format!("{name} is ignored: {why}")),
                }
                break;
            }
        }
        config.prices_from_env = config.prices.is_some();
        config.sinks.clone_from(&self.sinks);
        config.hooks = self.hooks;
        for (given, value) in &self.values {
            let Some(row) = TABLE.iter().find(|row| language.name_of(row.name) == *given) else {
                return Err(Error::config(unknown_option(language, given)));
            };
            if !value.is_null() {
                config.apply(row, value, language).map_err(|why| Error::config(format!("{given}: {why}")))?;
            }
        }
        Ok(config)
    }
}

impl Row {
    fn parse_env(&self, text: &str) -> std::result::Result<Value, String> {
        Ok(match self.kind {
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Value::Bool(true),
                "0" | "false" | "no" | "off" => Value::Bool(false),
                _ => return Err(format!("{text:?} is not true or false")),
            },
            Kind::Share | Kind::Count(..) | Kind::Time(_) => serde_json::from_str::<serde_json::Number>(text)
                .map(Value::Number)
                .map_err(|_| format!("{text:?} is not a number"))?,
            Kind::Detectors => match text {
                "true" | "all" => Value::Bool(true),
                names => names.split(',').map(str::trim).collect(),
            },
            Kind::Text | Kind::Object | Kind::Policy | Kind::OneOf(_) => Value::String(text.to_owned()),
        })
    }
}

impl Config {
    /// What of an event's content goes where: to every sink, and to the local store beside others where that is different.
    pub(crate) fn policies(&self) -> (Policy, Option<Policy>) {
        let detectors = self.detectors.clone();
        let all = Policy { privacy: self.privacy, full_capture: self.full_capture, detectors, redact: true };
        let stored = self.store.of(&all);
        let elsewhere = self.api_key.is_some() || !self.sinks.is_empty();
        if !elsewhere {
            return (stored, None);
        }
        let differs = self.local && stored != all;
        (all, differs.then_some(stored))
    }

    /// Checks a value against its row and puts it in its place.
    fn apply(&mut self, row: &Row, value: &Value, language: Language) -> std::result::Result<(), String> {
        match &row.kind {
            Kind::Text => {
                let text = value.as_str().ok_or_else(|| expected("a string", value))?;
                match row.name {
                    "api_key" => self.api_key = (!text.trim().is_empty()).then(|| Secret(text.trim().to_owned())),
                    "host" => self.host = posthog_host(text)?,
                    "distinct_id" => self.distinct_id = (!text.is_empty()).then(|| text.to_owned()),
                    "dir" if text.is_empty() => return Err("expected a folder, got an empty string".to_owned()),
                    "dir" => self.dir = PathBuf::from(text),
                    "store_max_age" => self.store_max_age = Some(age(text).ok_or_else(|| expected(AGE, value))?),
                    "store_max_size" => self.store_max_size = Some(size(text).ok_or_else(|| expected(SIZE, value))?),
                    "prices" => {
                        self.prices = Some(PathBuf::from(text));
                        self.prices_from_env = false;
                    }
                    "prices_url" => self.prices_url = Some(list_address(text)?),
                    other => unreachable!("{other} is not a text"),
                }
            }
            Kind::Bool => {
                let given = value.as_bool().ok_or_else(|| expected("true or false", value))?;
                *match row.name {
                    "enabled" => &mut self.enabled,
                    "debug" => &mut self.debug,
                    "keep_errors" => &mut self.keep_errors,
                    "privacy" => &mut self.privacy,
                    "full_capture" => &mut self.full_capture,
                    "stream_usage" => &mut self.stream_usage,
                    "tool_spans" => &mut self.tool_spans,
                    "gzip" => &mut self.gzip,
                    "prices_update" => &mut self.prices_update,
                    "local" => &mut self.local,
                    other => unreachable!("{other} is not a switch"),
                } = given;
            }
            Kind::Detectors => self.detectors = Detector::read(value)?,
            Kind::Policy => self.store = PolicyChange::read(value, language)?,
            Kind::Share => {
                let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
                self.sample_rate = share.ok_or_else(|| expected("a number from 0 to 1", value))?;
            }
            Kind::Count(least, most) => {
                let whole = value.as_u64().or_else(|| {
                    // JavaScript has one kind of number: 100 may arrive as 100.0.
                    let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))?;
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                    Some(number as u64)
                });
                let count = whole
                    .filter(|count| (least..=most).contains(&count))
                    .ok_or_else(|| expected(&format!("a whole number from {least} to {most}"), value))?;
                let size = usize::try_from(count).unwrap_or(usize::MAX);
                match row.name {
                    "flush_at" => self.flush_at = size,
                    "max_memory" => self.max_memory = size,
                    "max_retries" => self.max_retries = u32::try_from(count).unwrap_or(u32::MAX),
                    other => unreachable!("{other} is not a count"),
                }
            }
            Kind::Time(most) => {
                let (unit, scale) = if language == Language::Python { ("seconds", 1.0) } else { ("milliseconds", 1e3) };
                let given = value
                    .as_f64()
                    .map(|time| time / scale)
                    .filter(|time| *time > 0.0 && time <= most)
                    .ok_or_else(|| expected(&format!("{unit} above 0 and up to {}", most * scale), value))?;
                let time = Duration::from_secs_f64(given);
                match row.name {
                    "flush_interval" => self.flush_interval = time,
                    "timeout" => self.timeout = time,
                    other => unreachable!("{other} is not a time"),
                }
            }
            Kind::Object => {
                let object = value.as_object().ok_or_else(|| expected("an object", value))?;
                match row.name {
                    "properties" => self.properties = object.clone(),
                    "groups" => self.groups = object.clone(),
                    "hosts" => {
                        self.hosts = object
                            .iter()
                            .map(|(host, provider)| match provider.as_str() {
                                Some(provider) if !host.is_empty() && !provider.is_empty() => {
                                    Ok((host.to_ascii_lowercase(), provider.to_owned()))
                                }
                                _ => Err(expected("an object of host[:port] to provider", value)),
                            })
                            .collect::<std::result::Result<_, _>>()?;
                    }
                    other => unreachable!("{other} is not an object"),
                }
            }
            Kind::OneOf(choices) => {
                let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
                self.spool = match text.as_str() {
                    "off" => SpoolMode::Off,
                    "overflow" => SpoolMode::Overflow,
                    "always" => SpoolMode::Always,
                    _ => return Err(expected(&format!("one of {}", choices.join(", ")), value)),
                };
            }
        }
        Ok(())
    }
}

const AGE: &str = "an age such as \"12h\", \"30d\" or \"8w\"";
const SIZE: &str = "a size such as \"500MB\" or \"2GB\"";

/// `90m`, `12h`, `30d`, `8w`.
pub(crate) fn age(text: &str) -> Option<Duration> {
    let seconds = match text.chars().last()? {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].trim().parse().ok().filter(|number| *number > 0)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// `500MB`, `2 GB`: at least a megabyte, for an empty store has some pages as well.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let (number, unit) = [("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)]
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim().parse::<u64>().ok()?, *unit)))?;
    number.checked_mul(unit).filter(|bytes| *bytes >= 1_000_000)
}

pub(crate) fn expected(what: &str, got: &Value) -> String {
    let mut text = got.to_string();
    if let Some((cut, _)) = text.char_indices().nth(60) {
        text.truncate(cut);
        text.push_str("...");
    }
    format!("expected {what}, got {text}")
}

fn unknown_option(language: Language, given: &str) -> String {
    // Functions do not come this way; in Rust they have methods of their own.
    let all: &[&str] = &["before_send", "on_error", "on_generation", "redact"];
    let hooks = if language == Language::Rust { &[] } else { all };
    let known = TABLE.iter().map(|row| row.name).chain(hooks.iter().copied());
    let names: Vec<String> = known.map(|name| language.name_of(name)).collect();
    let folded = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let near = names.iter().find(|name| folded(name) == folded(given));
    let hint = near.map(|name| format!(" Did you mean {name}?")).unwrap_or_default();
    format!("{given}: unknown option.{hint} Known options: {}", names.join(", "))
}

/// Checks a server address and maps PostHog's application hosts to its ingestion hosts.
fn posthog_host(text: &str) -> std::result::Result<String, String> {
    let wrong = || format!("expected an address such as https://us.i.posthog.com, got {text:?}");
    let url = reqwest::Url::parse(text.trim()).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    let host = match url.host_str().ok_or_else(wrong)? {
        "app.posthog.com" | "us.posthog.com" => "us.i.posthog.com",
        "eu.posthog.com" => "eu.i.posthog.com",
        other => other,
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/')))
}

/// Checks the address of a list of prices.
fn list_address(text: &str) -> std::result::Result<String, String> {
    let url = reqwest::Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.map(String::from)
        .ok_or_else(|| format!("expected an address such as {}, got {text:?}", crate::price::UPDATE_URL))
}

/// The user's data directory for this library.
fn data_dir() -> PathBuf {
    data_dir_with(|name| std::env::var_os(name))
}

/// Where only the temporary directory can be written: AWS Lambda, Vercel, Cloud Run.
const SERVERLESS: [&str; 3] = ["AWS_LAMBDA_FUNCTION_NAME", "VERCEL", "K_SERVICE"];

/// Of one request to the server on these: a function is paid for by the time it takes, and may be stopped soon.
const SERVERLESS_TIMEOUT: Duration = Duration::from_secs(3);

fn data_dir_with(env: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let var = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if SERVERLESS.iter().any(|name| var(name).is_some()) {
        return std::env::temp_dir().join("llmtrail");
    }
    let base = if cfg!(target_os = "windows") {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        var("XDG_DATA_HOME").or_else(|| var("HOME").map(|home| home.join(".local/share")))
    };
    base.unwrap_or_else(std::env::temp_dir).join("llmtrail")
}

pub(crate) fn camel(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
#[test]
fn ages_and_sizes() {
    assert_eq!(age("30d"), Some(Duration::from_secs(2_592_000)));
    assert_eq!(age("90m"), Some(Duration::from_secs(5400)));
    assert_eq!((size("500MB"), size("2 gb")), (Some(500_000_000), Some(2_000_000_000)));
    for text in ["", "d", "0d", "-1d", "30", "x"] {
        assert_eq!(age(text), None, "{text}");
    }
    for text in ["", "MB", "5KB", "10", "1.5GB", "99999999999999TB"] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(language: Language, options: &Value) -> Result<Config> {
        Options::from_json(language, &options.to_string()).unwrap().resolve_with(|_| None)
    }

    #[test]
    fn each_language_has_its_names_and_units() {
        let python = resolve(Language::Python, &json!({"flush_interval": 1.5, "flush_at": 7})).unwrap();
        let node = resolve(Language::Node, &json!({"flushInterval": 1500, "flushAt": 7.0})).unwrap();
        assert_eq!(python.flush_interval, node.flush_interval);
        assert_eq!((python.flush_at, node.flush_at), (7, 7));
        let wrong = resolve(Language::Node, &json!({"flush_at": 7})).unwrap_err();
        assert!(wrong.to_string().contains("Did you mean flushAt?"), "{wrong}");
    }

    #[test]
    fn mistakes_name_the_option_and_what_is_allowed() {
        for (options, says) in [
            (json!({"flush_at": -1}), "flush_at: expected a whole number from 1 to 10000, got -1"),
            (json!({"flush_at": 1.5}), "flush_at: expected a whole number from 1 to 10000, got 1.5"),
            (json!({"timeout": 0}), "timeout: expected seconds above 0 and up to 600, got 0"),
            (json!({"sample_rate": 2}), "sample_rate: expected a number from 0 to 1, got 2"),
            (json!({"spool": "some"}), "spool: expected one of off, overflow, always, got \"some\""),
            (json!({"host": "posthog"}), "host: expected an address such as"),
            (json!({"host": "ftp://x"}), "host: expected an address such as"),
            (json!({"hosts": {"a": 1}}), "hosts: expected an object of host[:port] to provider"),
            (json!({"gzip": "yes"}), "gzip: expected true or false, got \"yes\""),
            (json!({"bogus": 1}), "bogus: unknown option."),
        ] {
            let error = resolve(Language::Python, &options).unwrap_err();
            assert_eq!(error.kind().code(), "config");
            assert!(error.to_string().starts_with(says), "{error}");
        }
    }

    #[test]
    fn code_wins_over_environment_and_a_bad_variable_is_a_warning() {
        let env = |name: &str| match name {
            "LLMTRAIL_FLUSH_AT" => Some("9".to_owned()),
            "LLMTRAIL_SAMPLE_RATE" => Some("lots".to_owned()),
            "LLMTRAIL_ENABLED" => Some("off".to_owned()),
            "POSTHOG_PROJECT_API_KEY" => Some("phc_abcdefgh".to_owned()),
            _ => None,
        };
        let config = Options::new(Language::Python).set("flush_at", 3).resolve_with(env).unwrap();
        assert_eq!(config.flush_at, 3);
        assert!(!config.enabled);
        assert_eq!(config.warnings, ["LLMTRAIL_SAMPLE_RATE is ignored: \"lots\" is not a number"]);
        assert_eq!(format!("{:?}", config.api_key.unwrap()), "phc_ab...");
    }

    #[test]
    fn on_a_serverless_platform_nobody_waits_long() {
        let options = || Options::new(Language::Python);
        for platform in SERVERLESS {
            let env = |name: &str| (name == platform).then(|| "here".to_owned());
            assert_eq!(options().resolve_with(env).unwrap().timeout, SERVERLESS_TIMEOUT);
            assert_eq!(options().set("timeout", 7).resolve_with(env).unwrap().timeout, Duration::from_secs(7));
        }
        assert_eq!(options().resolve_with(|_| None).unwrap().timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_serverless_platform_means_its_temporary_directory() {
        let temporary = std::env::temp_dir().join("llmtrail");
        for platform in SERVERLESS {
            let env = |name: &str| (name == platform || name == "HOME").then(|| OsString::from("/home/one"));
            assert_eq!(data_dir_with(env), temporary, "{platform}");
        }
        let env = |name: &str| (name == "HOME" || name == "LOCALAPPDATA").then(|| OsString::from("/home/one"));
        assert!(data_dir_with(env).starts_with("/home/one"));
    }

    #[test]
    fn posthog_application_hosts_become_ingestion_hosts() {
        assert_eq!(posthog_host("https://eu.posthog.com/").unwrap(), "https://eu.i.posthog.com");
        assert_eq!(posthog_host("http://127.0.0.1:8000/ph/").unwrap(), "http://127.0.0.1:8000/ph");
        assert!(posthog_host("https://user:pw@host").is_err());
    }
}
