//! Events as the trees that they make.

#![expect(clippy::missing_panics_doc, reason = "for tests alone")]

use std::collections::HashMap;

use serde_json::{Map, Value};

/// A trace's id, and that of a span in it or its own.
type Id = (String, String);
/// The names and ids of what is below each parent; of roots below none.
type Children = HashMap<Id, Vec<(String, Id)>>;

/// Events as trees of names, `{root: {child: {}}}`. A call's name is what it asks; every parent is there.
pub fn forest(events: &[Value]) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut children = Children::new();
    for p in events.iter().map(|event| &event["properties"]) {
        let name = if p["$ai_span_name"].is_string() { &p["$ai_span_name"] } else { &p["$ai_input"][0]["content"] };
        let trace = text(&p["$ai_trace_id"]);
        let own = p["$ai_span_id"].as_str().map_or_else(|| trace.clone(), str::to_owned);
        let parent = p["$ai_parent_id"].as_str().map_or_else(Id::default, |parent| (trace.clone(), parent.to_owned()));
        children.entry(parent).or_default().push((text(name), (trace, own)));
    }
    let roots = below(&mut children, &Id::default());
    assert!(children.is_empty(), "parents that are not there: {children:?}");
    roots
}

fn below(children: &mut Children, parent: &Id) -> Value {
    let mut tree = Map::new();
    for (name, id) in children.remove(parent).unwrap_or_default() {
        let own = below(children, &id);
        assert!(tree.insert(name.clone(), own).is_none(), "two are called {name}");
    }
    Value::Object(tree)
}

/// What went wrong, by the name of the scope: its type, or the text where it has none.
pub fn errors(events: &[Value]) -> Value {
    let failed = events.iter().map(|event| &event["properties"]).filter(|p| p["$ai_is_error"] == true);
    failed.map(|p| (p["$ai_span_name"].as_str().unwrap_or_default().to_owned(), p["$ai_error_type"].clone())).collect()
}
