//! `llmtrail prices`: the price lists themselves.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::{Column, Line, cell, print};
use super::terminal::{Style, Terminal, count, exact_money, line, number_of};
use super::{Common, Failure, cost};
use crate::config::Options;
use crate::error::{Error, ErrorKind};
use crate::event::usage::Usage;
use crate::price::{
    Amount, Change, Description, PriceBook, Query, Rate, UPDATE_URL, Update, catalogue_names, catalogue_sources,
    describe,
};

/// Look at the price lists, and fetch newer prices
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  llmtrail prices list sonnet --provider anthropic
  llmtrail prices missing                  models of stored calls that have no price
  llmtrail prices update                   fetch OpenRouter's list of models, and keep it
  llmtrail prices diff                     what that list has otherwise than the one that is built in

Nothing is fetched but by `update`, or where prices_update was switched on.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Missing(Missing),
    Diff(Diff),
    Update(Fetch),
}

/// List models and their prices in dollars per million tokens
#[derive(clap::Args)]
#[command(after_help = "--json: {catalogue, models: [{model, provider, source, prices, over, assumptions, ...}]}")]
struct List {
    /// Only models with this in their name
    name: Option<String>,
    /// Only this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// A price file, before LLMTRAIL_PRICES
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Name the models of stored calls that have no price, and why
#[derive(clap::Args)]
#[command(after_help = "--json: {missing: [{provider, model, calls, reason}]}; a null reason: there is a price now")]
struct Missing {
    /// Only calls since a date, a time, or for so long (24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// A price file, before LLMTRAIL_PRICES
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Show what the list that was fetched has otherwise than the one that is built in
#[derive(clap::Args)]
#[command(after_help = "--json: {fetched_at, built_in, changes: [{model, rate, before, now}]}")]
struct Diff {
    /// Only models with this in their name
    name: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Fetch OpenRouter's list of models and keep it in the data folder
#[derive(clap::Args)]
#[command(after_help = "\
The list is taken whole or not at all: when a price cannot be read, or too much of it is gone or has changed, the prices stay
as they are and the exit code is 1.

--json: {fetched_at, from, models, path, changes: [{model, rate, before, now}]}")]
struct Fetch {
    /// Another place to fetch the list from [default: LLMTRAIL_PRICES_URL, or OpenRouter]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args, terminal),
        Command::Missing(args) => missing(args, terminal),
        Command::Diff(args) => diff(args, terminal),
        Command::Update(args) => update(args, terminal),
    }
}

fn list(args: &List, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let book = args.common.book(args.prices.as_deref())?;
    let wanted = args.name.as_deref().unwrap_or_default().to_lowercase();
    let folded = wanted.replace(['.', '_', ':', '/', '@', ' '], "-");
    let provider = args.provider.as_deref().map(crate::price::canonical_provider);
    let mut found: Vec<Description> = Vec::new();
    let mut add = |name: &str, at: &str| {
        if provider.as_deref().is_some_and(|only| only != at) {
            return;
        }
        if let Some(description) = priced(&book, at, name)
            && (name.contains(&folded) || description.model.to_lowercase().contains(&wanted))
        {
            found.push(description);
        }
    };
    for (name, providers) in catalogue_names() {
        for at in &providers {
            add(name, at);
        }
    }
    for id in book.update().into_iter().flat_map(|update| update.ids()) {
        add(id, "openrouter");
    }
    found.sort_by(|a, b| (&a.model, &a.provider).cmp(&(&b.model, &b.provider)));
    found.dedup_by(|a, b| a.model == b.model && a.provider == b.provider);
    if args.common.json {
        let models: Vec<Value> = found.iter().map(Description::to_value).collect();
        writeln!(terminal.out, "{}", json!({"catalogue": catalogue_sources(), "models": models}))?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(terminal.out, "No model with a price.")?;
        return Ok(());
    }
    let lines: Vec<Line> = found
        .iter()
        .map(|one| {
            let price = |rate| {
                let price = one.rates.get(rate).map(|price| exact_money(price.per(rate.power())));
                cell(Style::Plain, price.unwrap_or_default())
            };
            let tiers = if one.tiers.is_empty() { "" } else { "  by length" };
            let mut name = cell(Style::Plain, line(&one.model));
            name.extend(cell(Style::Dim, tiers));
            Line::Row(vec![
                name,
                cell(Style::Plain, line(&one.provider)),
                price(Rate::Input),
                price(Rate::CacheRead),
                price(Rate::Output),
                cell(Style::Dim, one.source.as_str()),
            ])
        })
        .collect();
    let columns = [
        Column::text("model", 20, 2),
        Column::text("provider", 10, 1),
        Column::amount("input"),
        Column::amount("cached"),
        Column::amount("output"),
        Column::text("source", 8, 1),
    ];
    print(terminal, &columns, &lines)?;
    writeln!(terminal.out)?;
    let from =
        terminal.paint(Style::Dim, &format!("{}: {}", number_of(found.len() as u64, "price"), catalogue_sources()));
    writeln!(terminal.out, "{from}")?;
    Ok(())
}

/// The price of a call of today.
fn priced(book: &PriceBook, provider: &str, model: &str) -> Option<Description> {
    describe(book, &Query::new(provider, model, &Usage::default(), Timestamp::now().as_millisecond())).ok()
}

fn missing(args: &Missing, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let book = args.common.book(args.prices.as_deref())?;
    let since = args.since.as_deref().map(|text| cost::since("--since", text, terminal)).transpose()?;
    let found = args.common.reader()?.unpriced(since.map_or(i64::MIN, Timestamp::as_millisecond))?;
    let why = |provider: Option<&str>, model: Option<&str>| {
        let usage = Usage::default();
        let now = Timestamp::now().as_millisecond();
        let query = Query::new(provider.unwrap_or_default(), model.unwrap_or_default(), &usage, now);
        describe(&book, &query).err().map(|reason| reason.sentence().into_owned())
    };
    let found = found.into_iter().map(|one| {
        let reason = why(one.provider.as_deref(), one.model.as_deref());
        (one, reason)
    });
    if args.common.json {
        let missing: Vec<Value> = found
            .map(|(one, reason)| {
                json!({"provider": one.provider, "model": one.model, "calls": one.calls, "reason": reason})
            })
            .collect();
        writeln!(terminal.out, "{}", json!({ "missing": missing }))?;
        return Ok(());
    }
    let lines: Vec<Line> = found
        .map(|(one, reason)| {
            let text = |text: Option<String>| cell(Style::Plain, text.as_deref().map(line).unwrap_or_default());
            let reason = match reason {
                Some(reason) => cell(Style::Warn, reason),
                None => cell(Style::Good, "no usage was reported, or there is a price by now"),
            };
            Line::Row(vec![text(one.model), text(one.provider), cell(Style::Plain, count(one.calls)), reason])
        })
        .collect();
    if lines.is_empty() {
        writeln!(terminal.out, "Every call has a cost.")?;
        return Ok(());
    }
    let columns = [
        Column::text("model", 16, 2),
        Column::text("provider", 10, 1),
        Column::number("calls"),
        Column::text("why", 20, 3),
    ];
    print(terminal, &columns, &lines)?;
    Ok(())
}

fn diff(args: &Diff, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let dir = args.common.dir()?;
    let Some(update) = Update::load(&dir) else {
        let message = format!("no list was fetched into {} yet: llmtrail prices update", dir.display());
        return Err(Error::new(ErrorKind::Input, message).into());
    };
    let wanted = args.name.as_deref().unwrap_or_default().to_lowercase();
    let mut changes = update.changes_since(None);
    changes.retain(|change| change.model.to_lowercase().contains(&wanted));
    if args.common.json {
        let shape = json!({
            "fetched_at": super::json::timestamp(update.fetched_at_unix_ms()),
            "built_in": catalogue_sources(),
            "changes": changes_json(&changes),
        });
        writeln!(terminal.out, "{shape}")?;
        return Ok(());
    }
    print_changes(&changes, terminal)
}

fn update(args: &Fetch, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut options = Options::default();
    if let Some(url) = &args.from {
        options = options.set("prices_url", url.as_str());
    }
    let mut config = options.resolve()?;
    config.dir = args.common.dir()?;
    let before = Update::load(&config.dir).map(Arc::new);
    let update = crate::price::watch::refresh(&config, before.as_ref())
        .map_err(|why| Error::new(ErrorKind::Input, format!("the prices stay as they are. {why}")))?;
    let changes = update.changes_since(before.as_deref());
    let path = Update::path(&config.dir);
    if args.common.json {
        let shape = json!({
            "fetched_at": super::json::timestamp(update.fetched_at_unix_ms()),
            "from": config.prices_url.as_deref().unwrap_or(UPDATE_URL),
            "models": update.ids().count(),
            "path": path,
            "changes": changes_json(&changes),
        });
        writeln!(terminal.out, "{shape}")?;
        return Ok(());
    }
    let models = number_of(update.ids().count() as u64, "model");
    writeln!(terminal.out, "{models}, kept in {}", path.display())?;
    writeln!(terminal.out)?;
    print_changes(&changes, terminal)
}

fn shown(price: Option<Amount>, rate: Rate) -> Option<Amount> {
    price.map(|price| price.per(rate.power()))
}

fn changes_json(changes: &[Change]) -> Value {
    let text = |price: Option<Amount>, rate| shown(price, rate).map(|price| price.to_string());
    let change = |one: &Change| {
        json!({
            "model": one.model,
            "rate": one.rate.name(),
            "before": text(one.before, one.rate),
            "now": text(one.now, one.rate),
        })
    };
    changes.iter().map(change).collect()
}

fn print_changes(changes: &[Change], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if changes.is_empty() {
        writeln!(terminal.out, "No price is another one.")?;
        return Ok(());
    }
    let money = |price, rate| cell(Style::Plain, shown(price, rate).map(exact_money).unwrap_or_default());
    let lines: Vec<Line> = changes
        .iter()
        .map(|one| {
            Line::Row(vec![
                cell(Style::Plain, line(&one.model)),
                cell(Style::Plain, one.rate.name().replace('_', " ")),
                money(one.before, one.rate),
                money(one.now, one.rate),
            ])
        })
        .collect();
    let columns =
        [Column::text("model", 20, 2), Column::text("price", 10, 1), Column::amount("before"), Column::amount("now")];
    print(terminal, &columns, &lines)?;
    Ok(())
}
