//! The store's tables, one step per version. A step that was released never changes.
//!
//! `user_version` says how far a file is. The steps are plain SQL, so the schema can be read here, and documented
//! as it is.

use rusqlite::{Connection, TransactionBehavior};

/// Version 1.
///
/// `events` holds what lists and sums need and nothing long; `bodies` the event as it was written, without its content;
/// `contents` every message once, however many calls carry it; `event_contents` which event has which, in order.
const V1: &str = "
-- One row per event. Names are those of the properties without `$ai_`; what is absent there is NULL here.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    timestamp_ms INTEGER NOT NULL,              -- the start, milliseconds since 1970
    distinct_id TEXT NOT NULL,
    trace_id TEXT,
    session_id TEXT,
    span_id TEXT,
    parent_id TEXT,
    name TEXT,                                  -- of a trace, span, call or metric
    span_type TEXT,
    provider TEXT,
    model TEXT,
    http_status INTEGER,
    is_error INTEGER NOT NULL,
    error_type TEXT,
    error TEXT,                                 -- its first 300 characters
    stream INTEGER,
    stream_status TEXT,
    stop_reason TEXT,
    retries INTEGER,
    latency REAL,                               -- seconds; of a trace: from its start to its end
    time_to_first_token REAL,                   -- seconds
    input_tokens INTEGER,                       -- as the provider counts
    total_input_tokens INTEGER,                 -- all input, cached or not: comparable between providers
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    reasoning_tokens INTEGER,
    input_cost_usd REAL,
    output_cost_usd REAL,
    total_cost_usd REAL,
    cost_nano INTEGER,                          -- the exact cost is cost_nano * 1e-9 + cost_atto * 1e-18 USD:
    cost_atto INTEGER,                          -- two whole numbers, so that sums are exact as well
    cost_source TEXT,
    value TEXT,                                 -- of a metric; of a feedback its first 300 characters
    lib_language TEXT,
    properties TEXT                             -- JSON: the application's own properties, and $groups
);
CREATE INDEX events_by_time ON events (timestamp_ms);
CREATE INDEX events_by_trace ON events (trace_id, timestamp_ms);
CREATE INDEX events_by_session ON events (session_id, timestamp_ms) WHERE session_id IS NOT NULL;
CREATE INDEX events_by_span ON events (span_id) WHERE span_id IS NOT NULL;

-- The event's JSON. A property whose value is in `event_contents` has a placeholder here. Text, or packed (a BLOB: 1,
-- then raw deflate).
CREATE TABLE bodies (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    json NOT NULL
);

-- The names of properties that are kept as content.
CREATE TABLE content_names (
    id INTEGER PRIMARY KEY,
    property TEXT NOT NULL UNIQUE
);
INSERT INTO content_names (property)
VALUES ('$ai_input'), ('$ai_output_choices'), ('$ai_tools'), ('$ai_input_state'), ('$ai_output_state');

-- Every message, or other long value, once. JSON as text, or packed as in `bodies` when that is shorter.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,                  -- the first 16 bytes of SHA-256 over the JSON
    size INTEGER NOT NULL,                      -- of the JSON in bytes
    json NOT NULL
);

-- An event's content: the items of a list at 0, 1, 2...; a whole value at -1.
CREATE TABLE event_contents (
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    name_id INTEGER NOT NULL REFERENCES content_names (id),
    position INTEGER NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents (id),
    PRIMARY KEY (event_id, name_id, position)
) WITHOUT ROWID;
CREATE INDEX events_by_content ON event_contents (content_id);
";

/// Version 2.
///
/// Lists of messages are chains, each of whose beginnings is a chain as well: `lists` holds every beginning once. Bodies
/// are packed with a dictionary. Events that version 1 wrote stay as they are, item by item in `event_contents`.
const V2: &str = "
-- A list of messages: its last item, and the list of those before it (0: none). A conversation that grows by a message
-- is one more row.
CREATE TABLE lists (
    id INTEGER PRIMARY KEY,
    parent_id INTEGER NOT NULL,                 -- of a row with a lower id
    content_id INTEGER NOT NULL REFERENCES contents (id)
);
CREATE UNIQUE INDEX lists_by_parent ON lists (parent_id, content_id);
CREATE INDEX lists_by_content ON lists (content_id);

ALTER TABLE bodies ADD COLUMN input_list INTEGER REFERENCES lists (id);     -- $ai_input; the body has its length
ALTER TABLE bodies ADD COLUMN output_list INTEGER REFERENCES lists (id);    -- $ai_output_choices, likewise
CREATE INDEX bodies_by_input ON bodies (input_list) WHERE input_list IS NOT NULL;
CREATE INDEX bodies_by_output ON bodies (output_list) WHERE output_list IS NOT NULL;

ALTER TABLE events ADD COLUMN input_preview TEXT;   -- the beginning of the last message by the user, or of a span's input
ALTER TABLE events ADD COLUMN output_preview TEXT;  -- the beginning of the answer, or of a span's output
ALTER TABLE events ADD COLUMN tools_called TEXT;    -- the names of the tools that the answer calls, separated by commas
ALTER TABLE events ADD COLUMN cache_saved_usd REAL; -- what reading from a cache saved, less what filling it cost more

-- What packed values were packed with, by their first byte.
CREATE TABLE dictionaries (
    id INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
);

-- removals: how often events were removed.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- Calls with their times and costs as people write them.
CREATE VIEW calls AS
SELECT id, uuid, strftime('%Y-%m-%dT%H:%M:%fZ', timestamp_ms / 1000.0, 'unixepoch') AS timestamp,
    nullif(distinct_id, trace_id) AS user, session_id, trace_id, span_id, parent_id, name, provider, model, http_status,
    is_error, error_type, error, stream_status, stop_reason, retries, latency AS latency_s,
    time_to_first_token AS time_to_first_token_s, total_input_tokens, cache_read_input_tokens,
    cache_creation_input_tokens, output_tokens, reasoning_tokens, total_cost_usd, cost_source, cache_saved_usd,
    tools_called,
    input_preview, output_preview, properties
FROM events WHERE event IN ('$ai_generation', '$ai_embedding');
";

/// All steps: the one at index n makes version n + 1.
pub(super) const STEPS: &[&str] = &[V1, V2];

/// The version that this library writes.
pub(super) fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// The version of a file; 0 for an empty one.
pub(super) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings a file up to the last of these steps, all or nothing. Other processes may try the same at the same time. A
/// file that is further than that stays as it is.
pub(super) fn migrate(db: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let wanted = steps.len();
    let at = |db: &Connection| version(db).map(|version| usize::try_from(version).unwrap_or(0));
    if at(db)? >= wanted {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (done, step) in steps.iter().enumerate().skip(at(&tx)?) {
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", i64::try_from(done + 1).unwrap_or(i64::MAX))?;
    }
    tx.commit()
}
