//! Amounts that came with a call: what the provider or the application said that it cost.

use serde_json::Value;

use super::ReportedParts;

/// Amounts that came with a call, in dollars, as they were written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub input: Option<String>,
    pub output: Option<String>,
    pub request: Option<String>,
    pub web_search: Option<String>,
    pub total: Option<String>,
    pub nothing_else: bool,
}

impl Given {
    /// Those among an event's properties: `$ai_input_cost_usd` and its companions.
    pub(crate) fn of<'a>(properties: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut given = Self::default();
        // One pass, for mostly there is none of them.
        for (name, value) in properties {
            let place = match name {
                "$ai_input_cost_usd" => &mut given.input,
                "$ai_output_cost_usd" => &mut given.output,
                "$ai_request_cost_usd" => &mut given.request,
                "$ai_web_search_cost_usd" => &mut given.web_search,
                "$ai_total_cost_usd" => &mut given.total,
                "$ai_cost_passthrough" => {
                    given.nothing_else = *value == Value::Bool(true) || value.as_str() == Some("true");
                    continue;
                }
                _ => continue,
            };
            *place = decimal(value);
        }
        given
    }

    /// Those that an earlier answer of ours kept, in `$ai_cost_details`.
    pub(crate) fn of_details(details: &Value) -> Self {
        let amount = |name: &str| details.get("reported")?.get(name)?.as_str().map(str::to_owned);
        Self {
            input: amount("input"),
            output: amount("output"),
            request: amount("request"),
            web_search: amount("web_search"),
            total: amount("total"),
            nothing_else: false,
        }
    }

    /// All but the total.
    pub(crate) fn parts(&self) -> ReportedParts<'_> {
        ReportedParts {
            input_usd: self.input.as_deref(),
            output_usd: self.output.as_deref(),
            request_usd: self.request.as_deref(),
            web_search_usd: self.web_search.as_deref(),
            nothing_else: self.nothing_else,
        }
    }
}

/// The digits of a number or a text.
pub(crate) fn decimal(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}
