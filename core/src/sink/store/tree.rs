//! The tree of a trace.

use std::collections::HashMap;

use super::read::{Row, Totals};

/// A trace: its events as a tree, and what its calls come to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Its name: that of its own event, or of its first span when it has not ended.
    pub name: Option<String>,
    /// The session that it belongs to.
    pub session_id: Option<String>,
    /// Who it was for; `None` when nobody was named.
    pub user: Option<String>,
    /// When it began: milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Seconds from its start to its end; of one that has not ended, to the end of its last event.
    pub duration: f64,
    /// Its own event, when it had a scope and that ended.
    pub own: Option<Row>,
    /// Everything else: parents before their children, siblings by time.
    pub nodes: Vec<Node>,
    /// Sums over its calls.
    pub totals: Totals,
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// The event.
    pub row: Row,
    /// How many spans of the trace it is in.
    pub depth: usize,
    /// Whether no sibling follows.
    pub last: bool,
}

/// Makes the tree of a trace from its events, given by time. `None` when there are none.
///
/// An event is in the one whose id is its parent id. What names no parent, or one that is not here (a span that has
/// not ended, or was lost), is at the top: nothing is left out.
pub fn tree(id: &str, mut rows: Vec<Row>) -> Option<Trace> {
    let own = rows.iter().position(|row| row.event == "$ai_trace").map(|at| rows.remove(at));
    let first = own.iter().chain(&rows).min_by_key(|row| row.timestamp_ms)?;
    let session_id = own.iter().chain(&rows).find_map(|row| row.session_id.clone());
    // An event that is for nobody has an id of its own there.
    let user = own.iter().chain(&rows).map(|row| &row.distinct_id).find(|user| *user != id && !user.is_empty());
    let name = own.as_ref().and_then(|own| own.name.clone());
    let name = name.or_else(|| rows.iter().find(|row| row.event == "$ai_span").and_then(|row| row.name.clone()));
    let mut totals = Totals::default();
    for row in &rows {
        totals.add(row);
    }
    let timestamp_ms = first.timestamp_ms;
    Some(Trace {
        id: id.to_owned(),
        name,
        session_id,
        user: user.cloned(),
        timestamp_ms,
        duration: duration(timestamp_ms, own.as_ref(), &rows),
        nodes: nodes(rows),
        own,
        totals,
    })
}

fn duration(begin: i64, own: Option<&Row>, rows: &[Row]) -> f64 {
    if let Some(seconds) = own.and_then(|own| own.latency) {
        return seconds;
    }
    let end = |row: &Row| (row.timestamp_ms - begin) as f64 / 1000.0 + row.latency.unwrap_or(0.0);
    rows.iter().map(end).fold(0.0, f64::max)
}

/// Events in the order of the tree. A flat list, for a tree as deep as its events are many must not exhaust the stack.
fn nodes(rows: Vec<Row>) -> Vec<Node> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        places.entry(row.node_id()).or_insert(at);
    }
    let mut parents: Vec<Option<usize>> = rows
        .iter()
        .enumerate()
        .map(|(at, row)| row.parent_id.as_deref().and_then(|id| places.get(id).copied()).filter(|up| *up != at))
        .collect();
    cut_circles(&mut parents);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut top = Vec::new();
    for (at, parent) in parents.iter().enumerate() {
        parent.map_or(&mut top, |parent| &mut children[parent]).push(at);
    }
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(rows.len());
    let push = |todo: &mut Vec<(usize, usize, bool)>, these: &[usize], depth: usize| {
        let count = these.len();
        todo.extend(these.iter().enumerate().rev().map(|(n, at)| (*at, depth, n + 1 == count)));
    };
    let mut todo = Vec::new();
    push(&mut todo, &top, 0);
    while let Some((at, depth, last)) = todo.pop() {
        out.extend(rows[at].take().map(|row| Node { row, depth, last }));
        push(&mut todo, &children[at], depth + 1);
    }
    out
}

/// Two spans that claim to be in each other would both be lost: one of each circle goes to the top.
fn cut_circles(parents: &mut [Option<usize>]) {
    const NEW: usize = 0;
    let mut seen = vec![NEW; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut here = start;
        while seen[here] == NEW {
            seen[here] = walk;
            match parents[here] {
                Some(up) if seen[up] == walk => parents[here] = None,
                Some(up) => here = up,
                None => break,
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::tests::row;
    use super::*;

    fn shape(rows: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let rows = rows.iter().map(|(event, id, parent)| row(event, id, *parent)).collect();
        let trace = tree("t", rows).unwrap();
        trace
            .nodes
            .iter()
            .map(|n| format!("{}{}{}", ">".repeat(n.depth), n.row.node_id(), if n.last { "." } else { "" }))
            .collect()
    }

    #[test]
    fn everything_has_a_place() {
        let shape = shape(&[
            ("$ai_generation", "c1", Some("s1")),
            ("$ai_span", "s1", Some("t")),
            ("$ai_generation", "c2", Some("s1")),
            ("$ai_generation", "lost", Some("never sent")),
            ("$ai_generation", "alone", None),
            ("$ai_trace", "t", None),
        ]);
        assert_eq!(shape, ["s1", ">c1", ">c2.", "lost", "alone."]);
    }

    #[test]
    fn circles_do_not_swallow_events() {
        let shape = shape(&[
            ("$ai_span", "a", Some("b")),
            ("$ai_span", "b", Some("a")),
            ("$ai_span", "c", Some("c")),
            ("$ai_span", "d", Some("a")),
            ("$ai_span", "a", Some("d")),
        ]);
        assert_eq!(shape.len(), 5);
    }

    #[test]
    fn a_very_deep_tree_is_no_trouble() {
        let ids: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let rows = (0..ids.len()).map(|n| row("$ai_span", &ids[n], n.checked_sub(1).map(|up| &*ids[up]))).collect();
        assert_eq!(tree("t", rows).unwrap().nodes.last().unwrap().depth, 99_999);
    }
}
