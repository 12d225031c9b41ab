//! Every case of the corpus, from its bytes to its event. A folder is three tests: as it came, in other pieces and
//! encodings, and with its bytes damaged; and two more where its cost was worked out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libtest_mimic::{Arguments, Failed, Trial};
use llmtrail::event::Event;
use llmtrail::{Chunk, Config, End, Exchange};
use llmtrail_tests::compare::{Volatile, differences};
use llmtrail_tests::corpus::{Case, CaseEnd, folder};
use llmtrail_tests::loopback::gzip;
use serde_json::{Value, json};

/// Damaged variants of each case; `CORPUS_MUTATIONS` overrides it for a long run.
const MUTATIONS: usize = 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let volatile = Arc::new(Volatile::read(&folder())?);
    let mutations = std::env::var("CORPUS_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let mut trials = Vec::new();
    for case in Case::all(&folder())? {
        let name = format!("{}/{}", case.format, case.name);
        let case = Arc::new(case);
        let (one, list) = (Arc::clone(&case), Arc::clone(&volatile));
        trials.push(Trial::test(&name, move || as_it_came(&one, &list)));
        if case.status.is_some() {
            let (one, list) = (Arc::clone(&case), Arc::clone(&volatile));
            trials.push(Trial::test(format!("{name}/pieces"), move || in_other_pieces(&one, &list)));
        }
        let one = Arc::clone(&case);
        trials.push(Trial::test(format!("{name}/damaged"), move || damaged(&one, mutations)));
        if case.cost.is_some() {
            let (one, two) = (Arc::clone(&case), Arc::clone(&case));
            trials.push(Trial::test(format!("{name}/cost"), move || cost(&one, false)));
            trials.push(Trial::test(format!("{name}/cost_row"), move || cost(&two, true)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

fn as_it_came(case: &Case, volatile: &Volatile) -> Result<(), Failed> {
    compare(case, volatile, exchange(case, case.pieces()), "as it came")
}

/// The event must not depend on how the network cut the bytes, nor on compression.
fn in_other_pieces(case: &Case, volatile: &Volatile) -> Result<(), Failed> {
    let cut = |bytes: &Bytes, size: usize| -> Vec<Bytes> {
        (0..bytes.len()).step_by(size).map(|at| bytes.slice(at..bytes.len().min(at + size))).collect()
    };
    for size in [1, 7, 4096] {
        compare(case, volatile, exchange(case, cut(&case.response, size)), &format!("in pieces of {size} bytes"))?;
    }
    compare(case, volatile, exchange(case, vec![case.response.clone()]), "in one piece")?;
    let header = ("content-encoding".to_owned(), "gzip".to_owned());
    let events = case.pieces();
    // With its trailer; without it, as when a client leaves at the protocol's end; and cut anywhere.
    let whole = gzip(&events, true);
    let joined = Bytes::from(whole.concat());
    for (pieces, how) in [
        (whole, "gzip, a flush after each event"),
        (gzip(&events, false), "gzip without its trailer"),
        (cut(&joined, 1), "gzip in pieces of one byte"),
        (cut(&joined, 13), "gzip in pieces of 13 bytes"),
        (vec![joined], "gzip in one piece"),
    ] {
        let mut exchange = exchange(case, pieces);
        exchange.response_headers.push(header.clone());
        compare(case, volatile, exchange, how)?;
    }
    // fetch undoes the encoding and leaves the header.
    let mut decoded = exchange(case, events);
    decoded.response_headers.push(header);
    decoded.decoded = true;
    compare(case, volatile, decoded, "decoded below the observer")
}

/// Whatever the bytes, there is an event of the right form and no panic.
fn damaged(case: &Case, mutations: usize) -> Result<(), Failed> {
    let mut random = Random::new(&format!("{}/{}", case.format, case.name));
    for round in 0..mutations {
        let mut response = case.response.to_vec();
        let mut request = case.request.to_vec();
        for _ in 0..=random.below(3) {
            let bytes = if random.below(4) == 0 { &mut request } else { &mut response };
            random.damage(bytes);
        }
        let mut pieces = Vec::new();
        let mut rest = Bytes::from(response);
        while !rest.is_empty() {
            let size = rest.len().min(1 + random.below(400));
            pieces.push(rest.split_to(size));
        }
        let mut exchange = exchange(case, pieces);
        exchange.request_body = request.into();
        if random.below(8) == 0 {
            let coding = ["gzip", "br", "deflate", "zstd", "nonsense"][random.below(5)];
            exchange.response_headers.push(("content-encoding".to_owned(), coding.to_owned()));
        }
        if random.below(8) == 0 {
            exchange.status = [None, Some(200), Some(204), Some(500)][random.below(4)];
        }
        let event = std::panic::catch_unwind(|| event_of(exchange)).map_err(|_| format!("round {round} panics"))??;
        let properties = &event.properties;
        if let Some((name, _)) = properties.iter().find(|(_, value)| value.is_null()) {
            return Err(format!("round {round}: {name} is null").into());
        }
        for name in ["$ai_provider", "$ai_request_url", "$ai_tokens_source", "$ai_trace_id"] {
            let counts = name != "$ai_tokens_source" || event.event != "$ai_span";
            if counts && !properties.contains_key(name) {
                return Err(format!("round {round}: {name} is missing").into());
            }
        }
        serde_json::from_slice::<Value>(&event.encode().json).map_err(|error| format!("round {round}: {error}"))?;
    }
    Ok(())
}

/// The cost that was worked out by hand: the amounts, or with `row` where they come from.
fn cost(case: &Case, row: bool) -> Result<(), Failed> {
    let pieces = vec![case.response.clone()];
    let event = event_of(exchange(case, pieces))?;
    let mut expected = json!({});
    let mut actual = json!({});
    for (key, value) in case.cost.iter().flatten() {
        let name = match key.as_str() {
            "total" => "$ai_total_cost_usd",
            "input" => "$ai_input_cost_usd",
            "output" => "$ai_output_cost_usd",
            "request" => "$ai_request_cost_usd",
            "web_search" => "$ai_web_search_cost_usd",
            "model" => "$ai_model_cost_used",
            "source" => "$ai_cost_model_source",
            other => return Err(format!("case.json: unknown member of cost: {other}").into()),
        };
        if name.ends_with("_usd") == row {
            continue;
        }
        // A decimal string is compared as the number that it is.
        let number = value.as_str().filter(|_| name.ends_with("_usd")).and_then(|text| text.parse::<f64>().ok());
        expected[name] = number.map_or_else(|| value.clone(), Value::from);
        if let Some(value) = event.properties.get(name) {
            actual[name] = value.clone();
        }
    }
    report("its cost", &differences(&expected, &actual))
}

fn compare(case: &Case, volatile: &Volatile, exchange: Exchange, how: &str) -> Result<(), Failed> {
    let event = event_of(exchange)?;
    let actual = json!({"event": event.event, "properties": volatile.without(&event.properties)});
    report(how, &differences(&case.expected, &actual))
}

fn report(how: &str, differences: &[String]) -> Result<(), Failed> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{how}: {} differences\n{}", differences.len(), differences.join("\n")).into())
}

fn event_of(exchange: Exchange) -> Result<Event, Failed> {
    llmtrail::decode::event_of(&Config::default(), exchange).ok_or_else(|| "its address is not recognised".into())
}

fn exchange(case: &Case, pieces: Vec<Bytes>) -> Exchange {
    let mut at = Duration::from_millis(200);
    let chunks = pieces.into_iter().filter(|_| case.status.is_some()).map(|bytes| {
        at += Duration::from_millis(1);
        Chunk { bytes, at }
    });
    let chunks: Vec<Chunk> = chunks.collect();
    Exchange {
        method: case.method.clone(),
        url: case.url.clone(),
        request_headers: case.request_headers.clone(),
        request_body: case.request.clone(),
        status: case.status,
        response_headers: case.response_headers.clone(),
        chunks,
        started_at: Some(SystemTime::now()),
        headers_at: Duration::from_millis(200),
        ended_at: at,
        end: match case.end {
            CaseEnd::Complete => End::Complete,
            CaseEnd::Abandoned => End::Abandoned,
            CaseEnd::Error => End::Failed(case.error.clone()),
            CaseEnd::Timeout => End::TimedOut(case.error.clone()),
        },
        provider: case.provider.clone(),
        asked_usage: case.asked_usage,
        ..Exchange::default()
    }
}

/// A small generator with a seed, so that a failure comes again.
struct Random(u64);

impl Random {
    fn new(seed: &str) -> Self {
        Self(
            seed.bytes()
                .fold(0x9e37_79b9_7f4a_7c15, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }

    /// One change: bytes lost, doubled, flipped or put in, the end cut off, or a number or a type replaced.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        const TOKENS: [&[u8]; 12] = [
            b"null",
            b"-1",
            b"1e999",
            b"18446744073709551616",
            b"0.5",
            b"[]",
            b"{}",
            b"\"\"",
            b"true",
            b"\n\n",
            b"data: ",
            b"\xff\xfe",
        ];
        if bytes.is_empty() {
            bytes.push(b'{');
            return;
        }
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + 1 + self.below(40));
        match self.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            2 => bytes[at] ^= 1 << self.below(8),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
            _ => {
                // The value of some member becomes another one.
                let colons: Vec<usize> =
                    bytes.windows(2).enumerate().filter(|(_, two)| *two == b"\":").map(|(at, _)| at + 2).collect();
                if let Some(from) = colons.get(self.below(colons.len())) {
                    let to = bytes[*from..]
                        .iter()
                        .position(|byte| b",}]\n".contains(byte))
                        .map_or(bytes.len(), |n| from + n);
                    drop(bytes.splice(*from..to, TOKENS[self.below(TOKENS.len())].iter().copied()));
                }
            }
        }
    }
}
