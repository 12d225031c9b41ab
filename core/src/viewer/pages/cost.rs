//! How a call's cost comes about: bucket × unit price = amount, and where the price is from.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::super::page::number;
use crate::cli::terminal::exact_money;
use crate::price::{Amount, Bucket};
use crate::store::Row;

/// The panel of a call.
pub(super) fn panel(row: &Row, p: &Map<String, Value>) -> Markup {
    let none = Map::new();
    let details = p.get("$ai_cost_details").and_then(Value::as_object).unwrap_or(&none);
    let text = |name: &str| details.get(name).and_then(Value::as_str);
    let buckets = details.get("buckets").and_then(Value::as_object).unwrap_or(&none);
    let amount =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).and_then(Amount::parse).unwrap_or_default();
    html! {
        div.cost {
            p.big {
                @match row.total_cost_usd_exact {
                    Some(total) => { (exact_money(total)) " " small { "USD" } },
                    None => { span.warn { "not known" } " " small { (text("reason").unwrap_or("the event does not say why")) } },
                }
            }
            @if !buckets.is_empty() {
                div.scroll { table.bill {
                    caption.visually-hidden { "Bucket, units, unit price, amount" }
                    thead { tr { th scope="col" { "Bucket" } th.number scope="col" { "Units" } th.number scope="col" { "Unit price, USD" } th.number scope="col" { "Amount, USD" } } }
                    tbody { @for bucket in Bucket::ALL.map(Bucket::name) {
                        @if let Some(line) = buckets.get(bucket) {
                            @let each = matches!(bucket, "requests" | "web_searches");
                            @let price = amount(line, "unit_price");
                            tr {
                                th scope="row" { (bucket.replace('_', " ")) }
                                td.number { (number(line.get("units").and_then(Value::as_u64).unwrap_or(0))) " " span.unit { (if each { "" } else { "tokens" }) } }
                                td.number { "× " (exact_money(if each { price } else { price.per(6) })) " " span.unit { (if each { "each" } else { "per million" }) } }
                                td.number { "= " (exact_money(amount(line, "amount"))) }
                            }
                        }
                    } }
                    @if let Some(total) = text("total").and_then(Amount::parse) {
                        tfoot { tr { th scope="row" colspan="3" { "Total" } td.number { (exact_money(total)) } } }
                    }
                } }
            }
            dl.facts {
                @if let Some(source) = text("source").filter(|source| *source != "unknown") {
                    dt { "Price from" }
                    dd {
                        (source)
                        @if let (Some(model), Some(provider)) = (text("model"), text("provider")) { ": " (model) " at " (provider) }
                        @if let Some(matched) = text("match") { ", " (matched) " match" }
                        @if let Some(mode) = text("mode") { ", " (mode) " mode" }
                    }
                }
                @if let Some(catalogue) = text("catalogue") { dt { "Catalogue" } dd { (catalogue) } }
                @if let Some(over) = details.get("input_over").and_then(Value::as_u64) { dt { "Tier" } dd { "input over " (number(over)) " tokens" } }
                @if let Some(saved) = row.cache_saved_usd { dt { "Cache" } dd {
                    @if saved < 0.0 { "cost $" (format!("{:.6}", -saved)) " more than no cache would have" } @else { "saved $" (format!("{saved:.6}")) }
                } }
                @if let (Some(catalogue), Some(difference)) = (text("catalogue_total"), text("difference")) {
                    dt { "Reported" } dd { "by the provider; the catalogue says $" (catalogue) ", a difference of $" (difference) }
                }
                @for assumption in details.get("assumptions").and_then(Value::as_array).into_iter().flatten() {
                    dt { "Assumed" } dd { (assumption.as_str().unwrap_or_default()) }
                }
            }
        }
    }
}
