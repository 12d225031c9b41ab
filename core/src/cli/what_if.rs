//! `llmtrail cost --what-if`: the stored calls at other models.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, wrap};
use super::{Failure, json};
use crate::event::usage::Usage;
use crate::price::reprice::total;
use crate::price::{Amount, PriceBook, Query, Question, describe};
use crate::store::Reader;

/// The calls at one model.
struct Other<'a> {
    model: &'a str,
    cost: Amount,
    unpriced: u64,
    assumptions: Vec<&'static str>,
}

/// Prints what the calls since a time would have cost at each of these models, at the prices of today.
pub(super) fn run(
    models: &[String],
    since: Option<Timestamp>,
    reader: &Reader,
    book: &PriceBook,
    as_json: bool,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let mut others = Vec::new();
    for model in models {
        let usage = Usage::default();
        // A name that has no price is a mistake of the question's, not of the calls.
        describe(book, &Query::new("", model, &usage, terminal.now.as_millisecond()))
            .map_err(|reason| Failure::Usage(format!("--what-if {}: {}", line(model), reason.sentence())))?;
        others.push(Other { model, cost: Amount::ZERO, unpriced: 0, assumptions: Vec::new() });
    }
    let (mut calls, mut unpriced, mut known, mut after) = (0_u64, 0_u64, Amount::ZERO, 0);
    loop {
        let page = reader.priced(since.map_or(i64::MIN, Timestamp::as_millisecond), after)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for event in page.iter().filter(|event| event.is_call) {
            let question = Question::of_event(&event.properties, event.timestamp_ms);
            // Calls without usage cost nothing anywhere, as far as anyone knows.
            if question.usage() == &Usage::default() {
                continue;
            }
            calls += 1;
            match total(&event.properties) {
                Some(cost) => known = known + cost,
                None => unpriced += 1,
            }
            for other in &mut others {
                let cost = question.at_model("", other.model).cost(book);
                match cost.total() {
                    Some(amount) => other.cost = other.cost + amount,
                    None => other.unpriced += 1,
                }
                for sentence in cost.assumptions().sentences() {
                    if !other.assumptions.contains(&sentence) && !is_of_course(sentence) {
                        other.assumptions.push(sentence);
                    }
                }
            }
        }
    }
    if as_json {
        let others: Vec<Value> = others
            .iter()
            .map(|other| {
                json!({"model": other.model, "total_cost_usd": other.cost.to_f64(),
                    "total_cost_usd_exact": other.cost.to_string(), "unpriced_calls": other.unpriced,
                    "difference_usd_exact": (other.cost - known).to_string(), "assumptions": other.assumptions})
            })
            .collect();
        let shape = json!({
            "since": since.map_or(Value::Null, |since| json::timestamp(since.as_millisecond())),
            "calls": calls,
            "total_cost_usd": known.to_f64(),
            "total_cost_usd_exact": known.to_string(),
            "unpriced_calls": unpriced,
            "what_if": others,
        });
        writeln!(terminal.out, "{shape}")?;
        return Ok(());
    }
    let row = |style, name: String, calls: u64, cost: Amount, times: String, unpriced: u64| {
        let unpriced = if unpriced == 0 { String::new() } else { count(unpriced) };
        Line::Row(vec![
            cell(style, name),
            cell(style, count(calls)),
            cell(style, exact_money(cost)),
            cell(style, times),
            cell(Style::Warn, unpriced),
        ])
    };
    let mut lines = vec![row(Style::Bold, "as it was".to_owned(), calls, known, String::new(), unpriced)];
    lines.extend(others.iter().map(|other| {
        let times = if known > Amount::ZERO {
            format!("{:.2} ×", other.cost.to_f64() / known.to_f64())
        } else {
            String::new()
        };
        row(Style::Plain, line(other.model), calls, other.cost, times, other.unpriced)
    }));
    let columns = [
        Column::text("model", 14, 1),
        Column::number("calls"),
        Column::amount("cost"),
        Column::number("of it"),
        Column::number("unpriced"),
    ];
    print(terminal, &columns, &lines)?;
    writeln!(terminal.out)?;
    let mut notes = vec![
        "The same counts at today's prices of each model's maker: another model's tokens, and its answers, would not be the \
         same ones."
            .to_owned(),
    ];
    for other in &others {
        notes.extend(other.assumptions.iter().map(|sentence| format!("{}: {sentence}", line(other.model))));
    }
    for note in notes {
        for text in wrap(&note, terminal.width) {
            let text = terminal.paint(Style::Dim, &text);
            writeln!(terminal.out, "{text}")?;
        }
    }
    Ok(())
}

/// The maker's price is what was asked for.
fn is_of_course(sentence: &str) -> bool {
    sentence.starts_with("the provider has no price list")
}
