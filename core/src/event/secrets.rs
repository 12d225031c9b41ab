//! Provider keys that stray into error texts are masked.

const PEM: &str = "-----BEGIN ";
const PEM_END: &str = "PRIVATE KEY-----";

/// Masks what looks like a key: `sk-...`, `AKIA...`, a JSON web token, a PEM block.
pub(crate) fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut word_before = false;
    // Looked for once, for a text may have any number of beginnings.
    let pem_end = text.rfind(PEM_END).map_or(0, |at| at + PEM_END.len());
    let mut token_from = 0;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let key = if word_before {
            None
        } else if rest.starts_with(PEM) && at < pem_end {
            Some(("***", pem_end - at))
        } else if at >= token_from && rest.starts_with("eyJ") {
            let (is_token, length) = token_at(rest);
            token_from = at + length;
            is_token.then_some(("***", length))
        } else {
            key_at(rest)
        };
        if let Some((mask, length)) = key {
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

/// How many of the bytes from there on are letters, digits or these; from the beginning of the text.
fn run(text: &str, from: usize, more: &[u8]) -> usize {
    let bytes = &text.as_bytes()[from..];
    from + bytes.iter().position(|b| !b.is_ascii_alphanumeric() && !more.contains(b)).unwrap_or(bytes.len())
}

/// Whether a JSON web token begins here, and its length, or else how far it is until one may begin: three parts and two
/// dots are one. With fewer dots none begins before the end, with more none before the first.
fn token_at(text: &str) -> (bool, usize) {
    let dot = |at: usize| text.as_bytes().get(at) == Some(&b'.');
    let first = run(text, 3, b"_-");
    if !dot(first) {
        return (false, first);
    }
    let second = run(text, first + 1, b"_-");
    if !dot(second) {
        return (false, second);
    }
    let end = run(text, second + 1, b"_-");
    if dot(end) { (false, first) } else { (true, end) }
}

/// The mask and the length of any other key that begins here.
fn key_at(text: &str) -> Option<(&'static str, usize)> {
    if text.starts_with("sk-") {
        let end = run(text, 3, b"_-*");
        return (end > 3).then_some(("sk-***", end));
    }
    if text.starts_with("AKIA") || text.starts_with("ASIA") {
        let end = run(text, 4, b"");
        return (end == 20).then_some(("AKIA***", end));
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
            ("eyJa.b and eyJ_eyJ_a.b.c.d or eyJa", "eyJa.b and eyJ_eyJ_a.b.c.d or eyJa"),
            ("eyJa.eyJb.c.eyJd.e.f", "eyJa.eyJb.c.***"),
            ("x.eyJa.b_-.c-d.", "x.eyJa.b_-.c-d."),
            ("eyJ_sk-1", "eyJ_sk-***"),
            ("-----BEGIN it, PRIVATE KEY-----, -----BEGIN it", "***, -----BEGIN it"),
            ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- x", "*** x"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
