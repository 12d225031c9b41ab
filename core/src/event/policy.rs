//! What of an event's content a sink gets.

use serde_json::Value;

use super::detect::Detector;
use crate::config::Language;

/// What of an event's content a sink gets. What a scope or a call says of privacy comes on top: it tightens every policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Content is hidden.
    pub privacy: bool,
    /// Media are kept as sent.
    pub full_capture: bool,
    /// Personal data that is looked for and replaced.
    pub detectors: Vec<Detector>,
    /// The application's own `redact` is asked, if there is one.
    pub redact: bool,
}

/// A policy that differs from another one in some things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChange {
    privacy: Option<bool>,
    full_capture: Option<bool>,
    detectors: Option<Vec<Detector>>,
    redact: Option<bool>,
}

impl PolicyChange {
    /// From an object with a language's own names.
    pub(crate) fn read(value: &Value, language: Language) -> Result<Self, String> {
        const NAMES: [&str; 4] = ["privacy", "full_capture", "detectors", "redact"];
        let names = NAMES.map(|name| language.name_of(name)).join(", ");
        let object =
            value.as_object().ok_or_else(|| format!("expected an object with some of {names}, got {value}"))?;
        let mut change = Self::default();
        for (given, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let name = NAMES.into_iter().find(|name| language.name_of(name) == *given);
            let switch =
                || value.as_bool().map(Some).ok_or_else(|| format!("{given}: expected true or false, got {value}"));
            match name {
                Some("privacy") => change.privacy = switch()?,
                Some("full_capture") => change.full_capture = switch()?,
                Some("redact") => change.redact = switch()?,
                Some(_) => {
                    change.detectors = Some(Detector::read(value).map_err(|why| format!("{given}: {why}"))?);
                }
                None => return Err(format!("expected an object with some of {names}, got one with {given}")),
            }
        }
        Ok(change)
    }

    /// The policy with what is different.
    pub(crate) fn of(&self, policy: &Policy) -> Policy {
        Policy {
            privacy: self.privacy.unwrap_or(policy.privacy),
            full_capture: self.full_capture.unwrap_or(policy.full_capture),
            detectors: self.detectors.clone().unwrap_or_else(|| policy.detectors.clone()),
            redact: self.redact.unwrap_or(policy.redact),
        }
    }
}
