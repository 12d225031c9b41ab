//! Where a test's events go: a server, and a folder for the store and what is on its way; and what is found there.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests alone")]

use llmtrail::{Language, Options};
use serde_json::Value;

use crate::folder::Folder;
use crate::loopback::Server;

/// A client's options: to the server, by way of the folder.
pub fn options(server: &Server, folder: &Folder) -> Options {
    Options::new(Language::Rust)
        .set("api_key", "phc_test")
        .set("host", server.url())
        .set("dir", folder.0.to_str().unwrap())
        .set("spool", "always")
}

/// What a local store, if there is one, has of events that were sent.
pub fn stored(folder: &Folder, sent: &[Value]) -> Vec<Value> {
    let Some(reader) = llmtrail::store::Reader::open(&folder.0).unwrap() else { return Vec::new() };
    let json = |event: &Value| reader.event_json(event["uuid"].as_str().unwrap()).unwrap().unwrap();
    sent.iter().map(|event| serde_json::from_str(&json(event)).unwrap()).collect()
}

/// Events as one text.
pub fn text(events: &[Value]) -> String {
    Value::from(events.to_vec()).to_string()
}
