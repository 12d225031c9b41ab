//! From what a call says (a model id in any of its spellings) to the name that the catalogue lists.
//!
//! `core/data/build_catalogue.py` folds the catalogue's own names in the same way.

use super::catalogue::Mode;

/// Longer names are not in any catalogue.
const LONGEST: usize = 120;

/// A model id, read.
#[derive(Debug, Clone)]
pub(crate) struct ModelName<'a> {
    buffer: [u8; LONGEST],
    length: usize,
    /// Where the name begins, after the last part of its vendor path.
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
    /// `None` when this cannot be the name of a listed model.
    pub fn read(id: &'a str) -> Option<Self> {
        let mut name = Self {
            buffer: [0; LONGEST],
            length: 0,
            start: 0,
            vendor: None,
            region: None,
            mode: None,
            routed: false,
            fine_tune: false,
        };
        let mut rest = id.trim();
        if starts_with(rest, "arn:") {
            rest = name.read_arn(rest)?;
        }
        if let Some(at) = rest.bytes().rposition(|b| b == b'/') {
            let (path, last) = (&rest[..at], &rest[at + 1..]);
            let vendor = path.rsplit('/').next().unwrap_or_default().trim_start_matches('~');
            name.vendor = Some(vendor);
            name.push(vendor)?;
            name.push("-")?;
            name.start = name.length;
            rest = last;
        }
        rest = rest.trim_start_matches('~');
        let (mut has_colon, mut has_dot) = (false, false);
        for byte in rest.bytes() {
            has_colon |= byte == b':';
            has_dot |= byte == b'.';
        }
        if !has_colon && !has_dot {
            // Most names are plain.
        } else if starts_with(rest, "ft:") {
            // ft:gpt-4o-mini-2024-07-18:organisation:name:id
            name.fine_tune = true;
            rest = rest[3..].split(':').next().unwrap_or_default();
            name.push("ft-")?;
        } else if let Some(at) = rest.find(".ft-") {
            // Azure: gpt-4o-mini-2024-07-18.ft-0123abc
            name.fine_tune = true;
            rest = &rest[..at];
            name.push("ft-")?;
        } else {
            rest = name.read_suffix(rest);
            rest = name.read_bedrock(rest);
        }
        name.push(rest)?;
        while name.length > name.start && name.buffer[name.length - 1] == b'-' {
            name.length -= 1;
        }
        (name.length > name.start).then_some(name)
    }

    /// The folded name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.buffer[self.start..self.length]).unwrap_or_default()
    }

    /// The folded name with its vendor, by which a few models are listed; the same as the name when there is none.
    pub fn with_vendor(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.length]).unwrap_or_default()
    }

    fn push(&mut self, text: &str) -> Option<()> {
        fold_into(self.buffer.get_mut(self.length..)?, text)?;
        self.length += text.len();
        Some(())
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
        let Some((before, suffix)) = text.rsplit_once(':') else {
            return text;
        };
        match suffix {
            "free" => self.mode = Some(Mode::Free),
            "batch" => self.mode = Some(Mode::Batch),
            "flex" => self.mode = Some(Mode::Flex),
            "nitro" | "floor" | "exacto" => self.routed = true,
            _ => return text,
        }
        before
    }

    fn read_bedrock(&mut self, text: &'a str) -> &'a str {
        let Some((head, tail)) = text.split_once('.') else {
            return text;
        };
        if BEDROCK_VENDORS.contains(&head) {
            return tail;
        }
        if let Some((vendor, model)) = tail.split_once('.')
            && BEDROCK_REGIONS.contains(&head)
            && BEDROCK_VENDORS.contains(&vendor)
        {
            self.region = Some(head);
            return model;
        }
        text
    }
}

const BEDROCK_REGIONS: [&str; 9] = ["us", "eu", "apac", "global", "us-gov", "jp", "au", "ca", "in"];
const BEDROCK_VENDORS: [&str; 18] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "writer",
    "zai",
];

fn starts_with(text: &str, prefix: &str) -> bool {
    text.as_bytes().get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Lower case, and one separator for all; 0 for what no name contains.
static FOLD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'+' | b'~' | b'(' | b')' => byte,
            b'A'..=b'Z' => byte.to_ascii_lowercase(),
            b'.' | b'_' | b':' | b'@' | b'/' | b' ' | b'#' => b'-',
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Folds `text` into the start of `target`; `None` when it has what no name has, or does not fit.
fn fold_into(target: &mut [u8], text: &str) -> Option<()> {
    let mut all_valid = true;
    for (to, from) in target.get_mut(..text.len())?.iter_mut().zip(text.bytes()) {
        *to = FOLD[usize::from(from)];
        all_valid &= *to != 0;
    }
    all_valid.then_some(())
}

/// A name folded on the stack, for providers; `None` when no provider has such a name.
pub(crate) struct Folded {
    buffer: [u8; 64],
    length: usize,
}

impl Folded {
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut folded = Self { buffer: [0; 64], length: text.len() };
        fold_into(&mut folded.buffer, text)?;
        Some(folded)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.length]).unwrap_or_default()
    }
}

/// The name, then each shorter one that drops a tail which says nothing about the price.
pub(crate) fn shorter_forms(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        let drop = neutral_tail(name);
        (drop > 0 && drop < name.len()).then(|| &name[..name.len() - drop])
    })
}

/// The shorter names by which a listed name goes when nothing else has them: without dates and builds, but with their
/// version, for two versions are two models, and with `latest`, which is an alias already.
pub(crate) fn undated_forms(name: &str) -> impl Iterator<Item = &str> {
    let versioned = |name: &str| {
        let mut parts = name.rsplit('-');
        parts.next().is_some_and(|last| last == "latest" || is_version(last)) || parts.next().is_some_and(is_version)
    };
    let mut go_on = true;
    shorter_forms(name).skip(1).zip(shorter_forms(name)).map_while(move |(short, before)| {
        go_on &= !versioned(before);
        go_on.then_some(short)
    })
}

/// Length of a trailing date, `latest`, `preview`, `vN` or build number, with its separator; 0 when the tail has a
/// meaning (`mini`, `tts`, `32k`, a size).
fn neutral_tail(name: &str) -> usize {
    let mut parts = name.rsplit('-');
    let last = parts.next().unwrap_or_default();
    let two = parts.next().unwrap_or_default();
    let three = parts.next().unwrap_or_default();
    let one_part = last.len() + 1;
    let two_parts = one_part + two.len() + 1;
    if matches!(last, "latest" | "preview" | "default") || is_date8(last) || is_short_date(last) || is_build(last) {
        return one_part;
    }
    if is_year(three) && is_month(two) && digits(last, 2) {
        return two_parts + three.len() + 1;
    }
    if is_month(two) && (is_year(last) || digits(last, 2) && last < "40") {
        return two_parts;
    }
    if is_version(two) && digits(last, 1) {
        return two_parts;
    }
    if is_version(last) { one_part } else { 0 }
}

fn digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_year(text: &str) -> bool {
    digits(text, 4) && (text.starts_with("201") || text.starts_with("202"))
}

fn is_month(text: &str) -> bool {
    digits(text, 2) && ("01"..="12").contains(&text)
}

fn is_day(text: &str) -> bool {
    digits(text, 2) && ("01"..="31").contains(&text)
}

/// 20241022
fn is_date8(text: &str) -> bool {
    digits(text, 8) && is_year(&text[..4]) && is_month(&text[4..6]) && is_day(&text[6..])
}

/// 0613 (month and day) or 2507 (year and month); 1024 is a size.
fn is_short_date(text: &str) -> bool {
    digits(text, 4)
        && text != "1024"
        && (is_month(&text[..2]) && is_day(&text[2..]) || ("22".."30").contains(&&text[..2]) && is_month(&text[2..]))
}

/// 001
fn is_build(text: &str) -> bool {
    digits(text, 3) && text.starts_with("00")
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
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
        ] {
            assert_eq!(ModelName::read(id).expect(id).as_str(), name);
        }
        assert_eq!(ModelName::read("gemma:free").expect("a name").mode, Some(Mode::Free));
        assert_eq!(ModelName::read("eu.amazon.nova-lite-v1:0").expect("a name").region, Some("eu"));
        for id in ["", "  ", "modèle", "a{b}", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"] {
            assert!(ModelName::read(id).is_none(), "{id}");
        }
        assert!(ModelName::read(&"x".repeat(500)).is_none());
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
            assert_eq!(shorter_forms(name).collect::<Vec<_>>(), forms);
        }
    }
}
