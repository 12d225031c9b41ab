//! The language of the filter box: `model:gpt-5* cost:>0.05 status:error user:u1 latency:>5s text:"refund"`.
//!
//! Words are joined by "and"; a minus before one turns it round. A word without a name is looked for in messages.

/// What a filter asks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Filter {
    pub(super) terms: Vec<Term>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub(super) not: bool,
    pub(super) test: Test,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// A text, with `*` for anything.
    Text(Field, String),
    /// A number within bounds.
    Number(Measure, Bounds),
    /// Failed or not.
    Failed(bool),
    /// An HTTP status.
    Status(u16),
    /// A kind of event.
    Kind(u8),
    /// Words in its messages.
    Words(String),
    /// Without a known cost.
    Unpriced,
}

/// What can be compared with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    Provider,
    User,
    Session,
    Trace,
    Name,
    Error,
    Tool,
    Language,
}

/// What can be compared with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// US dollars.
    Cost,
    /// Seconds.
    Latency,
    /// Seconds.
    First,
    /// Input and output tokens.
    Tokens,
    Input,
    Output,
    Cached,
}

/// From and to, each with or without the number itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    low: f64,
    high: f64,
    with_low: bool,
    with_high: bool,
}

impl Bounds {
    /// Whether a number is within them. Times are held in half the precision, so bounds are compared in that.
    pub(super) fn hold(&self, measure: Measure, number: f64) -> bool {
        let is_time = matches!(measure, Measure::Latency | Measure::First);
        let held = |number: f64| if is_time { f64::from(number as f32) } else { number };
        let (number, low, high) = (held(number), held(self.low), held(self.high));
        (if self.with_low { number >= low } else { number > low })
            && (if self.with_high { number <= high } else { number < high })
    }
}

/// Names, what they are for, and an example: the help of the filter box.
pub(super) const HELP: [(&str, &str); 17] = [
    ("model:gpt-5*", "the model that answered"),
    ("provider:anthropic", "who served the call"),
    ("user:u1", "distinct id"),
    ("session:chat-42", "session id"),
    ("trace:ID", "trace id"),
    ("name:retrieve*", "name of a trace, span or call"),
    ("tool:lookup_order", "a tool that the answer calls, or a tool's span"),
    ("status:error", "error, ok, or an HTTP status such as 429"),
    ("error:rate_limit*", "type of the error"),
    ("kind:embedding", "generation, embedding, span, trace, metric, feedback"),
    ("cost:>0.05", "US dollars"),
    ("cost:none", "without a known cost"),
    ("latency:>5s", "also 300ms, 2m, and 1s..5s"),
    ("ttft:<1s", "time to first token"),
    ("tokens:>10k", "also input, output, cached"),
    ("text:\"refund policy\"", "words in the messages"),
    ("-model:gpt-4*", "a minus turns it round"),
];

/// Kinds of events, by the number that stands for each.
pub(super) const KINDS: [&str; 7] = ["other", "generation", "embedding", "span", "trace", "metric", "feedback"];

impl Filter {
    /// Reads what somebody typed.
    ///
    /// # Errors
    /// A sentence for the one who typed it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut bare = Vec::new();
        for Word { name, value, not, .. } in words(text)? {
            match name {
                None if not => terms.push(Term { not, test: Test::Words(value) }),
                None => bare.push(value),
                Some(name) => terms.push(Term { not, test: test(&name.to_lowercase(), &value)? }),
            }
        }
        if !bare.is_empty() {
            terms.push(Term { not: false, test: Test::Words(bare.join(" ")) });
        }
        Ok(Self { terms })
    }
}

/// What somebody typed, without its conditions on a name that are not turned round. What is not understood stays.
pub(super) fn without(text: &str, name: &str) -> String {
    let Ok(words) = words(text) else { return text.to_owned() };
    let is_of = |word: &Word<'_>| !word.not && word.name.as_ref().is_some_and(|said| said.eq_ignore_ascii_case(name));
    words.iter().filter(|word| !is_of(word)).map(|word| word.written).collect::<Vec<_>>().join(" ")
}

/// One word, with what it is in quotes or behind a colon.
struct Word<'a> {
    name: Option<String>,
    value: String,
    not: bool,
    written: &'a str,
}

fn words(text: &str) -> Result<Vec<Word<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let begin = rest;
        let not = rest.starts_with('-') && rest.len() > 1;
        rest = if not { &rest[1..] } else { rest };
        let end = rest.find(|c: char| c == ':' || c == '"' || c.is_whitespace());
        let name = match end {
            Some(end) if rest[end..].starts_with(':') && end > 0 => {
                let name = rest[..end].to_owned();
                rest = &rest[end + 1..];
                Some(name)
            }
            _ => None,
        };
        let (value, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some(end) = quoted.find('"') else { return Err("a quotation mark is open".to_owned()) };
            (quoted[..end].to_owned(), &quoted[end + 1..])
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        // What was in quotes is looked for as it stands.
        let value = if name.is_none() && rest.starts_with('"') { format!("\"{value}\"") } else { value };
        if value.is_empty() {
            return Err(name.map_or_else(|| "nothing stands there".to_owned(), |name| format!("{name}: of what?")));
        }
        out.push(Word { name, value, not, written: &begin[..begin.len() - after.len()] });
        rest = after.trim_start();
    }
    Ok(out)
}

fn test(name: &str, value: &str) -> Result<Test, String> {
    let text = |field| Ok(Test::Text(field, value.to_owned()));
    let number = |measure| Ok(Test::Number(measure, bounds(name, value)?));
    match name {
        "model" => text(Field::Model),
        "provider" => text(Field::Provider),
        "user" => text(Field::User),
        "session" => text(Field::Session),
        "trace" => text(Field::Trace),
        "name" | "span" => text(Field::Name),
        "error" => text(Field::Error),
        "tool" => text(Field::Tool),
        "lang" | "language" => text(Field::Language),
        "cost" if matches!(value, "none" | "unknown" | "?") => Ok(Test::Unpriced),
        "cost" => number(Measure::Cost),
        "latency" | "took" => number(Measure::Latency),
        "ttft" | "first" => number(Measure::First),
        "tokens" => number(Measure::Tokens),
        "input" => number(Measure::Input),
        "output" => number(Measure::Output),
        "cached" => number(Measure::Cached),
        "text" => Ok(Test::Words(if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() })),
        "status" => match value {
            "error" | "failed" => Ok(Test::Failed(true)),
            "ok" => Ok(Test::Failed(false)),
            code => code
                .parse()
                .map(Test::Status)
                .map_err(|_| format!("status:{value}: error, ok, or a number such as 429")),
        },
        "kind" | "type" => KINDS
            .iter()
            .position(|kind| *kind == value)
            .and_then(|at| u8::try_from(at).ok())
            .map(Test::Kind)
            .ok_or_else(|| format!("kind:{value}: one of {}", KINDS.join(", "))),
        _ => Err(format!("{name}: is no name of a filter; press ? for those there are")),
    }
}

fn bounds(name: &str, value: &str) -> Result<Bounds, String> {
    let wrong = || format!("{name}:{value}: expected a number, such as {name}:>5 or {name}:1..5");
    let read = |text: &str| quantity(text).ok_or_else(wrong);
    let all = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY, with_low: true, with_high: true };
    if let Some(rest) = value.strip_prefix(">=") {
        return Ok(Bounds { low: read(rest)?, ..all });
    }
    if let Some(rest) = value.strip_prefix("<=") {
        return Ok(Bounds { high: read(rest)?, ..all });
    }
    if let Some(rest) = value.strip_prefix('>') {
        return Ok(Bounds { low: read(rest)?, with_low: false, ..all });
    }
    if let Some(rest) = value.strip_prefix('<') {
        return Ok(Bounds { high: read(rest)?, with_high: false, ..all });
    }
    if let Some((low, high)) = value.split_once("..") {
        let low = if low.is_empty() { f64::NEG_INFINITY } else { read(low)? };
        let high = if high.is_empty() { f64::INFINITY } else { read(high)? };
        return Ok(Bounds { low, high, ..all });
    }
    let number = read(value.strip_prefix('=').unwrap_or(value))?;
    Ok(Bounds { low: number, high: number, ..all })
}

/// `5`, `5s`, `300ms`, `2m`, `1h`, `10k`, `1.5M`, `$0.05`.
fn quantity(text: &str) -> Option<f64> {
    let text = text.trim_start_matches('$');
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let factor = match &text[end..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "k" | "K" => 1000.0,
        "M" => 1_000_000.0,
        _ => return None,
    };
    text[..end].parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

/// Whether a text is as a pattern says, in which `*` is anything. Case does not matter.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_understood() {
        let filter = Filter::parse(
            "model:gpt-5* cost:>0.05 status:error user:u1 latency:>5s text:\"refund policy\" -name:\"a b\" tokens:1k..2k",
        );
        let above = |low| Bounds { low, high: f64::INFINITY, with_low: false, with_high: true };
        let plain = |test| Term { not: false, test };
        assert_eq!(
            filter.unwrap().terms,
            [
                plain(Test::Text(Field::Model, "gpt-5*".into())),
                plain(Test::Number(Measure::Cost, above(0.05))),
                plain(Test::Failed(true)),
                plain(Test::Text(Field::User, "u1".into())),
                plain(Test::Number(Measure::Latency, above(5.0))),
                plain(Test::Words("\"refund policy\"".into())),
                Term { not: true, test: Test::Text(Field::Name, "a b".into()) },
                plain(Test::Number(
                    Measure::Tokens,
                    Bounds { low: 1000.0, high: 2000.0, with_low: true, with_high: true }
                )),
            ]
        );
        assert_eq!(
            Filter::parse("where is \"my order\"").unwrap().terms,
            [plain(Test::Words("where is \"my order\"".into()))]
        );
        assert!(Filter::parse("  ").unwrap().terms.is_empty());
    }

    #[test]
    fn a_condition_is_taken_out_and_the_others_stay_as_they_were_written() {
        for (text, left) in [
            ("user:u12 model:m", "model:m"),
            (" text:\"a  b\" user:\"two words\"  -user:u1 USER:x \"user:u1\" ", "text:\"a  b\" -user:u1 \"user:u1\""),
            ("user:u1 text:\"open", "user:u1 text:\"open"),
        ] {
            assert_eq!(without(text, "user"), left);
        }
    }

    #[test]
    fn a_time_is_within_bounds_that_are_written_like_it() {
        let within = |text: &str, time: f32| match Filter::parse(text).unwrap().terms[0].test {
            Test::Number(measure, bounds) => bounds.hold(measure, f64::from(time)),
            _ => false,
        };
        for text in ["latency:<=1.2", "latency:1.2s", "latency:1200ms", "latency:1.2..2", "ttft:1..1.2"] {
            assert!(within(text, 1.2), "{text}");
        }
        assert!(within("latency:>=0.7", 0.7) && !within("latency:>1.2", 1.2) && !within("latency:<0.7", 0.7));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("colour:red", "colour: is no name of a filter"),
            ("cost:dear", "cost:dear: expected a number"),
            ("status:bad", "status:bad: error, ok"),
            ("model:", "model: of what?"),
            ("text:\"open", "a quotation mark is open"),
            ("kind:thing", "kind:thing: one of other, generation"),
        ] {
            let why = Filter::parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn patterns_and_quantities() {
        for (pattern, text, fit) in [
            ("gpt-5*", "GPT-5-mini", true),
            ("gpt-5", "gpt-5-mini", false),
            ("*mini*", "gpt-5-mini-2025", true),
            ("g*5*i", "gpt-5-mini", true),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
        for (text, number) in [("300ms", 0.3), ("2m", 120.0), ("$0.05", 0.05), ("10k", 10_000.0), ("1.5M", 1.5e6)] {
            assert!((quantity(text).unwrap() - number).abs() < 1e-9, "{text}");
        }
        assert_eq!(quantity("5 apples"), None);
    }
}
