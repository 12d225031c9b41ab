//! What a call cost.

/// An amount of money: a count of 1e-18 USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub i128);

impl Amount {
    /// The sum, held at the ends of the range.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The canonical name of a provider.
pub fn canonical_provider(name: &str) -> std::borrow::Cow<'_, str> {
    match name {
        "oai" => "openai".into(),
        other => other.into(),
    }
}
