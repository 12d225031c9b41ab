//! Media out, placeholders in: what was there, how big it was, and its hash.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Lenient about padding: payloads are measured, not used.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

const UNKNOWN: &str = "application/octet-stream";

/// A payload that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Media {
    mime: String,
    bytes: usize,
    sha256: String,
}

impl Media {
    /// Measures a base64 payload. One that does not decode is measured as it is.
    fn of(mime: &str, payload: &str) -> Self {
        let decoded = if payload.bytes().any(|byte| byte.is_ascii_whitespace()) {
            let compact: String = payload.split_ascii_whitespace().collect();
            decode(&compact)
        } else {
            decode(payload)
        };
        let bytes = decoded.unwrap_or_else(|| payload.as_bytes().to_vec());
        let digest = Sha256::digest(&bytes);
        let sha256 = digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            use std::fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let mime = mime.split(';').next().unwrap_or_default().trim();
        let mime = if mime.is_empty() { UNKNOWN.to_owned() } else { mime.to_ascii_lowercase() };
        Self { mime, bytes: bytes.len(), sha256 }
    }

    fn placeholder(&self) -> String {
        format!("[redacted {}, {} bytes, sha256:{}]", self.mime, self.bytes, &self.sha256[..16])
    }

    fn to_json(&self) -> Value {
        json!({"mime": self.mime, "bytes": self.bytes, "sha256": self.sha256})
    }
}

/// Base64 in either alphabet.
pub(crate) fn decode(payload: &str) -> Option<Vec<u8>> {
    BASE64.decode(payload).or_else(|_| BASE64_URL.decode(payload)).ok()
}

/// Replaces the media payloads in messages, parts and tools, at any depth: data URLs in any text, and base64 in the
/// places that the wire formats have for it. A part that held one gets `media` with type, size and hash.
///
/// An answer's audio does not say how it is encoded; `audio_format` is what the request asked for.
pub(crate) fn redact(value: &mut Value, audio_format: Option<&str>) {
    walk(value, false, audio_format);
}

/// Redacts one value and says which payload it held, unless a part inside has taken that upon itself.
fn walk(value: &mut Value, in_list: bool, audio_format: Option<&str>) -> Option<Media> {
    match value {
        Value::String(text) => redact_text(text),
        Value::Array(items) => {
            for item in items {
                walk(item, true, audio_format);
            }
            None
        }
        Value::Object(object) => {
            let mut found = redact_place(object, audio_format);
            for (name, member) in object.iter_mut() {
                if let ("inlineData" | "inline_data", Value::Object(data)) = (name.as_str(), &mut *member)
                    && !["mimeType", "mime_type"].iter().any(|name| data.contains_key(*name))
                {
                    // Gemini's place for a payload, whether it says the type or not.
                    found = redact_member(data, "data", "").or(found);
                }
                found = walk(member, false, audio_format).or(found);
            }
            if in_list
                && found.is_some()
                && object.get("type").is_some_and(Value::is_string)
                && let Some(media) = found.take()
            {
                object.insert("media".to_owned(), media.to_json());
            }
            found
        }
        _ => None,
    }
}

/// Members that [`redact_place`] looks at for a payload.
fn is_place(name: &str) -> bool {
    matches!(
        name,
        "images"
            | "image"
            | "document"
            | "video"
            | "audio"
            | "data"
            | "file_data"
            | "result"
            | "b64_json"
            | "blob"
            | "bytesBase64Encoded"
    )
}

/// The places for base64 that the wire formats have.
fn redact_place(object: &mut Map<String, Value>, audio_format: Option<&str>) -> Option<Media> {
    // Hardly any object has one, and to look for each of them by its name takes longer than all else that is done here.
    if !object.keys().any(|name| is_place(name)) {
        return None;
    }
    // Ollama's images lie in the message beside its content, and nobody says their type.
    if object.contains_key("role")
        && let Some(Value::Array(images)) = object.get_mut("images")
    {
        for image in images {
            if let Value::String(payload) = image
                && !payload.is_empty()
                && is_base64(payload)
            {
                *payload = Media::of("", payload).placeholder();
            }
        }
    }
    if let Some(media) = CONVERSE_KINDS.iter().find_map(|kind| redact_source(object.get_mut(*kind)?, kind)) {
        return Some(media);
    }
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type");
    let declared = ["media_type", "mime_type", "mimeType"].iter().map(|name| text(name)).find(|mime| !mime.is_empty());
    let (place, mime) = if object.contains_key("data") && declared.is_some() && kind != "text" {
        // Anthropic's `source`, Gemini's `inline_data`.
        ("data", declared.unwrap_or_default().to_owned())
    } else if object.contains_key("data") && (object.contains_key("format") || kind == "audio") {
        // OpenAI's `input_audio`, and audio of an answer.
        let format = if object.contains_key("format") { text("format") } else { audio_format.unwrap_or_default() };
        ("data", if format.is_empty() { String::new() } else { format!("audio/{format}") })
    } else if object.contains_key("file_data") {
        ("file_data", String::new())
    } else if kind == "image_generation_call" {
        let format = text("output_format");
        ("result", if format.is_empty() { String::new() } else { format!("image/{format}") })
    } else if object.contains_key("b64_json") {
        ("b64_json", String::new())
    } else if kind == "image" && object.contains_key("image") {
        ("image", String::new())
    } else if object.contains_key("blob") {
        ("blob", declared.unwrap_or_default().to_owned())
    } else if object.contains_key("bytesBase64Encoded") {
        ("bytesBase64Encoded", declared.unwrap_or_default().to_owned())
    } else {
        return None;
    };
    redact_member(object, place, &mime)
}

fn redact_member(object: &mut Map<String, Value>, place: &str, mime: &str) -> Option<Media> {
    match object.get_mut(place) {
        Some(Value::String(payload)) if !payload.is_empty() => {
            if let Some(media) = redact_text(payload) {
                return Some(media);
            }
            if !is_base64(payload) {
                return None;
            }
            let media = Media::of(mime, payload);
            *payload = media.placeholder();
            Some(media)
        }
        _ => None,
    }
}

/// Blocks of Bedrock's Converse that hold `source.bytes`.
const CONVERSE_KINDS: [&str; 4] = ["image", "document", "video", "audio"];

/// Redacts `{format, source: {bytes}}`, the content of a block of this kind.
fn redact_source(content: &mut Value, kind: &str) -> Option<Media> {
    let format = content.get("format").and_then(Value::as_str).unwrap_or_default();
    let mime = match (kind, format) {
        (_, "") => String::new(),
        ("document", format) => document_type(format).to_owned(),
        (kind, format) => format!("{kind}/{format}"),
    };
    let Some(Value::String(payload)) = content.get_mut("source")?.get_mut("bytes") else { return None };
    if payload.is_empty() || !is_base64(payload) {
        return None;
    }
    let media = Media::of(&mime, payload);
    *payload = media.placeholder();
    Some(media)
}

fn document_type(format: &str) -> &'static str {
    match format {
        "pdf" => "application/pdf",
        "csv" => "text/csv",
        "html" => "text/html",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "doc" => "application/msword",
        "xls" => "application/vnd.ms-excel",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => UNKNOWN,
    }
}

fn is_base64(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=\r\n ".contains(&byte))
}

/// Replaces every data URL in a text, and `b64_json` and `blob` members of JSON inside of it. Says what the last one
/// was.
fn redact_text(text: &mut String) -> Option<Media> {
    const MARK: &[u8] = b"base64,";
    /// `data:;base64,`
    const SHORTEST: usize = 13;
    /// A payload in JSON inside a text is at least so long.
    const PAYLOAD: usize = 64;
    /// Names of members that hold one, before a quote with or without a backslash.
    static KEYS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["b64_json", "\"blob"].map(Finder::new));
    let bytes = text.as_bytes();
    if bytes.len() < SHORTEST {
        return None;
    }
    let mut cuts: Vec<(usize, usize, Media)> = Vec::new();
    // `base64,` in any case is rare in prose, so it is what is searched for; the `data:` before it decides.
    let mut from = 0;
    while let Some(at) = find_ignoring_case(&bytes[from..], MARK).map(|at| at + from) {
        from = at + MARK.len();
        let Some((start, mime)) = data_url_head(text, at) else { continue };
        let end = from + payload_length(&bytes[from..]);
        cuts.push((start, end, Media::of(mime, &text[from..end])));
        from = end;
    }
    let urls: Vec<(usize, usize)> = cuts.iter().map(|(start, end, _)| (*start, *end)).collect();
    for key in KEYS.iter().filter(|_| bytes.len() > PAYLOAD) {
        for at in key.find_iter(bytes) {
            if let Some((start, end)) = quoted_payload(bytes, at + key.needle().len()) {
                let next = urls.partition_point(|(_, to)| *to <= start);
                let free = urls.get(next).is_none_or(|(from, _)| end <= *from);
                if free && end - start >= PAYLOAD {
                    cuts.push((start, end, Media::of("", &text[start..end])));
                }
            }
        }
    }
    cuts.sort_by_key(|(start, ..)| *start);
    let last = cuts.last().map(|(.., media)| media.clone())?;
    // In one pass: a text may hold very many.
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, end, media) in cuts {
        out.push_str(text.get(copied..start).unwrap_or_default());
        out.push_str(&media.placeholder());
        copied = end.max(copied);
    }
    out.push_str(&text[copied..]);
    *text = out;
    Some(last)
}

fn find_ignoring_case(text: &[u8], mark: &[u8]) -> Option<usize> {
    // The comma is the rarest byte to anchor on that has no case.
    let back = mark.len() - 1;
    memchr::memchr_iter(b',', text)
        .filter(|comma| *comma >= back)
        .find(|comma| text[comma - back..=*comma].eq_ignore_ascii_case(mark))
        .map(|comma| comma - back)
}

/// Where the data URL begins whose `base64,` is at `mark`, and its media type.
fn data_url_head(text: &str, mark: usize) -> Option<(usize, &str)> {
    /// `data:`, a media type and its parameters are shorter than this.
    const LONGEST: usize = 300;
    let bytes = text.as_bytes();
    let floor = mark.saturating_sub(LONGEST);
    let start = (floor..=mark.checked_sub(5)?).rev().find(|at| bytes[*at..at + 5].eq_ignore_ascii_case(b"data:"))?;
    let head = text.get(start + 5..mark)?;
    // Between `data:` and `base64,` there is a type and `;`-parameters, and nothing that ends a URL.
    if head.bytes().any(|byte| byte.is_ascii_whitespace() || b",<>()".contains(&byte)) || !head.ends_with(';') {
        return None;
    }
    Some((start, head.split(';').next().unwrap_or_default()))
}

fn payload_length(bytes: &[u8]) -> usize {
    let is_payload = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=%".contains(byte);
    bytes.iter().position(|byte| !is_payload(byte)).unwrap_or(bytes.len())
}

/// The value of a member in JSON text whose name ends at `at`: quotes, a colon, and a base64 string, with or without
/// the backslashes of JSON inside JSON.
fn quoted_payload(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let is_gap = |byte: &u8| b"\"\\: ".contains(byte);
    let gap = bytes[at..].iter().take(12).position(|byte| !is_gap(byte))?;
    if !bytes[at..at + gap].contains(&b':') {
        return None;
    }
    let start = at + gap;
    Some((start, start + payload_length(&bytes[start..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(mut value: Value) -> Value {
        redact(&mut value, None);
        value
    }

    const HI: &str = "[redacted text/plain, 2 bytes, sha256:8f434346648f6b96]";

    #[test]
    fn data_urls_go_wherever_they_are() {
        for text in ["data:text/plain;base64,aGk=", "DATA:text/plain;charset=utf-8;Base64,aGk="] {
            assert_eq!(redacted(json!(text)), json!(HI));
        }
        let inside = redacted(json!("see ![x](data:text/plain;base64,aGk=) and \"data:text/plain;base64,aGk=\"."));
        assert_eq!(inside, json!(format!("see ![x]({HI}) and \"{HI}\".")));
    }

    #[test]
    fn what_only_looks_like_media_stays() {
        for text in [
            "the data: in base64, as they say",
            "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "https://example.com/image.png?data=1",
            "data:text/plain,hello",
        ] {
            assert_eq!(redacted(json!(text)), json!(text));
        }
        let blob = json!({"type": "tool_result", "content": "{\"blob\": \"short\"}"});
        assert_eq!(redacted(blob.clone()), blob);
        let text = json!({"type": "text", "media_type": "text/plain", "data": "hello"});
        assert_eq!(redacted(text.clone()), text);
    }

    #[test]
    fn json_inside_text_is_looked_into() {
        let payload = "QUJD".repeat(40);
        let text = format!("{{\"images\":[{{\"b64_json\": \"{payload}\"}}]}}");
        let out = redacted(json!(text));
        assert!(!out.to_string().contains("QUJD"), "{out}");
        let twice = json!({"arguments": serde_json::to_string(&text).unwrap_or_default()});
        assert!(!redacted(twice).to_string().contains("QUJD"));
    }

    #[test]
    fn the_innermost_part_says_what_it_held() {
        let out = redacted(json!([{"role": "user", "content": [
            {"type": "tool_result", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "text/plain", "data": "aGk="}}
            ]}
        ]}]));
        let result = &out[0]["content"][0];
        assert_eq!(result["content"][0]["media"]["bytes"], 2);
        assert_eq!(result["content"][0]["source"]["data"], HI);
        assert_eq!(result.get("media"), None);
    }
}
