//! Charts over time: bars, stacked by model. Drawn here as SVG, so that they need no script.

use maud::{Markup, html};

/// Colours of a chart; what has no colour of its own is the last one, "other".
pub(super) const SERIES: usize = 7;

/// A chart's numbers.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// The names of the series, at most [`SERIES`] and one more for the rest.
    pub(super) series: &'a [String],
    /// Of each step of time its name, and the value of each series.
    pub(super) steps: Vec<(String, Vec<f64>)>,
    /// A value for people, with its unit.
    pub(super) show: fn(f64) -> String,
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 140.0;

/// Draws it, with the same numbers as a table for those who do not see it.
pub(super) fn draw(chart: &Chart<'_>) -> Markup {
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let top = nice(chart.steps.iter().map(|(_, values)| sum(values)).fold(0.0, f64::max));
    let total: f64 = chart.steps.iter().map(|(_, values)| sum(values)).sum();
    let step = WIDTH / chart.steps.len().max(1) as f64;
    let gap = if step > 8.0 { 2.0 } else { 0.5 };
    let peak = chart.steps.iter().max_by(|a, b| sum(&a.1).total_cmp(&sum(&b.1)));
    let label = peak.map_or_else(String::new, |(when, values)| {
        format!("{}: {} in all, most at {when} with {}", chart.title, (chart.show)(total), (chart.show)(sum(values)))
    });
    html! {
        figure.chart {
            figcaption { (chart.title) " " span.total { ((chart.show)(total)) } }
            div.plot {
                div.axis aria-hidden="true" { span { ((chart.show)(top)) } span { ((chart.show)(top / 2.0)) } span { "0" } }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
                    @for line in [0.0, HEIGHT / 2.0, HEIGHT] {
                        line.grid x1="0" x2=(WIDTH) y1=(line) y2=(line) {}
                    }
                    @for (at, (when, values)) in chart.steps.iter().enumerate() {
                        g.step {
                            title { (when) "\n" (describe(chart, values)) }
                            rect.back x=(px(at as f64 * step)) y="0" width=(px(step)) height=(HEIGHT) {}
                            @for (series, y, height) in stack(values, top) {
                                rect class=(colour(series, chart.series.len())) x=(px(at as f64 * step + gap / 2.0)) y=(px(y))
                                    width=(px((step - gap).max(0.5))) height=(px(height)) {}
                            }
                        }
                    }
                }
                div.times aria-hidden="true" {
                    @for at in [0, chart.steps.len() / 2, chart.steps.len().saturating_sub(1)] {
                        span { @if let Some((when, _)) = chart.steps.get(at) { (when) } }
                    }
                }
            }
            // Around the table, for one cannot be as small as that itself.
            div.visually-hidden { table {
                caption { (chart.title) " over time" }
                thead { tr { th scope="col" { "Time" } th scope="col" { (chart.title) } th scope="col" { "By model" } } }
                tbody { @for (when, values) in chart.steps.iter().filter(|(_, values)| sum(values) > 0.0) {
                    tr { th scope="row" { (when) } td { ((chart.show)(sum(values))) } td { (describe(chart, values).replace('\n', ", ")) } }
                } }
            } }
        }
    }
}

/// The colours' names.
pub(super) fn legend(series: &[String]) -> Markup {
    html! {
        ul.legend aria-label="Models" {
            @for (at, name) in series.iter().enumerate() {
                li { svg.dot viewBox="0 0 10 10" aria-hidden="true" { rect class=(colour(at, series.len())) width="10" height="10" rx="3" {} } (name) }
            }
        }
    }
}

fn stack(values: &[f64], top: f64) -> Vec<(usize, f64, f64)> {
    let mut base = HEIGHT;
    let mut out = Vec::new();
    for (series, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        // What is there at all is to be seen.
        let height = (value / top * HEIGHT).max(0.8).min(base);
        base -= height;
        out.push((series, base, height));
    }
    out
}

fn describe(chart: &Chart<'_>, values: &[f64]) -> String {
    let mut parts: Vec<(usize, f64)> = values.iter().copied().enumerate().filter(|(_, value)| *value > 0.0).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    if parts.is_empty() {
        return "nothing".to_owned();
    }
    let parts = parts.iter().map(|(at, value)| format!("{}: {}", chart.series[*at], (chart.show)(*value)));
    parts.collect::<Vec<_>>().join("\n")
}

/// `s0` to `s6`, and `rest` for what comes after the colours.
fn colour(series: usize, count: usize) -> String {
    if series + 1 == count && count > SERIES { "rest".to_owned() } else { format!("s{series}") }
}

fn px(number: f64) -> String {
    format!("{number:.2}")
}

/// The next round number.
fn nice(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * unit)
        .find(|top| *top >= most * 0.999_999)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, top) in [(0.0, 1.0), (0.7, 0.8), (1.0, 1.0), (12.3, 15.0), (99.0, 100.0), (0.000_21, 0.0003)] {
            assert!((nice(most) - top).abs() < top * 1e-9, "{most}");
        }
    }

    #[test]
    fn bars_stand_on_each_other_and_stay_inside() {
        let stacked = stack(&[1.0, 0.0, 3.0], 4.0);
        assert_eq!(stacked, [(0, 105.0, 35.0), (2, 0.0, 105.0)]);
        assert!(stack(&[1e-9, 4.0, 1e-9], 4.0).iter().all(|(_, y, height)| *y >= 0.0 && *height >= 0.0));
    }
}
