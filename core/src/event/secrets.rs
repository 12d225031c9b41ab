//! Provider keys that stray into error texts are masked.

/// Masks what looks like a key: `sk-...`, `AKIA...`, a JSON web token, a PEM block.
pub(crate) fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut word_before = false;
    while let Some(first) = rest.chars().next() {
        if let Some((mask, length)) = (!word_before).then(|| key_at(rest)).flatten() {
            out.push_str(mask);
            rest = &rest[length..];
            word_before = false;
            continue;
        }
        out.push(first);
        word_before = first.is_alphanumeric();
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// The mask and the length of a key that begins here.
fn key_at(text: &str) -> Option<(&'static str, usize)> {
    let run = |from: usize, more: &[u8]| {
        let bytes = &text.as_bytes()[from..];
        from + bytes.iter().position(|b| !b.is_ascii_alphanumeric() && !more.contains(b)).unwrap_or(bytes.len())
    };
    if text.starts_with("sk-") {
        let end = run(3, b"_-*");
        return (end > 3).then_some(("sk-***", end));
    }
    if text.starts_with("AKIA") || text.starts_with("ASIA") {
        let end = run(4, b"");
        return (end == 20).then_some(("AKIA***", end));
    }
    if text.starts_with("eyJ") {
        let end = run(3, b"_-.");
        return (text[..end].matches('.').count() == 2).then_some(("***", end));
    }
    if text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        const TAIL: &str = "PRIVATE KEY-----";
        let end = text.rfind(TAIL).map_or(text.len(), |at| at + TAIL.len());
        return Some(("***", end));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn keys_are_masked_and_words_are_not() {
        for (text, masked) in [
            ("Incorrect API key provided: sk-proj-abc_1-**23. See", "Incorrect API key provided: sk-***. See"),
            ("a risk-free task-force, sk-", "a risk-free task-force, sk-"),
            ("key AKIAIOSFODNN7EXAMPLE!", "key AKIA***!"),
            ("AKIA is short", "AKIA is short"),
            ("Bearer eyJhbGciOi.eyJzdWIi.sig-1_x is expired", "Bearer *** is expired"),
            ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- x", "*** x"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
