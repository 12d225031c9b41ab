//! `llmtrail price`: what a model costs, or what a call of it would.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::table::{Cell, Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, wrap};
use super::{Common, Failure, cost};
use crate::config::Language;
use crate::error::{Error, ErrorKind};
use crate::price::{Amount, Question, Rate};

/// Say what a model costs, and what a call of it would
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail price gpt-5-mini
  llmtrail price claude-sonnet-4-5 --provider anthropic --input 1000 --output 500 --cache-read 20000
  llmtrail price gpt-5 --tier flex --input 10000 --output 2000
  llmtrail price o3 --at 2025-06-01 --json

Counts are as the provider counts: cached tokens are inside --input at OpenAI and Gemini, beside it at Anthropic; reasoning
is inside --output at OpenAI, beside it at Gemini. Without --provider the price is that of the model's maker. Your own prices
count first: --prices, or LLMTRAIL_PRICES. Exit code 1 when there is no price; --json says why and exits with 0.

--json: {total, total_usd, input, output, request, web_search, source, model, provider, match, mode, input_over, catalogue, at,
  prices, over, buckets: {<bucket>: {units, unit_price, amount}}, assumptions, repaired, reason, catalogue_source,
  catalogue_total, difference}. Amounts are dollars as decimal strings; prices are per million tokens, per request, per search.")]
pub(super) struct Args {
    /// The model, as a call or a response names it
    model: String,
    /// The provider that serves it
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Input tokens
    #[arg(long, value_name = "N")]
    input: Option<u64>,
    /// Output tokens
    #[arg(long, value_name = "N")]
    output: Option<u64>,
    /// Input tokens read from a cache
    #[arg(long, value_name = "N")]
    cache_read: Option<u64>,
    /// Input tokens written to a cache, of any lifetime
    #[arg(long, value_name = "N")]
    cache_write: Option<u64>,
    /// Those of them that live for an hour
    #[arg(long, value_name = "N")]
    cache_write_1h: Option<u64>,
    /// Reasoning tokens
    #[arg(long, value_name = "N")]
    reasoning: Option<u64>,
    /// Audio input tokens
    #[arg(long, value_name = "N")]
    audio_input: Option<u64>,
    /// Audio input tokens read from a cache
    #[arg(long, value_name = "N")]
    audio_cache_read: Option<u64>,
    /// Audio output tokens
    #[arg(long, value_name = "N")]
    audio_output: Option<u64>,
    /// Image input tokens
    #[arg(long, value_name = "N")]
    image_input: Option<u64>,
    /// Image output tokens
    #[arg(long, value_name = "N")]
    image_output: Option<u64>,
    /// Requests
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Web searches
    #[arg(long, value_name = "N")]
    web_searches: Option<u64>,
    /// The service tier that served: flex, priority, batch
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The region that served: us-east-1, eu, global
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The day or time of the call, for the price of then [default: now]
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// A price file, before LLMTRAIL_PRICES
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let book = args.common.book(args.prices.as_deref())?;
    let answer = question(args, terminal)?.answer(&book);
    if args.common.json {
        writeln!(terminal.out, "{answer}")?;
        return Ok(());
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    if answer["model"].is_null() {
        let at = args.provider.as_deref().map_or_else(String::new, |provider| format!(" at {provider}"));
        let message = format!("no price for {}{at}: {}", args.model, text("reason"));
        return Err(Error::new(ErrorKind::Input, message).into());
    }
    heading(&answer, terminal)?;
    rates(&answer, terminal)?;
    if !answer["total"].is_null() {
        writeln!(terminal.out)?;
        buckets(&answer, terminal)?;
    }
    for note in answer["assumptions"].as_array().into_iter().chain(answer["repaired"].as_array()).flatten() {
        for text in wrap(&format!("assumed: {}", line(note.as_str().unwrap_or_default())), terminal.width) {
            let text = terminal.paint(Style::Warn, &text);
            writeln!(terminal.out, "{text}")?;
        }
    }
    Ok(())
}

fn question(args: &Args, terminal: &Terminal<'_>) -> Result<Question, Failure> {
    let words = Value::Object(words(args, terminal)?).to_string();
    Question::from_json(Language::Rust, &words).map_err(|error| Failure::Usage(error.to_string()))
}

fn words(args: &Args, terminal: &Terminal<'_>) -> Result<Map<String, Value>, Failure> {
    let mut words = Map::new();
    let mut put = |word: &str, value: Option<Value>| value.map(|value| words.insert(word.to_owned(), value));
    put("model", Some(args.model.as_str().into()));
    for (word, text) in [("provider", &args.provider), ("service_tier", &args.tier), ("region", &args.region)] {
        put(word, text.as_deref().map(Value::from));
    }
    let at = args.at.as_deref().map(|text| cost::since("--at", text, terminal)).transpose()?;
    put("at", at.map(|at| at.as_millisecond().into()));
    for (word, count) in [
        ("input_tokens", args.input),
        ("output_tokens", args.output),
        ("cache_read_tokens", args.cache_read),
        ("cache_write_tokens", args.cache_write),
        ("cache_write_1h_tokens", args.cache_write_1h),
        ("reasoning_tokens", args.reasoning),
        ("audio_input_tokens", args.audio_input),
        ("audio_cache_read_tokens", args.audio_cache_read),
        ("audio_output_tokens", args.audio_output),
        ("image_input_tokens", args.image_input),
        ("image_output_tokens", args.image_output),
        ("requests", args.requests),
        ("web_searches", args.web_searches),
    ] {
        put(word, count.map(Value::from));
    }
    Ok(words)
}

fn heading(answer: &Value, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let text = |name: &str| line(answer[name].as_str().unwrap_or_default());
    let mode = match answer["mode"].as_str() {
        None | Some("standard") => String::new(),
        Some(mode) => format!(", {mode}"),
    };
    let over = match answer["input_over"].as_u64() {
        Some(over) => format!(", over {} tokens of input", count(over)),
        None => String::new(),
    };
    let title = terminal.paint(Style::Bold, &format!("{} at {}{mode}{over}", text("model"), text("provider")));
    let mut from = text("source");
    if !answer["catalogue"].is_null() {
        from = format!("{from} ({})", text("catalogue"));
    }
    if answer["match"] == "shortened" {
        from.push_str(", found without the end of the name");
    }
    writeln!(terminal.out, "{title}")?;
    let from = terminal.paint(Style::Dim, &format!("from {from}, as of {}", text("at")));
    writeln!(terminal.out, "{from}")?;
    Ok(())
}

/// What is priced, for people.
fn said(rate: Rate) -> &'static str {
    match rate {
        Rate::Input => "input",
        Rate::Output => "output",
        Rate::CacheRead => "cache read",
        Rate::CacheWrite => "cache write",
        Rate::CacheWrite1h => "cache write, 1 h",
        Rate::AudioIn => "audio input",
        Rate::AudioCached => "audio cache read",
        Rate::ImageIn => "image input",
        Rate::Reasoning => "reasoning",
        Rate::AudioOut => "audio output",
        Rate::ImageOut => "image output",
        Rate::Request => "a request",
        Rate::WebSearch => "a web search",
    }
}

fn rates(answer: &Value, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut tiers: Vec<(u64, &Value)> = answer["over"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(over, prices)| Some((over.parse().ok()?, prices)))
        .collect();
    tiers.sort_by_key(|(over, _)| *over);
    writeln!(terminal.out)?;
    let mut lines: Vec<Line> = Vec::new();
    let base = tiers.is_empty();
    for rate in Rate::ALL {
        let shown = |prices: &Value| -> Cell {
            let price = prices[rate.name()].as_str().and_then(Amount::parse);
            cell(Style::Plain, price.map(exact_money).unwrap_or_default())
        };
        if answer["prices"][rate.name()].is_null() && tiers.iter().all(|(_, prices)| prices[rate.name()].is_null()) {
            continue;
        }
        let mut cells = vec![cell(Style::Plain, said(rate)), shown(&answer["prices"])];
        let unit = if rate.power() == 0 { "each" } else { "per million" };
        cells.push(cell(Style::Dim, unit));
        if !base {
            let over: Vec<String> = tiers
                .iter()
                .filter_map(|(over, prices)| {
                    let same = prices[rate.name()] == answer["prices"][rate.name()];
                    let price = prices[rate.name()].as_str().and_then(Amount::parse).filter(|_| !same)?;
                    Some(format!("over {} tokens of input {}", count(*over), exact_money(price)))
                })
                .collect();
            cells.push(cell(Style::Dim, over.join(", ")));
        }
        lines.push(Line::Row(cells));
    }
    let mut columns = vec![Column::text("price", 16, 1), Column::amount("USD"), Column::text("", 11, 1)];
    if !base {
        columns.push(Column::text("", 20, 2));
    }
    print(terminal, &columns, &lines)?;
    Ok(())
}

fn buckets(answer: &Value, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut lines: Vec<Line> = Vec::new();
    for bucket in crate::price::Bucket::ALL {
        let found = &answer["buckets"][bucket.name()];
        let Some(units) = found["units"].as_u64().filter(|units| *units > 0) else { continue };
        let money = |name: &str| found[name].as_str().and_then(Amount::parse).map(exact_money).unwrap_or_default();
        lines.push(Line::Row(vec![
            cell(Style::Plain, bucket.name().replace('_', " ")),
            cell(Style::Plain, count(units)),
            cell(Style::Plain, money("unit_price")),
            cell(Style::Plain, money("amount")),
        ]));
    }
    let total = answer["total"].as_str().and_then(Amount::parse).map(exact_money).unwrap_or_default();
    lines.push(Line::Blank);
    lines.push(Line::Row(vec![cell(Style::Bold, "total"), Vec::new(), Vec::new(), cell(Style::Bold, total)]));
    let columns =
        [Column::text("used", 16, 1), Column::number("units"), Column::amount("each"), Column::amount("cost")];
    print(terminal, &columns, &lines)?;
    Ok(())
}
