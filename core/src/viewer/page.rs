//! What all pages have in common: the address and its state, the frame around them, numbers for people.

use axum::http::Uri;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::data::Sums;
use super::filter::{HELP, without};
use crate::cli::terminal::{count, exact_money, money, seconds};
use crate::price::Amount;

/// What an address may hold as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The path and the parameters of an address.
#[derive(Debug, Clone, Default)]
pub(super) struct Address {
    pub(super) path: String,
    values: Vec<(String, String)>,
}

impl Address {
    pub(super) fn of(uri: &Uri) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let values = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            path: uri.path().to_owned(),
            values: values.map(|(name, value)| (decode(name), decode(value))).collect(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The same page with other values; an empty one takes a parameter out.
    pub(super) fn with(&self, changes: &[(&str, &str)]) -> String {
        self.to(&self.path, changes)
    }

    pub(super) fn without(&self, name: &str) -> String {
        self.with(&[(name, "")])
    }

    /// Another page with these values.
    pub(super) fn to(&self, path: &str, changes: &[(&str, &str)]) -> String {
        let kept = self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let kept = kept.filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let pairs: Vec<String> = kept
            .chain(changes.iter().copied())
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        // Two slashes would lead to another host.
        let path = format!("/{}", path.trim_start_matches('/'));
        if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
    }

    /// Another page that keeps the filter and the time, and nothing else.
    pub(super) fn go(&self, path: &str) -> String {
        let fresh = Self { path: path.to_owned(), values: Vec::new() };
        fresh.with(&[("q", self.get("q").unwrap_or_default()), ("range", self.get("range").unwrap_or_default())])
    }

    /// What is in a list: the way back from there leads to the list as it is here.
    pub(super) fn inside(&self, path: &str) -> String {
        self.to(path, &[])
    }

    /// The list from which something was opened.
    pub(super) fn back(&self, path: &str) -> String {
        self.to(path, &[("span", ""), ("look", "")])
    }

    /// A page that shows only this value.
    pub(super) fn only(&self, path: &str, key: &str, value: &str) -> String {
        // What it said of the same key is replaced.
        let kept = without(self.get("q").unwrap_or_default(), key);
        let q = format!("{kept} {}", term(key, value));
        let fresh = Self { path: path.to_owned(), values: Vec::new() };
        fresh.with(&[("q", q.trim()), ("range", self.get("range").unwrap_or_default())])
    }
}

/// A condition of the filter box.
pub(super) fn term(key: &str, value: &str) -> String {
    if value.starts_with('"') || value.chars().any(char::is_whitespace) {
        format!("{key}:\"{}\"", value.replace('"', "*"))
    } else {
        format!("{key}:{value}")
    }
}

/// A range of time that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    pub(super) name: &'static str,
    pub(super) millis: Option<i64>,
}

const HOUR: i64 = 3_600_000;

pub(super) const RANGES: [Range; 5] = [
    Range { key: "1h", label: "1 h", name: "the last hour", millis: Some(HOUR) },
    Range { key: "24h", label: "24 h", name: "the last 24 hours", millis: Some(24 * HOUR) },
    Range { key: "7d", label: "7 d", name: "the last 7 days", millis: Some(7 * 24 * HOUR) },
    Range { key: "30d", label: "30 d", name: "the last 30 days", millis: Some(30 * 24 * HOUR) },
    Range { key: "all", label: "All", name: "all time", millis: None },
];

/// What a page is made with.
pub(super) struct Context {
    pub(super) address: Address,
    pub(super) range: Range,
    pub(super) now: i64,
    pub(super) zone: TimeZone,
    /// What is wrong with the filter.
    pub(super) wrong: Option<String>,
}

impl Context {
    /// When the range begins: milliseconds since 1970.
    pub(super) fn since(&self) -> i64 {
        self.range.millis.map_or(i64::MIN, |millis| self.now - millis)
    }

    pub(super) fn q(&self) -> &str {
        self.address.get("q").unwrap_or_default()
    }

    /// A time, short when it is today.
    pub(super) fn time(&self, millis: i64) -> Markup {
        let zoned = |millis| Timestamp::from_millisecond(millis).ok().map(|time| time.to_zoned(self.zone.clone()));
        let (Some(time), Some(now)) = (zoned(millis), zoned(self.now)) else { return html! { (millis) } };
        let format = match (time.date() == now.date(), time.year() == now.year()) {
            (true, _) => "%H:%M:%S",
            (false, true) => "%b %-d %H:%M",
            (false, false) => "%Y-%m-%d",
        };
        html! { time datetime=(format!("{:.3}", time.timestamp())) title=(self.exact(millis)) { (time.strftime(format)) } }
    }

    /// A time to the millisecond, with its zone.
    pub(super) fn exact(&self, millis: i64) -> String {
        let time = Timestamp::from_millisecond(millis).ok().map(|time| time.to_zoned(self.zone.clone()));
        time.map_or_else(|| millis.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string())
    }

    /// A link that narrows the list to a value.
    pub(super) fn narrow(&self, key: &str, value: Option<&str>) -> Markup {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return html! { span.none { "–" } } };
        html! { a.value href=(self.address.only(&self.address.path, key, value)) title=(format!("only {key} {value}")) { (value) } }
    }

    /// A link to another page, narrowed to a value.
    pub(super) fn lead(&self, path: &str, key: &str, value: Option<&str>) -> Markup {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return html! { span.none { "–" } } };
        html! { a href=(self.address.only(path, key, value)) { (value) } }
    }

    /// The whole page.
    pub(super) fn frame(&self, title: &str, place: &str, body: &Markup) -> String {
        let link = |path: &str, name: &str, icon: &'static str| {
            let here = (path == place).then_some("page");
            html! { li { a href=(self.address.go(path)) aria-current=[here] { (PreEscaped(icon)) span { (name) } } } }
        };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · llmtrail" }
                    link rel="icon" href="/assets/icon.svg";
                    link rel="stylesheet" href="/assets/app.css";
                    script src="/assets/app.js" {}
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    header.side {
                        a.brand href=(self.address.go("/")) { (PreEscaped(LOGO)) span { "llmtrail" } }
                        nav aria-label="Pages" { ul {
                            (link("/", "Overview", icons::OVERVIEW))
                            (link("/traces", "Traces", icons::TRACES))
                            (link("/generations", "Generations", icons::GENERATIONS))
                            (link("/sessions", "Sessions", icons::SESSIONS))
                            (link("/users", "Users", icons::USERS))
                            (link("/models", "Models", icons::MODELS))
                            (link("/errors", "Errors", icons::ERRORS))
                            (link("/tools", "Tools", icons::TOOLS))
                            (link("/health", "Health", icons::HEALTH))
                        } }
                        div.foot {
                            button #theme type="button" title="Light, dark, or as the system" { "Theme: system" }
                            button #keys type="button" title="Keyboard and filter help" { "? Help" }
                        }
                    }
                    div.content {
                        (self.bar())
                        main #main tabindex="-1" { (body) }
                    }
                    (Self::help())
                    div #said.visually-hidden role="status" aria-live="polite" {}
                }
            }
        };
        page.into_string()
    }

    /// The filter box and the range.
    fn bar(&self) -> Markup {
        let listed = ["/traces", "/generations", "/sessions", "/users", "/models", "/errors", "/tools"];
        let action = if listed.contains(&self.address.path.as_str()) || self.address.path == "/" {
            &self.address.path
        } else {
            "/traces"
        };
        html! {
            div.bar role="search" {
                form action=(action) method="get" {
                    @if let Some(range) = self.address.get("range") { input type="hidden" name="range" value=(range); }
                    @if let Some(sort) = self.address.get("sort") { input type="hidden" name="sort" value=(sort); }
                    label.visually-hidden for="q" { "Filter" }
                    input #q name="q" type="search" value=(self.q()) autocomplete="off" spellcheck="false"
                        placeholder="Filter: model:gpt-5* cost:>0.05 status:error text:\"refund\""
                        aria-describedby=[self.wrong.as_ref().map(|_| "wrong")] aria-invalid=[self.wrong.as_ref().map(|_| "true")];
                    kbd.hint aria-hidden="true" { "/" }
                }
                div.ranges role="group" aria-label="Time range" {
                    @for range in RANGES {
                        a href=(self.address.with(&[("range", range.key), ("page", "")]))
                            aria-current=[(range == self.range).then_some("true")] title=(range.name) { (range.label) }
                    }
                }
                span #live.live title="New events show by themselves" { "live" }
            }
            @if let Some(wrong) = &self.wrong { p #wrong.wrong role="alert" { "This filter is not understood: " (wrong) } }
        }
    }

    fn help() -> Markup {
        html! {
            dialog #help aria-labelledby="help-title" {
                h2 #help-title { "Keyboard and filters" }
                div.columns {
                    dl.keys {
                        @for (key, what) in [("j k", "next and previous row"), ("Enter", "open it"), ("Esc", "back, or close"),
                            ("/", "to the filter"), ("g o t n", "Overview, Traces, Generations: g, then a letter"), ("?", "this help")] {
                            dt { @for key in key.split(' ') { kbd { (key) } " " } } dd { (what) }
                        }
                    }
                    dl.filters {
                        @for (example, what) in HELP { dt { code { (example) } } dd { (what) } }
                    }
                }
                form method="dialog" { button { "Close" } }
            }
        }
    }
}

/// A number of tokens, or of calls.
pub(super) fn number(number: u64) -> String {
    count(number)
}

/// `1234567` as `1.23 M`: for places where digits would not fit. The whole number is in the title.
pub(super) fn short_number(number: u64) -> String {
    let number = number as f64;
    for (least, unit) in [(1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if number >= least {
            let scaled = number / if unit == "k" { 1e3 } else { least };
            return if scaled < 10.0 {
                format!("{scaled:.2} {unit}")
            } else if scaled < 100.0 {
                format!("{scaled:.1} {unit}")
            } else {
                format!("{scaled:.0} {unit}")
            };
        }
    }
    count(number as u64)
}

/// An amount of money with its exact digits in the title.
pub(super) fn dollars(amount: Amount) -> Markup {
    html! { span.money title=(format!("{} USD", exact_money(amount))) { (money(amount)) } }
}

/// The cost of calls; with a plus when some have no known price, and a question mark when none has.
pub(super) fn cost(sums: &Sums) -> Markup {
    html! {
        @if sums.calls == 0 { span.none { "–" } }
        @else if sums.calls == sums.unpriced { span.warn title="no known price" { "?" } }
        @else {
            (dollars(sums.cost))
            @if sums.unpriced > 0 { span.warn title=(format!("and {} without a known cost", calls(sums.unpriced))) { "+" } }
        }
    }
}

pub(super) fn calls(number: u64) -> String {
    format!("{} call{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time span with its unit; a dash when it is not known.
pub(super) fn took(time: Option<f64>) -> Markup {
    html! { @if let Some(time) = time.filter(|time| !time.is_nan()) { (seconds(time)) } @else { span.none { "–" } } }
}

/// Tokens in and out.
pub(super) fn tokens(input: u64, output: u64) -> Markup {
    if input + output == 0 {
        return html! { span.none { "–" } };
    }
    html! { span title=(format!("{} input tokens, {} output tokens", count(input), count(output))) {
        (short_number(input)) span.visually-hidden { " in, " } span.arrow aria-hidden="true" { " → " } (short_number(output)) span.visually-hidden { " out" }
    } }
}

/// The beginning of what was said, without the marks of Markdown, which would only be in the way in a line.
pub(super) fn in_short(text: &str) -> String {
    text.replace("**", "").replace('`', "")
}

/// How something ended.
pub(super) fn status(failed: bool, text: &str) -> Markup {
    html! { @if failed { span.badge.bad { (text) } } @else { span.badge.good { (text) } } }
}

pub(super) fn share(part: u64, of: u64) -> String {
    if of == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}

/// A page that says that there is nothing.
pub(super) fn nothing(title: &str, text: &str) -> Markup {
    html! { div.nothing { h2 { (title) } p { (text) } } }
}

const LOGO: &str = r#"<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path d="M3 18c4 0 4-12 9-12s4 8 9 8" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"/><circle cx="3.5" cy="18" r="2" fill="currentColor"/><circle cx="12" cy="6" r="2" fill="currentColor"/><circle cx="20.5" cy="14" r="2" fill="currentColor"/></svg>"#;

mod icons {
    pub(super) const OVERVIEW: &str =
        r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 13.5h12M4 11V7m4 4V3m4 8V5.5"/></svg>"#;
    pub(super) const TRACES: &str =
        r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 3.5h7M4.500 8H12M7 12.500h7"/></svg>"#;
    pub(super) const GENERATIONS: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2l1.600 4.400L14 8l-4.400 1.600L8 14l-1.600-4.400L2 8l4.400-1.600z"/></svg>"#;
    pub(super) const SESSIONS: &str =
        r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2.500 3h11v8H7l-3 2.500V11H2.500z"/></svg>"#;
    pub(super) const USERS: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="5.500" r="2.500"/><path d="M3 13.500c.5-3 2.500-4 5-4s4.500 1 5 4"/></svg>"#;
    pub(super) const MODELS: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1.800l5.500 3.100v6.200L8 14.200l-5.500-3.100V4.900zM2.500 4.900L8 8l5.500-3.100M8 8v6.200"/></svg>"#;
    pub(super) const ERRORS: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2l6.500 11.500h-13zM8 6.500v3.200M8 11.600v.4"/></svg>"#;
    pub(super) const TOOLS: &str = r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M10 2.500a3.500 3.500 0 0 0-3.300 4.700L2.500 11.400l2.100 2.100 4.200-4.200A3.500 3.500 0 0 0 13.300 5l-2.100 2.100-2.100-.2-.2-2.100z"/></svg>"#;
    pub(super) const HEALTH: &str =
        r#"<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M1.500 8.500H4l2-5 3.500 9 2-4h3"/></svg>"#;
}
