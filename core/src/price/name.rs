//! From what a call says (a model id in any of its spellings) to the name that the catalogue lists.
//!
//! `core/data/build_catalogue.py` folds the catalogue's own names in the same way.

use memchr::{memchr, memrchr};

use super::catalogue::Mode;

/// Longer names are not in any catalogue.
const LONGEST: usize = 128;

/// Where a name is folded.
pub(crate) struct Space([u8; LONGEST]);

impl Space {
    pub const fn new() -> Self {
        Self([0; LONGEST])
    }

    /// Folds a text, each byte in its place: lower case, one separator for all, 0 for what no name has.
    fn fold(&mut self, text: &str) {
        self.0[..text.len()].copy_from_slice(text.as_bytes());
        // So many at once are one instruction each.
        for some in self.0.as_chunks_mut::<16>().0.iter_mut().take(text.len().div_ceil(16)) {
            *some = some.map(folded);
        }
    }

    /// Puts something before a part, which then ends further back.
    fn insert(&mut self, from: usize, to: usize, more: &[u8]) -> Option<usize> {
        let end = to + more.len();
        self.0.get(..end)?;
        self.0.copy_within(from..to, from + more.len());
        self.0[from..from + more.len()].copy_from_slice(more);
        Some(end)
    }
}

/// A model id, read.
#[derive(Debug, Clone)]
pub(crate) struct ModelName<'a> {
    /// The name, after the last part of its vendor path.
    text: &'a [u8],
    /// Where the name begins in that.
    start: usize,
    /// The vendor path before the name (`anthropic` of `anthropic/claude-sonnet-4.5`).
    pub vendor: Option<&'a str>,
    /// What the id says about where it ran (`us.`, `global.`, an ARN's region).
    pub region: Option<&'a str>,
    /// `:free`, `:batch`, `:flex` are modes of a price, not names.
    pub mode: Option<Mode>,
    /// `:nitro` and the like choose among a router's providers.
    pub routed: bool,
    /// A fine-tune of the model; it has a price of its own, or none.
    pub fine_tune: bool,
}

impl<'a> ModelName<'a> {
    /// `None` when this cannot be the name of a listed model. `space` is for a name that is not written as lists do.
    pub fn read(id: &'a str, space: &'a mut Space) -> Option<Self> {
        let mut name = Self {
            text: id.as_bytes(),
            start: 0,
            vendor: None,
            region: None,
            mode: None,
            routed: false,
            fine_tune: false,
        };
        if is_plain(id) && id.len() <= LONGEST && !id.ends_with('-') {
            return Some(name);
        }
        let mut id = id.trim_ascii();
        if starts_with(id, "arn:") {
            id = name.read_arn(id)?;
        }
        // The name is at the end; a path before it may be longer than any name.
        let cut = (id.len().saturating_sub(LONGEST)..=id.len()).find(|at| id.is_char_boundary(*at))?;
        id = &id[cut..];
        space.fold(id);
        let begin = memrchr(b'/', id.as_bytes()).map_or(0, |at| at + 1);
        if let Some(path) = begin.checked_sub(1).map(|end| &id[..end]) {
            let last = memrchr(b'/', path.as_bytes()).map_or(path, |at| &path[at + 1..]);
            name.vendor = Some(last.trim_start_matches('~'));
        } else if cut > 0 {
            return None;
        }
        let (mut from, mut to) = (begin, id.len());
        while id[from..].starts_with('~') {
            from += 1;
        }
        let last_dot = memrchr(b'.', &id.as_bytes()[from..]);
        if starts_with(&id[from..], "ft:") {
            // ft:gpt-4o-mini-2024-07-18:organisation:name:id
            name.fine_tune = true;
            to = memchr(b':', &id.as_bytes()[from + 3..]).map_or(to, |at| from + 3 + at);
        } else if let Some(tuned) = last_dot.and_then(|dot| tuned_on_azure(&id[from..], dot)) {
            name.fine_tune = true;
            to = space.insert(from, from + tuned.len(), b"ft-")?;
        } else {
            to = from + name.read_suffix(&id[from..]).len();
            if last_dot.is_some() {
                from = to - name.read_bedrock(&id[from..to]).len();
            }
        }
        if let Some(vendor) = name.vendor {
            if from > begin {
                // Right behind its vendor.
                space.0.copy_within(from..to, begin);
            }
            (from, to) = (begin - 1 - vendor.len(), begin + to - from);
            name.start = vendor.len() + 1;
        }
        while to > from + name.start && space.0[to - 1] == b'-' {
            to -= 1;
        }
        let text = &space.0[from..to];
        name.text = text;
        (text.len() > name.start && is_folded(text)).then_some(name)
    }

    /// The folded name.
    pub fn as_bytes(&self) -> &'a [u8] {
        &self.text[self.start..]
    }

    /// The folded name with its vendor, by which a few models are listed; the same as the name when there is none.
    pub fn with_vendor(&self) -> &'a [u8] {
        self.text
    }

    fn read_arn(&mut self, arn: &'a str) -> Option<&'a str> {
        let mut parts = arn.splitn(6, ':');
        let region = parts.nth(3)?;
        let (kind, resource) = parts.nth(1)?.split_once('/')?;
        if !region.is_empty() {
            self.region = Some(region);
        }
        // Application profiles, provisioned throughput and routers are named by the account, not by the model.
        matches!(kind, "foundation-model" | "inference-profile").then_some(resource)
    }

    fn read_suffix(&mut self, text: &'a str) -> &'a str {
        let Some(at) = text.bytes().rposition(|byte| byte == b':') else {
            return text;
        };
        match &text[at + 1..] {
            "free" => self.mode = Some(Mode::Free),
            "batch" => self.mode = Some(Mode::Batch),
            "flex" => self.mode = Some(Mode::Flex),
            "nitro" | "floor" | "exacto" => self.routed = true,
            _ => return text,
        }
        &text[..at]
    }

    fn read_bedrock(&mut self, text: &'a str) -> &'a str {
        // It is near, if there.
        let cut = |text: &'a str| text.bytes().position(|b| b == b'.').map(|at| (&text[..at], &text[at + 1..]));
        let Some((head, tail)) = cut(text) else {
            return text;
        };
        if is_bedrock_vendor(head) {
            return tail;
        }
        if let ("us" | "eu" | "apac" | "global" | "us-gov" | "jp" | "au" | "ca" | "in", Some((vendor, model))) =
            (head, cut(tail))
            && is_bedrock_vendor(vendor)
        {
            self.region = Some(head);
            return model;
        }
        text
    }
}

/// The model that was tuned: `gpt-4o-mini-2024-07-18.ft-0123abc`, whose last dot is at a place.
fn tuned_on_azure(name: &str, dot: usize) -> Option<&str> {
    name[dot..].starts_with(".ft-").then(|| &name[..dot])
}

fn is_bedrock_vendor(text: &str) -> bool {
    matches!(
        text,
        "ai21"
            | "amazon"
            | "anthropic"
            | "cohere"
            | "deepseek"
            | "google"
            | "luma"
            | "meta"
            | "minimax"
            | "mistral"
            | "moonshot"
            | "moonshotai"
            | "nvidia"
            | "openai"
            | "qwen"
            | "stability"
            | "writer"
            | "zai"
    )
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.as_bytes().get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// A byte as names are compared.
#[expect(clippy::needless_bitwise_bool, reason = "without branches sixteen bytes take the instructions of one")]
fn folded(byte: u8) -> u8 {
    let lower = byte | (u8::from(byte.is_ascii_uppercase()) << 5);
    let is_separator = (byte == b'.')
        | (byte == b'_')
        | (byte == b':')
        | (byte == b'@')
        | (byte == b'/')
        | (byte == b' ')
        | (byte == b'#')
        | (byte == b'-');
    let is_other = (byte == b'+') | (byte == b'~') | (byte == b'(') | (byte == b')');
    let is_listed = lower.is_ascii_lowercase() | byte.is_ascii_digit() | is_other;
    if is_separator { b'-' } else { lower & u8::from(is_listed).wrapping_neg() }
}

fn is_folded(text: &[u8]) -> bool {
    !text.contains(&0)
}

/// Whether folding changes nothing: most names are as lists have them.
#[expect(clippy::needless_bitwise_bool, reason = "without a way out in the middle many bytes are looked at at once")]
fn is_plain(text: &str) -> bool {
    text.bytes().fold(!text.is_empty(), |plain, byte| {
        plain & (byte.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-'))
    })
}

/// A provider's name, folded; `None` when no provider has such a name.
pub(crate) fn fold<'a>(text: &'a str, space: &'a mut Space) -> Option<&'a str> {
    if is_plain(text) {
        return Some(text);
    }
    let text = text.trim_ascii();
    if text.len() > LONGEST {
        return None;
    }
    space.fold(text);
    let folded = &space.0[..text.len()];
    is_folded(folded).then(|| str::from_utf8(folded).unwrap_or_default())
}

/// The name, then each shorter one that drops a tail which says nothing about the price.
pub(crate) fn shorter_forms(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |name| {
        let drop = neutral_tail(name);
        (drop > 0 && drop < name.len()).then(|| &name[..name.len() - drop])
    })
}

/// The shorter names by which a listed name goes when nothing else has them: without dates and builds, but with their
/// version, for two versions are two models, and with `latest`, which is an alias already.
pub(crate) fn undated_forms(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let versioned = |name: &[u8]| {
        let (rest, last) = last_part(name);
        last == b"latest" || is_version(last) || is_version(last_part(rest).1)
    };
    let mut go_on = true;
    shorter_forms(name).skip(1).zip(shorter_forms(name)).map_while(move |(short, before)| {
        go_on &= !versioned(before);
        go_on.then_some(short)
    })
}

/// Length of a trailing date, `latest`, `preview`, `vN` or build number, with its separator; 0 when the tail has a
/// meaning (`mini`, `tts`, `32k`, a size).
fn neutral_tail(name: &[u8]) -> usize {
    let (rest, last) = last_part(name);
    let one_part = last.len() + 1;
    // Most names end in a word.
    if !last.first().is_some_and(u8::is_ascii_digit) {
        return if matches!(last, b"latest" | b"preview" | b"default") || is_version(last) { one_part } else { 0 };
    }
    if is_date8(last) || is_short_date(last) || is_build(last) {
        return one_part;
    }
    let (rest, two) = last_part(rest);
    let two_parts = one_part + two.len() + 1;
    if is_month(two) && digits(last, 2) {
        let (_, three) = last_part(rest);
        if is_year(three) {
            return two_parts + three.len() + 1;
        }
        return if last[0] < b'4' { two_parts } else { 0 };
    }
    let ends = is_month(two) && is_year(last) || is_version(two) && digits(last, 1);
    if ends { two_parts } else { 0 }
}

/// What is before the last dash, and what is after it.
fn last_part(name: &[u8]) -> (&[u8], &[u8]) {
    let at = name.iter().rposition(|byte| *byte == b'-');
    at.map_or((b"", name), |at| (&name[..at], &name[at + 1..]))
}

fn digits(text: &[u8], length: usize) -> bool {
    text.len() == length && text.iter().all(u8::is_ascii_digit)
}

fn is_year(text: &[u8]) -> bool {
    digits(text, 4) && (text.starts_with(b"201") || text.starts_with(b"202"))
}

fn is_month(text: &[u8]) -> bool {
    digits(text, 2) && (&b"01"[..]..=b"12").contains(&text)
}

fn is_day(text: &[u8]) -> bool {
    digits(text, 2) && (&b"01"[..]..=b"31").contains(&text)
}

/// 20241022
fn is_date8(text: &[u8]) -> bool {
    digits(text, 8) && is_year(&text[..4]) && is_month(&text[4..6]) && is_day(&text[6..])
}

/// 0613 (month and day) or 2507 (year and month); 1024 is a size.
fn is_short_date(text: &[u8]) -> bool {
    digits(text, 4)
        && text != b"1024"
        && (is_month(&text[..2]) && is_day(&text[2..])
            || (&b"22"[..]..b"30").contains(&&text[..2]) && is_month(&text[2..]))
}

/// 001
fn is_build(text: &[u8]) -> bool {
    digits(text, 3) && text.starts_with(b"00")
}

fn is_version(text: &[u8]) -> bool {
    text.strip_prefix(b"v").is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_every_spelling_to_one_name() {
        for (id, name) in [
            ("gpt-4o-mini", "gpt-4o-mini"),
            ("openai/GPT-4o-mini", "gpt-4o-mini"),
            ("models/gemini-2.5-pro", "gemini-2-5-pro"),
            ("publishers/google/models/gemini-2.5-pro", "gemini-2-5-pro"),
            ("accounts/fireworks/models/kimi-k3", "kimi-k3"),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4-20250514-v1-0"),
            (
                "arn:aws:bedrock:us-east-1:1234:inference-profile/us.anthropic.claude-3-haiku-20240307-v1:0",
                "claude-3-haiku-20240307-v1-0",
            ),
            ("claude-sonnet-4@20250514", "claude-sonnet-4-20250514"),
            ("ft:gpt-4o-mini-2024-07-18:acme::abc", "ft-gpt-4o-mini-2024-07-18"),
            ("gpt-4o-mini-2024-07-18.ft-0123", "ft-gpt-4o-mini-2024-07-18"),
            ("google/gemma-4-31b-it:free", "gemma-4-31b-it"),
            ("~anthropic/claude-haiku-latest", "claude-haiku-latest"),
            ("bedrock/us.anthropic.claude-haiku-4-5-v1:0", "claude-haiku-4-5-v1-0"),
            ("openai/ft:gpt-4o-mini-2024-07-18:acme", "ft-gpt-4o-mini-2024-07-18"),
            ("azure/gpt-4o-mini-2024-07-18.ft-0123", "ft-gpt-4o-mini-2024-07-18"),
            ("projects/modèle/locations/us-central1/publishers/google/models/Gemini 2.5_Pro-", "gemini-2-5-pro"),
        ] {
            assert_eq!(ModelName::read(id, &mut Space::new()).expect(id).as_bytes(), name.as_bytes());
        }
        let long = format!("{}/openai/gpt-5", "é".repeat(200));
        let mut space = Space::new();
        let name = ModelName::read(&long, &mut space).expect("a name");
        assert_eq!((name.with_vendor(), name.as_bytes()), (&b"openai-gpt-5"[..], &b"gpt-5"[..]));
        let mut space = Space::new();
        let name = ModelName::read("bedrock/us.meta.llama3", &mut space).expect("a name");
        assert_eq!((name.with_vendor(), name.as_bytes()), (&b"bedrock-llama3"[..], &b"llama3"[..]));
        assert_eq!(ModelName::read("gemma:free", &mut Space::new()).expect("a name").mode, Some(Mode::Free));
        assert_eq!(ModelName::read("eu.amazon.nova-lite-v1:0", &mut Space::new()).expect("a name").region, Some("eu"));
        for id in ["", "  ", "modèle", "a{b}", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"] {
            assert!(ModelName::read(id, &mut Space::new()).is_none(), "{id}");
        }
        assert!(ModelName::read(&"x".repeat(500), &mut Space::new()).is_none());
    }

    #[test]
    fn drops_only_tails_without_meaning() {
        for (name, forms) in [
            ("gpt-4o-2024-08-06", vec!["gpt-4o-2024-08-06", "gpt-4o"]),
            (
                "claude-3-haiku-20240307-v1-0",
                vec!["claude-3-haiku-20240307-v1-0", "claude-3-haiku-20240307", "claude-3-haiku"],
            ),
            ("gpt-4-1-preview-0502", vec!["gpt-4-1-preview-0502", "gpt-4-1-preview", "gpt-4-1"]),
            ("gemini-2-0-flash-001", vec!["gemini-2-0-flash-001", "gemini-2-0-flash"]),
            ("command-r-08-2024", vec!["command-r-08-2024", "command-r"]),
            ("o1-mini", vec!["o1-mini"]),
            ("claude-3-5", vec!["claude-3-5"]),
            ("gpt-4-32k", vec!["gpt-4-32k"]),
            ("embed-1024", vec!["embed-1024"]),
            ("llama-3-1-405b", vec!["llama-3-1-405b"]),
        ] {
            let found = shorter_forms(name.as_bytes()).map(|form| str::from_utf8(form).expect("text"));
            assert_eq!(found.collect::<Vec<_>>(), forms);
        }
    }
}
