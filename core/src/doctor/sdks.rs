//! Which SDKs are known, and in which versions they were tested: what the end-to-end tests wrote down beside
//! `docs/coverage.md` (`make coverage`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Installed, Observed};
use crate::config::Language;

const TESTED: &str = include_str!("tested.json");

/// Names in the registry, and how the names of their clients' classes begin.
type Known = (&'static str, &'static [&'static str]);

const PYTHON: &[Known] = &[
    ("aioboto3", &["aiobotocore."]),
    ("anthropic", &["anthropic."]),
    ("boto3", &["botocore."]),
    ("cohere", &["cohere."]),
    ("google-genai", &["google.genai."]),
    ("groq", &["groq."]),
    ("instructor", &["instructor."]),
    ("langchain-anthropic", &["langchain_anthropic."]),
    ("langchain-google-genai", &["langchain_google_genai."]),
    ("langchain-openai", &["langchain_openai."]),
    ("litellm", &[]),
    ("llama-index-llms-openai", &[]),
    ("mistralai", &["mistralai."]),
    ("ollama", &["ollama."]),
    ("openai", &["openai."]),
    ("openai-agents", &[]),
    ("pydantic-ai-slim", &["pydantic_ai."]),
    ("together", &["together."]),
];

const NODE: &[Known] = &[
    ("@ai-sdk/amazon-bedrock", &[]),
    ("@ai-sdk/anthropic", &[]),
    ("@ai-sdk/azure", &[]),
    ("@ai-sdk/google", &[]),
    ("@ai-sdk/openai", &[]),
    ("@anthropic-ai/bedrock-sdk", &["AnthropicBedrock"]),
    ("@anthropic-ai/sdk", &["Anthropic"]),
    ("@anthropic-ai/vertex-sdk", &["AnthropicVertex"]),
    ("@aws-sdk/client-bedrock-runtime", &["BedrockRuntimeClient", "BedrockRuntime"]),
    ("@google/genai", &["GoogleGenAI"]),
    ("@langchain/anthropic", &["ChatAnthropic"]),
    ("@langchain/openai", &["ChatOpenAI", "AzureChatOpenAI", "OpenAIEmbeddings"]),
    ("@mistralai/mistralai", &["Mistral"]),
    ("@openai/agents", &[]),
    ("ai", &[]),
    ("cohere-ai", &["CohereClient", "CohereClientV2"]),
    ("groq-sdk", &["Groq"]),
    ("ollama", &["Ollama"]),
    ("openai", &["OpenAI", "AzureOpenAI"]),
];

/// An SDK that is installed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Sdk {
    /// Its name in the registry of its language.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether that version was tested.
    pub tested: Tested,
    /// The versions that the tests ran with.
    pub tested_versions: Option<Versions>,
    /// `wrapped`, `instrumented` or `nothing`; `None`: not known, see [`Host::observed`](super::Host::observed).
    pub observed: Option<&'static str>,
}

/// Whether a version was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tested {
    /// It is one of the versions that the tests ran with, or lies between two of them.
    Yes,
    /// It is newer than all of them.
    Newer,
    /// It is older than all of them.
    Older,
    /// There are no tests with this SDK.
    No,
}

/// The first and the last of the versions that the tests ran with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Versions {
    /// The oldest.
    pub oldest: String,
    /// The newest.
    pub newest: String,
}

/// The names of the SDKs to look for.
pub fn known(language: Language) -> Vec<String> {
    let named = table(language).iter().map(|(name, _)| (*name).to_owned());
    let mut all: Vec<String> = named.chain(tested(language).into_keys()).collect();
    all.sort();
    all.dedup();
    all
}

/// What is to be said of an SDK.
pub(super) fn look(language: Language, sdk: &Installed, observed: Option<&[Observed]>) -> Sdk {
    let tested_versions = tested(language).remove(&sdk.name);
    let tested = match &tested_versions {
        None => Tested::No,
        Some(range) if compare(&sdk.version, &range.newest).is_gt() => Tested::Newer,
        Some(range) if compare(&sdk.version, &range.oldest).is_lt() => Tested::Older,
        Some(_) => Tested::Yes,
    };
    let classes = table(language).iter().find(|(name, _)| *name == sdk.name).map_or(&[][..], |(_, classes)| classes);
    let observed = observed.map(|all| {
        let wrapped = |one: &Observed| one.how == "wrapped" && is_of(language, classes, &one.what);
        match () {
            () if all.iter().any(wrapped) => "wrapped",
            () if all.iter().any(|one| one.how == "instrumented") => "instrumented",
            () => "nothing",
        }
    });
    Sdk { name: sdk.name.clone(), version: sdk.version.clone(), tested, tested_versions, observed }
}

fn table(language: Language) -> &'static [Known] {
    match language {
        Language::Python => PYTHON,
        Language::Node => NODE,
        Language::Rust => &[],
    }
}

/// In Python a class has its module before it; in Node it is a name alone.
fn is_of(language: Language, classes: &[&str], what: &str) -> bool {
    classes.iter().any(|class| if language == Language::Python { what.starts_with(class) } else { what == *class })
}

fn tested(language: Language) -> BTreeMap<String, Versions> {
    let mut all: BTreeMap<String, BTreeMap<String, Versions>> = serde_json::from_str(TESTED).unwrap_or_default();
    all.remove(language.as_str()).unwrap_or_default()
}

/// By the numbers of the versions, one after the other; what follows them (`rc1`, `-beta.2`) makes a version older.
fn compare(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b))
}

fn numbers(version: &str) -> (Vec<u64>, bool) {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let (digits, rest) = version.split_at(end);
    let mut numbers: Vec<u64> = digits.split('.').filter_map(|part| part.parse().ok()).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    (numbers, rest.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (less, more) in [("1.9.0", "1.10.0"), ("2.0.0rc1", "2.0.0"), ("0.40.0", "2.12.0"), ("4.0.0-beta.3", "4.0")]
        {
            assert_eq!((compare(less, more), compare(more, less)), (Ordering::Less, Ordering::Greater), "{less}");
        }
        assert_eq!(compare("2.0", "2.0.0"), Ordering::Equal);
    }

    #[test]
    fn an_sdk_is_judged_by_the_versions_of_the_tests() {
        let look = |name: &str, version: &str| {
            look(Language::Python, &Installed { name: name.into(), version: version.into() }, None)
        };
        let range = look("openai", "1.99.0").tested_versions.unwrap();
        assert_eq!(look("openai", "1.99.0").tested, Tested::Yes);
        assert_eq!(look("openai", &range.oldest).tested, Tested::Yes);
        assert_eq!(look("openai", &range.newest).tested, Tested::Yes);
        assert_eq!(look("openai", "0.28.1").tested, Tested::Older);
        assert_eq!(look("openai", "99.0.0").tested, Tested::Newer);
        assert_eq!(look("no-such", "1.0").tested, Tested::No);
    }

    #[test]
    fn what_is_wrapped_is_told_from_what_the_process_sees() {
        let one = |what: &str, how: &str| Observed { what: what.into(), how: how.into(), calls: 0 };
        let see = |language, name: &str, all: &[Observed]| {
            look(language, &Installed { name: name.into(), version: "1".into() }, Some(all)).observed.unwrap()
        };
        let all = [one("openai.AsyncOpenAI", "wrapped"), one("httpx", "instrumented")];
        assert_eq!(see(Language::Python, "openai", &all), "wrapped");
        assert_eq!(see(Language::Python, "anthropic", &all), "instrumented");
        assert_eq!(see(Language::Python, "anthropic", &all[..1]), "nothing");
        let all = [one("AnthropicBedrock", "wrapped"), one("CohereClientV2", "wrapped")];
        assert_eq!(see(Language::Node, "@anthropic-ai/bedrock-sdk", &all), "wrapped");
        assert_eq!(see(Language::Node, "@anthropic-ai/sdk", &all), "nothing");
        assert_eq!(see(Language::Node, "cohere-ai", &all), "wrapped");
    }

    #[test]
    fn the_table_of_the_tests_can_be_read() {
        for language in [Language::Python, Language::Node] {
            assert!(tested(language).len() > 8, "{language:?}");
            assert!(known(language).contains(&"openai".to_owned()));
        }
        assert!(known(Language::Rust).is_empty());
    }
}
