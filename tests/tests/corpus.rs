//! Every case of the corpus, from its bytes to its event. A folder is three tests: as it came, in other pieces and
//! encodings, and with its bytes damaged; one more of a stream, which is cut anywhere; and two more where its cost was
//! worked out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use libtest_mimic::{Arguments, Failed, Trial};
use llmtrail::{Config, Exchange};
use llmtrail_tests::compare::{Volatile, differences};
use llmtrail_tests::corpus::{Case, folder};
use llmtrail_tests::fuzz::{self, Random};
use llmtrail_tests::loopback::gzip;
use llmtrail_tests::memory::Counting;
use serde_json::{Value, json};

/// Damaged variants of each case; `CORPUS_MUTATIONS` overrides it for a long run.
const MUTATIONS: usize = 60;

/// A stream of so many bytes is cut at every place; of a larger one so many cuts are tried.
const SMALL: usize = 2048;
const CUTS: usize = 400;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let volatile = Arc::new(Volatile::read(&folder())?);
    let mutations = std::env::var("CORPUS_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let cases = Case::all(&folder())?;
    let (formats, hosts) = (few(&cases), silent(&cases));
    let mut trials = vec![
        Trial::test("every_format_has_enough_cases", move || none(&formats)),
        Trial::test("every_host_of_openai_chat_has_a_plain_and_a_stream_case", move || none(&hosts)),
    ];
    for case in cases {
        let name = format!("{}/{}", case.format, case.name);
        let case = Arc::new(case);
        let (one, list) = (Arc::clone(&case), Arc::clone(&volatile));
        trials.push(Trial::test(&name, move || as_it_came(&one, &list)));
        if case.status.is_some() {
            let (one, list) = (Arc::clone(&case), Arc::clone(&volatile));
            trials.push(Trial::test(format!("{name}/pieces"), move || in_other_pieces(&one, &list)));
        }
        if case.is_stream() && case.response.len() > 1 {
            let (one, list) = (Arc::clone(&case), Arc::clone(&volatile));
            trials.push(Trial::test(format!("{name}/cuts"), move || cut_anywhere(&one, &list)));
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

/// Cases that a wire format has at least.
const ENOUGH: usize = 12;

/// What the names of the cases of a host of OpenAI's chat format begin with.
const HOSTS: [&str; 14] = [
    "azure",
    "openrouter",
    "groq",
    "deepseek",
    "mistral",
    "xai",
    "together",
    "fireworks",
    "perplexity",
    "vllm",
    "llamacpp",
    "lmstudio",
    "ollama_v1",
    "litellm",
];

/// Formats with too few cases.
fn few(cases: &[Case]) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for case in cases {
        *counts.entry(case.format.as_str()).or_insert(0) += 1;
    }
    let few = counts.iter().filter(|(_, count)| **count < ENOUGH);
    few.map(|(format, count)| format!("{format} has {count} cases of {ENOUGH}")).collect()
}

/// Hosts without an answer in one piece, or without one as a stream.
fn silent(cases: &[Case]) -> Vec<String> {
    let has = |host: &str, stream: bool| {
        let of_host = |case: &&Case| case.format == "openai_chat" && case.name.starts_with(host);
        cases.iter().filter(of_host).any(|case| case.status == Some(200) && case.is_stream() == stream)
    };
    let missing = HOSTS.iter().filter(|host| !has(host, false) || !has(host, true));
    missing.map(|host| format!("{host} has no plain, or no stream case")).collect()
}

fn none(complaints: &[String]) -> Result<(), Failed> {
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

fn as_it_came(case: &Case, volatile: &Volatile) -> Result<(), Failed> {
    compare(case, volatile, case.exchange(case.pieces()), "as it came")
}

/// A stream that is cut in two gives the same event wherever the cut is: all cuts of a small one, some of a large one.
fn cut_anywhere(case: &Case, volatile: &Volatile) -> Result<(), Failed> {
    let length = case.response.len();
    let mut random = Random::new(&case.name);
    let every = length <= SMALL;
    for round in 1..if every { length } else { CUTS } {
        let at = if every { round } else { 1 + random.below(length - 1) };
        let pieces = vec![case.response.slice(..at), case.response.slice(at..)];
        compare(case, volatile, case.exchange(pieces), &format!("cut at {at}"))?;
    }
    Ok(())
}

/// The event must not depend on how the network cut the bytes, nor on compression.
fn in_other_pieces(case: &Case, volatile: &Volatile) -> Result<(), Failed> {
    let cut = |bytes: &Bytes, size: usize| -> Vec<Bytes> {
        (0..bytes.len()).step_by(size).map(|at| bytes.slice(at..bytes.len().min(at + size))).collect()
    };
    for size in [1, 7, 4096] {
        compare(case, volatile, case.exchange(cut(&case.response, size)), &format!("in pieces of {size} bytes"))?;
    }
    compare(case, volatile, case.exchange(vec![case.response.clone()]), "in one piece")?;
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
        let mut exchange = case.exchange(pieces);
        exchange.response_headers.push(header.clone());
        compare(case, volatile, exchange, how)?;
    }
    // fetch undoes the encoding and leaves the header.
    let mut decoded = case.exchange(events);
    decoded.response_headers.push(header);
    decoded.decoded = true;
    compare(case, volatile, decoded, "decoded below the observer")
}

/// Whatever the bytes, there is an event of the right form, no panic, and memory in proportion.
fn damaged(case: &Case, mutations: usize) -> Result<(), Failed> {
    let mut random = Random::new(&format!("{}/{}", case.format, case.name));
    for round in 0..mutations {
        fuzz::read(fuzz::damaged(case, &[case], &mut random)).map_err(|why| format!("round {round}: {why}"))?;
    }
    Ok(())
}

/// The cost that was worked out by hand: the amounts, or with `row` where they come from.
fn cost(case: &Case, row: bool) -> Result<(), Failed> {
    let pieces = vec![case.response.clone()];
    let event = llmtrail::decode::event_of(&Config::default(), case.exchange(pieces)).ok_or("it is no call")?;
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
    let actual = match llmtrail::decode::event_of(&Config::default(), exchange) {
        Some(event) => json!({"event": event.event, "properties": volatile.without(&event.properties)}),
        None => json!({"event": null, "properties": {}}),
    };
    report(how, &differences(&case.expected, &actual))
}

fn report(how: &str, differences: &[String]) -> Result<(), Failed> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{how}: {} differences\n{}", differences.len(), differences.join("\n")).into())
}
