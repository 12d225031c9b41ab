//! The store's tables, one step per version. A step that was released never changes.
//!
//! `user_version` says how far a file is. The steps are plain SQL, so the schema can be read here, and documented
//! as it is.

use rusqlite::{Connection, Transaction, TransactionBehavior};

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

/// An id as people write it: uuids are kept as their 16 bytes, and any other id as it is.
macro_rules! id_text {
    ($key:literal) => {
        concat!(
            "CASE typeof(",
            $key,
            ") WHEN 'blob' THEN lower(hex(substr(",
            $key,
            ", 1, 4)) || '-' || hex(substr(",
            $key,
            ", 5, 2)) || '-' || hex(substr(",
            $key,
            ", 7, 2)) || '-' || hex(substr(",
            $key,
            ", 9, 2)) || '-' || hex(substr(",
            $key,
            ", 11))) ELSE ",
            $key,
            " END"
        )
    };
}

/// An id in the place of a span's: a number is that of a trace, session or person.
macro_rules! span_text {
    ($key:literal) => {
        concat!(
            "CASE typeof(",
            $key,
            ") WHEN 'integer' THEN (SELECT text FROM ids WHERE ids.id = ",
            $key,
            ") ELSE ",
            id_text!($key),
            " END"
        )
    };
}

/// A name by its number.
macro_rules! text {
    ($key:literal) => {
        concat!("(SELECT text FROM texts WHERE texts.id = ", $key, ")")
    };
}

/// Whole numbers of a small unit, or else a number as it is.
macro_rules! scaled {
    ($key:literal, $units:literal) => {
        concat!("CASE typeof(", $key, ") WHEN 'integer' THEN ", $key, " / ", $units, " ELSE ", $key, " END")
    };
}

/// The beginning of a content, or what stands in its place.
macro_rules! preview {
    ($key:literal) => {
        concat!(
            "CASE typeof(", $key, ") WHEN 'integer' THEN (SELECT coalesce(preview, substr(CASE WHEN typeof(json) = 'text' AND json_valid(json)
                THEN CASE json_type(json, '$.content') WHEN 'text' THEN json_extract(json, '$.content') ELSE json END END, 1, 80))
                FROM contents WHERE contents.id = ", $key, ") ELSE ", $key, " END"
        )
    };
}

/// Version 3: less to write and to keep. Events are rows of numbers; ids, names and forms of bodies are kept once each.
/// What older tables hold is taken over by [`super::migrate`].
const V3: &str = concat!(
    "
-- Names, models, providers and other texts that come again.
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);
INSERT INTO texts (id, text) VALUES (1, '$ai_generation'), (2, '$ai_embedding'), (3, '$ai_span'), (4, '$ai_trace'),
    (5, '$ai_metric'), (6, '$ai_feedback');

-- Ids of traces, sessions and people. A uuid is its 16 bytes.
CREATE TABLE ids (
    id INTEGER PRIMARY KEY,
    key NOT NULL UNIQUE,
    text TEXT AS (",
    id_text!("key"),
    ") VIRTUAL
);

-- One row per event, as numbers. The view `events` has it as people write it.
CREATE TABLE event_rows (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL,                         -- unique
    event INTEGER NOT NULL,                     -- texts
    timestamp_ms INTEGER NOT NULL,
    distinct_id INTEGER NOT NULL,               -- ids
    trace_id INTEGER,                           -- ids
    session_id INTEGER,                         -- ids
    span_id,                                    -- a uuid's bytes, an id as text, or one of `ids`
    parent_id,                                  -- likewise
    name INTEGER,                               -- texts, as all names below
    span_type INTEGER,
    provider INTEGER,
    model INTEGER,
    http_status INTEGER,
    is_error INTEGER NOT NULL,
    error_type INTEGER,
    error TEXT,
    stream INTEGER,
    stream_status INTEGER,
    stop_reason INTEGER,
    retries INTEGER,
    latency,                                    -- whole microseconds, or else seconds
    time_to_first_token,                        -- likewise
    input_tokens INTEGER,
    total_input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_input_tokens INTEGER,
    cache_creation_input_tokens INTEGER,
    reasoning_tokens INTEGER,
    input_cost,                                 -- whole units of 1e-12 USD, or else USD
    output_cost,                                -- likewise
    cost_nano INTEGER,
    cost_atto INTEGER,
    cost_source INTEGER,
    value TEXT,
    lib_language INTEGER,
    properties TEXT,
    input,                                      -- contents: whose beginning is shown; or that beginning itself
    output,                                     -- likewise
    tools_called INTEGER,
    cache_saved                                 -- as the costs
);
-- The rest of a uuid is as good as never needed, and would be a third of all indices.
CREATE INDEX rows_by_uuid ON event_rows (substr(uuid, 1, 8));
CREATE INDEX rows_by_time ON event_rows (timestamp_ms);
CREATE INDEX rows_by_trace ON event_rows (trace_id);
CREATE INDEX rows_by_session ON event_rows (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX rows_by_user ON event_rows (distinct_id) WHERE distinct_id IS NOT trace_id;

-- What bodies of the same form have in common: their JSON without its values.
CREATE TABLE shapes (
    id INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL UNIQUE,
    template TEXT NOT NULL
);

-- The rest of an event. `body`: its values in the order of its shape, or its JSON, packed or as text.
CREATE TABLE event_bodies (
    event_id INTEGER PRIMARY KEY,
    body NOT NULL,
    input_list INTEGER,                         -- $ai_input, in `lists`
    output_list INTEGER                         -- $ai_output_choices, likewise
);
CREATE INDEX rows_by_input ON event_bodies (input_list) WHERE input_list IS NOT NULL;
CREATE INDEX rows_by_output ON event_bodies (output_list) WHERE output_list IS NOT NULL;

-- Every message, or other long value, once.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,                      -- of the JSON in bytes
    json NOT NULL,                              -- as text, or packed when that is shorter
    preview TEXT                                -- the beginning of a message, when it is packed
);
-- By what contents are found: a part of their hash, after a part of their id, so that those which are written together
-- are together.
CREATE TABLE content_keys (
    key INTEGER NOT NULL,
    content_id INTEGER NOT NULL,
    PRIMARY KEY (key, content_id)
) WITHOUT ROWID;

-- A list of messages: its last item, and the list of those before it (0: none). A conversation that grows by a message
-- is one more row.
CREATE TABLE lists (
    id INTEGER PRIMARY KEY,
    parent_id INTEGER NOT NULL,                 -- of a row with a lower id
    content_id INTEGER NOT NULL
);
CREATE UNIQUE INDEX lists_by_parent ON lists (parent_id, content_id);
CREATE INDEX lists_by_content ON lists (content_id);

-- An event's content that is no list of messages.
CREATE TABLE event_contents (
    event_id INTEGER NOT NULL,
    name_id INTEGER NOT NULL,                   -- content_names
    content_id INTEGER NOT NULL,
    PRIMARY KEY (event_id, name_id)
) WITHOUT ROWID;
CREATE INDEX events_by_content ON event_contents (content_id);

CREATE VIEW events AS
SELECT id, ",
    id_text!("uuid"),
    " AS uuid, ",
    text!("event"),
    " AS event, timestamp_ms,
    (SELECT text FROM ids WHERE ids.id = distinct_id) AS distinct_id,
    (SELECT text FROM ids WHERE ids.id = trace_id) AS trace_id,
    (SELECT text FROM ids WHERE ids.id = session_id) AS session_id,
    ",
    span_text!("span_id"),
    " AS span_id, ",
    span_text!("parent_id"),
    " AS parent_id,
    ",
    text!("name"),
    " AS name, ",
    text!("span_type"),
    " AS span_type, ",
    text!("provider"),
    " AS provider,
    ",
    text!("model"),
    " AS model, http_status, is_error, ",
    text!("error_type"),
    " AS error_type, error, stream,
    ",
    text!("stream_status"),
    " AS stream_status, ",
    text!("stop_reason"),
    " AS stop_reason, retries,
    ",
    scaled!("latency", "1e6"),
    " AS latency,
    ",
    scaled!("time_to_first_token", "1e6"),
    " AS time_to_first_token,
    input_tokens, total_input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    reasoning_tokens, ",
    scaled!("input_cost", "1e12"),
    " AS input_cost_usd,
    ",
    scaled!("output_cost", "1e12"),
    " AS output_cost_usd, cost_nano / 1e9 + cost_atto / 1e18 AS total_cost_usd,
    cost_nano, cost_atto, ",
    text!("cost_source"),
    " AS cost_source, value, ",
    text!("lib_language"),
    " AS lib_language,
    properties, ",
    preview!("input"),
    " AS input_preview,
    coalesce(",
    preview!("output"),
    ", '→ ' || replace(",
    text!("tools_called"),
    ", ',', ', ')) AS output_preview,
    ",
    text!("tools_called"),
    " AS tools_called, ",
    scaled!("cache_saved", "1e12"),
    " AS cache_saved_usd,
    CASE typeof(input) WHEN 'integer' THEN input END AS input_content,
    CASE typeof(output) WHEN 'integer' THEN output END AS output_content
FROM event_rows;

-- Calls with their times and costs as people write them.
CREATE VIEW calls AS
SELECT id, uuid, strftime('%Y-%m-%dT%H:%M:%fZ', timestamp_ms / 1000.0, 'unixepoch') AS timestamp,
    nullif(distinct_id, trace_id) AS user, session_id, trace_id, span_id, parent_id, name, provider, model, http_status,
    is_error, error_type, error, stream_status, stop_reason, retries, latency AS latency_s,
    time_to_first_token AS time_to_first_token_s, total_input_tokens, cache_read_input_tokens,
    cache_creation_input_tokens, output_tokens, reasoning_tokens, total_cost_usd, cost_source, cache_saved_usd,
    tools_called,
    input_preview, output_preview, properties
FROM events WHERE id IN (SELECT id FROM event_rows WHERE event IN (1, 2));
CREATE VIEW generations AS SELECT * FROM calls WHERE id IN (SELECT id FROM event_rows WHERE event = 1);
"
);

/// All steps: the one at index n makes version n + 1.
pub(super) const STEPS: &[Step] = &[Step::Sql(V1), Step::Sql(V2), Step::Run(super::migrate::to_version_3)];

/// How a file comes to the next version.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Sql(&'static str),
    Run(fn(&Transaction<'_>) -> rusqlite::Result<()>),
}

/// Makes the tables of version 3.
pub(super) fn make_version_3(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(V3)
}

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
pub(super) fn migrate(db: &mut Connection, steps: &[Step]) -> rusqlite::Result<()> {
    let wanted = steps.len();
    let at = |db: &Connection| version(db).map(|version| usize::try_from(version).unwrap_or(0));
    if at(db)? >= wanted {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (done, step) in steps.iter().enumerate().skip(at(&tx)?) {
        match step {
            Step::Sql(sql) => tx.execute_batch(sql)?,
            Step::Run(run) => run(&tx)?,
        }
        tx.pragma_update(None, "user_version", i64::try_from(done + 1).unwrap_or(i64::MAX))?;
    }
    tx.commit()
}
