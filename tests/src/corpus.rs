//! The corpus: one folder a case, as `tests/corpus/README.md` says.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use llmtrail::{Chunk, End, Exchange};
use serde_json::{Map, Value};

/// The corpus of this repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// How the body ended for the observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseEnd {
    /// It was read to its end.
    Complete,
    /// The caller stopped reading.
    Abandoned,
    /// The connection broke.
    Error,
    /// The caller's time ran out.
    Timeout,
}

/// One case of the corpus.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder above: the wire format.
    pub format: String,
    /// The folder's name.
    pub name: String,
    /// The HTTP method.
    pub method: String,
    /// The full URL.
    pub url: String,
    /// Request headers that matter.
    pub request_headers: Vec<(String, String)>,
    /// The request's body as the caller wrote it.
    pub request: Bytes,
    /// The response's status; `None` when no response came.
    pub status: Option<u16>,
    /// Response headers that matter.
    pub response_headers: Vec<(String, String)>,
    /// The response's body, empty when no response came.
    pub response: Bytes,
    /// How the body ended.
    pub end: CaseEnd,
    /// The text that the HTTP stack gave with `error` and `timeout`.
    pub error: String,
    /// The observer had added `include_usage`.
    pub asked_usage: bool,
    /// The provider that the application named.
    pub provider: Option<String>,
    /// `{"event", "properties"}`.
    pub expected: Value,
    /// What the call costs, where that was worked out.
    pub cost: Option<Map<String, Value>>,
}

impl Case {
    /// Reads one folder.
    ///
    /// # Errors
    /// A file that is missing or is not what it should be; the text names it.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let about = json(&folder.join("case.json"))?;
        let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let mut response = Bytes::new();
        for file in ["response.json", "response.sse", "response.ndjson", "response.bin", "response.body"] {
            let path = folder.join(file);
            if path.exists() {
                response = bytes(&path)?;
            }
        }
        let form = folder.join("request.body");
        let end = match about.get("end").and_then(Value::as_str) {
            None | Some("complete") => CaseEnd::Complete,
            Some("abandoned") => CaseEnd::Abandoned,
            Some("error") => CaseEnd::Error,
            Some("timeout") => CaseEnd::Timeout,
            Some(other) => return Err(wrong(folder, &format!("unknown end {other:?}"))),
        };
        Ok(Self {
            format: name(folder.parent()),
            name: name(Some(folder)),
            method: text("method").unwrap_or_else(|| "POST".to_owned()),
            url: text("url").ok_or_else(|| wrong(folder, "case.json has no url"))?,
            request_headers: headers(about.get("request_headers")),
            request: bytes(&if form.exists() { form } else { folder.join("request.json") })?,
            status: about.get("status").and_then(Value::as_u64).and_then(|status| status.try_into().ok()),
            response_headers: headers(about.get("response_headers")),
            response,
            end,
            error: text("error").unwrap_or_default(),
            asked_usage: about.get("asked_usage").and_then(Value::as_bool).unwrap_or_default(),
            provider: text("provider"),
            expected: json(&folder.join("expected.json"))?,
            cost: about.get("cost").and_then(Value::as_object).cloned(),
        })
    }

    /// The case of a format and a name, if there is one.
    pub fn find(corpus: &Path, format: &str, name: &str) -> Option<Self> {
        let plain =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if !plain(format) || !plain(name) {
            return None;
        }
        Self::read(&corpus.join(format).join(name)).ok()
    }

    /// Every case of a corpus that something reads already (`pending` says that nothing does), in the order of their
    /// names.
    ///
    /// # Errors
    /// As [`Case::read`].
    pub fn all(corpus: &Path) -> io::Result<Vec<Self>> {
        let mut folders = Vec::new();
        for format in std::fs::read_dir(corpus)? {
            let format = format?.path();
            if format.is_dir() {
                for case in std::fs::read_dir(&format)? {
                    let case = case?.path();
                    if case.join("case.json").exists() {
                        folders.push(case);
                    }
                }
            }
        }
        folders.sort();
        folders.retain(|folder| json(&folder.join("case.json")).map_or(true, |about| about["pending"] != true));
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    /// Whether the request asks for a stream.
    pub fn asks_stream(&self) -> bool {
        asks_stream(&self.url, &self.request)
    }

    /// Whether the response is a stream of server-sent events.
    pub fn is_sse(&self) -> bool {
        self.is_of(&["text/event-stream"])
    }

    /// Whether the response is a stream.
    pub fn is_stream(&self) -> bool {
        self.is_sse() || self.is_of(&NDJSON) || self.is_of(&[AWS]) || self.is_list()
    }

    /// Whether it is a stream as one JSON list.
    fn is_list(&self) -> bool {
        self.status == Some(200) && self.asks_stream() && self.response.trim_ascii_start().starts_with(b"[")
    }

    /// The response as its server writes it: the events, lines, elements or messages of a stream one by one, anything
    /// else in one.
    pub fn pieces(&self) -> Vec<Bytes> {
        if self.is_sse() {
            sse_events(&self.response)
        } else if self.is_of(&NDJSON) {
            lines(&self.response)
        } else if self.is_of(&[AWS]) {
            aws_messages(&self.response)
        } else if self.is_list() {
            json_elements(&self.response)
        } else {
            vec![self.response.clone()]
        }
    }

    /// The exchange that an observer hands over, the body in these pieces.
    pub fn exchange(&self, pieces: Vec<Bytes>) -> Exchange {
        let mut at = Duration::from_millis(200);
        let chunks = pieces.into_iter().filter(|_| self.status.is_some()).map(|bytes| {
            at += Duration::from_millis(1);
            Chunk { bytes, at }
        });
        let chunks: Vec<Chunk> = chunks.collect();
        Exchange {
            method: self.method.clone(),
            url: self.url.clone(),
            request_headers: self.request_headers.clone(),
            request_body: self.request.clone(),
            status: self.status,
            response_headers: self.response_headers.clone(),
            chunks,
            started_at: Some(SystemTime::now()),
            headers_at: Duration::from_millis(200),
            ended_at: at,
            end: match self.end {
                CaseEnd::Complete => End::Complete,
                CaseEnd::Abandoned => End::Abandoned,
                CaseEnd::Error => End::Failed(self.error.clone()),
                CaseEnd::Timeout => End::TimedOut(self.error.clone()),
            },
            provider: self.provider.clone(),
            asked_usage: self.asked_usage,
            ..Exchange::default()
        }
    }

    fn is_of(&self, kinds: &[&str]) -> bool {
        self.response_headers.iter().any(|(name, value)| {
            let is = |kind: &&str| value.trim_start().starts_with(*kind);
            name.eq_ignore_ascii_case("content-type") && kinds.iter().any(is)
        })
    }
}

const NDJSON: [&str; 2] = ["application/x-ndjson", "application/jsonl"];
const AWS: &str = "application/vnd.amazon.eventstream";

/// Whether a request asks for a stream, in the way of its endpoint: by its body, or by the path's last word.
pub fn asks_stream(url: &str, request: &[u8]) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let ends = |words: &[&str]| words.iter().any(|word| path.ends_with(word));
    if ends(&[":streamGenerateContent", ":streamRawPredict", "/converse-stream", "/invoke-with-response-stream"]) {
        return true;
    }
    let Ok(body) = serde_json::from_slice::<Value>(request) else {
        // A form; its fields stand before the file, but for some SDKs.
        return String::from_utf8_lossy(request).contains("name=\"stream\"\r\n\r\ntrue\r\n");
    };
    if ends(&["/audio/speech"]) {
        return body["stream_format"] == "sse";
    }
    body["stream"].as_bool().unwrap_or_else(|| ends(&["/api/chat", "/api/generate"]))
}

fn lines(body: &Bytes) -> Vec<Bytes> {
    body.split_inclusive(|byte| *byte == b'\n').map(|line| body.slice_ref(line)).collect()
}

/// Cuts one JSON list after each element. The pieces joined are the body.
fn json_elements(body: &Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    let (mut start, mut depth, mut in_string, mut escaped) = (0, 0, false, false);
    for (at, byte) in body.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 1 {
                    out.push(body.slice(start..=at));
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    if start < body.len() {
        out.push(body.slice(start..));
    }
    out
}

/// The messages of an AWS event stream, which begin with their length; what is left at the end is one more piece.
fn aws_messages(body: &Bytes) -> Vec<Bytes> {
    let mut rest = body.clone();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = rest.first_chunk().map_or(usize::MAX, |length| u32::from_be_bytes(*length) as usize);
        out.push(rest.split_to(length.clamp(1, rest.len())));
    }
    out
}

/// Cuts a stream of server-sent events after each blank line, whatever the line ends. The pieces joined are the body.
pub fn sse_events(body: &Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    let (mut start, mut line, mut at) = (0, 0, 0);
    while at < body.len() {
        let end = match body[at] {
            b'\r' if body.get(at + 1) == Some(&b'\n') => at + 2,
            b'\r' | b'\n' => at + 1,
            _ => {
                at += 1;
                continue;
            }
        };
        if at == line {
            // Blank lines after a blank line stay with the event that they follow.
            if at > start {
                out.push(body.slice(start..end));
            } else if let Some(last) = out.pop() {
                out.push(body.slice(start - last.len()..end));
            } else {
                out.push(body.slice(start..end));
            }
            start = end;
        }
        at = end;
        line = end;
    }
    if start < body.len() {
        out.push(body.slice(start..));
    }
    out
}

fn headers(value: Option<&Value>) -> Vec<(String, String)> {
    let Some(Value::Object(members)) = value else { return Vec::new() };
    members.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))).collect()
}

fn bytes(path: &Path) -> io::Result<Bytes> {
    std::fs::read(path).map(Bytes::from).map_err(|error| wrong(path, &error.to_string()))
}

fn json(path: &Path) -> io::Result<Value> {
    serde_json::from_slice(&bytes(path)?).map_err(|error| wrong(path, &error.to_string()))
}

fn wrong(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}
