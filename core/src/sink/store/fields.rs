//! What an event's JSON says, as slices of its text: nothing is built that is only passed on.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, Member};
use crate::price::Amount;

macro_rules! fields {
    ($($name:ident = $property:literal),* $(,)?) => {
        /// The properties that rows are made of: JSON as it stands.
        #[derive(Default)]
        pub(super) struct Fields<'a> {
            $(pub $name: Option<&'a str>,)*
            pub event: Option<&'a str>,
            pub distinct_id: Option<&'a str>,
            pub timestamp: Option<&'a str>,
            /// The application's own properties, and its groups, as an object.
            pub own: Option<String>,
            /// Where those are, when they are together and all of them are in `own`.
            pub own_place: Option<Range<usize>>,
        }

        impl<'a> Fields<'a> {
            fn put(&mut self, property: &str, json: &'a str) {
                match property {
                    $($property => self.$name = Some(json),)*
                    _ => {}
                }
            }
        }
    };
}

fields! {
    trace_id = "$ai_trace_id",
    session_id = "$ai_session_id",
    span_id = "$ai_span_id",
    parent_id = "$ai_parent_id",
    span_name = "$ai_span_name",
    trace_name = "$ai_trace_name",
    metric_name = "$ai_metric_name",
    span_type = "$ai_span_type",
    provider = "$ai_provider",
    model = "$ai_model",
    http_status = "$ai_http_status",
    is_error = "$ai_is_error",
    error_type = "$ai_error_type",
    error = "$ai_error",
    stream = "$ai_stream",
    stream_status = "$ai_stream_status",
    stop_reason = "$ai_stop_reason",
    retries = "$ai_retries",
    trace_latency = "$ai_trace_latency",
    latency = "$ai_latency",
    time_to_first_token = "$ai_time_to_first_token",
    input_tokens = "$ai_input_tokens",
    output_tokens = "$ai_output_tokens",
    cache_read = "$ai_cache_read_input_tokens",
    cache_creation = "$ai_cache_creation_input_tokens",
    cache_exclusive = "$ai_cache_reporting_exclusive",
    reasoning_tokens = "$ai_reasoning_tokens",
    input_cost = "$ai_input_cost_usd",
    output_cost = "$ai_output_cost_usd",
    total_cost = "$ai_total_cost_usd",
    cost_details = "$ai_cost_details",
    cost_source = "$ai_cost_model_source",
    metric_value = "$ai_metric_value",
    feedback_text = "$ai_feedback_text",
    lib_language = "$ai_lib_language",
    input = "$ai_input",
    output = "$ai_output_choices",
    input_state = "$ai_input_state",
    output_state = "$ai_output_state",
}

impl<'a> Fields<'a> {
    /// Reads an event as it stands; what is none has no fields.
    pub(super) fn of(text: &'a str) -> Self {
        let mut fields = Self::default();
        for member in json::members(text).unwrap_or_default() {
            if member.name != "properties" {
                fields.put_member(text, &member);
                continue;
            }
            let start = member.value.start;
            let inside = &text[member.value];
            let Some(members) = json::members(inside) else { continue };
            fields.read(inside, members.iter(), |_| true);
            fields.own_place = fields.own_place.map(|place| start + place.start..start + place.end);
        }
        fields
    }

    /// The same of one whose members were found already. `stays` says whether a property is in the body.
    pub(super) fn of_event(text: &'a str, event: &json::Event<'a>, stays: impl Fn(&str) -> bool) -> Self {
        let mut fields = Self::default();
        for member in &event.members {
            fields.put_member(text, member);
        }
        fields.read(text, event.properties.iter().map(|(member, _)| member), stays);
        fields
    }

    fn put_member(&mut self, text: &'a str, member: &Member<'_>) {
        let value = Some(&text[member.value.clone()]);
        match member.name {
            "event" => self.event = value,
            "distinct_id" => self.distinct_id = value,
            "timestamp" => self.timestamp = value,
            _ => {}
        }
    }

    fn read<'m>(
        &mut self,
        text: &'a str,
        properties: impl Iterator<Item = &'m Member<'m>>,
        stays: impl Fn(&str) -> bool,
    ) {
        let mut groups = None;
        let mut own = String::new();
        let mut place: Option<Range<usize>> = None;
        let mut runs = 0;
        let mut was_own = false;
        for member in properties {
            let value = &text[member.value.clone()];
            self.put(member.name, value);
            let is_own = !member.name.starts_with('$') && stays(member.name);
            if member.name == "$groups" && stays(member.name) {
                groups = Some(value);
            }
            if is_own {
                if !own.is_empty() {
                    own.push(',');
                }
                let start = own.len();
                own.push('"');
                own.push_str(member.name);
                own.push_str("\":");
                own.push_str(value);
                runs += usize::from(!was_own);
                let end = member.value.end;
                let begin = end - (own.len() - start).min(end);
                place = Some(place.map_or(begin, |place| place.start)..end);
            }
            was_own = is_own;
        }
        // Only if they stand there just like this.
        self.own_place = place.filter(|place| runs == 1 && text.get(place.clone()) == Some(own.as_str()));
        self.own = match groups {
            Some(groups) if own.is_empty() => Some(format!("{{\"$groups\":{groups}}}")),
            Some(groups) => Some(format!("{{\"$groups\":{groups},{own}}}")),
            None if own.is_empty() => None,
            None => Some(format!("{{{own}}}")),
        };
    }
}

/// A text, or what can stand for one; `None` for null.
pub(super) fn text(json: Option<&str>) -> Option<Cow<'_, str>> {
    let json = json?;
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        // Half of a surrogate pair is no text; then it is shown as it was written.
        Some(_) => Some(serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned)),
        None if json == "null" => None,
        None => Some(Cow::Borrowed(json)),
    }
}

/// A string and nothing else.
pub(super) fn string(json: Option<&str>) -> Option<Cow<'_, str>> {
    text(json.filter(|json| json.starts_with('"')))
}

/// As [`text`], cut to so many characters.
pub(super) fn cut(json: Option<&str>, most: usize) -> Option<Cow<'_, str>> {
    let text = text(json)?;
    let end = if text.len() > most { text.char_indices().nth(most).map(|(end, _)| end) } else { None };
    Some(match (end, text) {
        (None, text) => text,
        (Some(end), Cow::Borrowed(text)) => Cow::Borrowed(&text[..end]),
        (Some(end), Cow::Owned(mut text)) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    })
}

/// A count: a whole number of zero or more, however it was written.
pub(super) fn count(json: Option<&str>) -> Option<i64> {
    let json = json?;
    if let Ok(count) = json.parse::<i64>() {
        return Some(count).filter(|count| *count >= 0);
    }
    let value = serde_json::from_str(json).ok()?;
    crate::decode::json::count(Some(&value)).and_then(|count| i64::try_from(count).ok())
}

/// A number.
pub(super) fn real(json: Option<&str>) -> Option<f64> {
    let json = json?;
    json.as_bytes().first().filter(|first| matches!(first, b'-' | b'0'..=b'9'))?;
    json.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A true or false.
pub(super) fn switch(json: Option<&str>) -> Option<bool> {
    match json? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A number as a count of 1e-`digits`, if it is one to the last bit.
pub(super) fn scaled(json: Option<&str>, digits: u32) -> Option<i64> {
    let number = real(json)?;
    let unit = 10_i128.pow(18 - digits);
    let atto = Amount::parse(json?)?.atto();
    let count = i64::try_from(atto / unit).ok().filter(|count| *count >= 0 && *count < 1 << 53)?;
    let same = count as f64 / 10_f64.powi(i32::try_from(digits).ok()?);
    (atto % unit == 0 && same.to_bits() == number.to_bits()).then_some(count)
}
