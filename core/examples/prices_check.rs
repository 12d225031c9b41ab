//! Runs a file of price cases (the form of `tests/prices/cost.jsonl`) through the core: `make prices-check FILE=...`.
//!
//! Prints each case that differs, with the exact decimals of both sides; exit code 1 when one does that the reviewed
//! list (`tests/prices/differences.json`) does not have.

#![expect(clippy::print_stdout, reason = "a program whose purpose is to print")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use llmtrail::price::case;
use serde_json::Value;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("which file? prices_check FILE")?;
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/prices");
    let text = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let read = |name: &str| -> Result<Value, Box<dyn Error>> { Ok(serde_json::from_str(&text(&beside.join(name))?)?) };
    let (catalogues, reviewed) = (read("catalogues.json")?, read("differences.json")?);
    let rules = reviewed["rules"].as_array().cloned().unwrap_or_default();
    let (mut all, mut differ, mut unlisted) = (0, 0, 0);
    for (number, line) in text(Path::new(&file))?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let case: Value = serde_json::from_str(line).map_err(|error| format!("{file}:{}: {error}", number + 1))?;
        let id = case["id"].as_str().unwrap_or("(no id)");
        let reading = reviewed["conflicts"][id].as_str().unwrap_or_default();
        let differences = case::differences(&case, &catalogues, reading);
        all += 1;
        if differences.is_empty() {
            continue;
        }
        differ += 1;
        let rule = rules.iter().find(|rule| rule["rows"].get(id).is_some());
        unlisted += usize::from(rule.is_none());
        let rule = rule.and_then(|rule| rule["rule"].as_str()).unwrap_or("NOT LISTED");
        for (name, ours, theirs) in differences {
            println!("{id}: {name} is {ours}, expected {theirs} ({rule})");
        }
    }
    println!("{all} cases, {differ} differ, {unlisted} of them not on the reviewed list");
    Ok(if unlisted == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
