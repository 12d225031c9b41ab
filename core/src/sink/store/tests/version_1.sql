-- A store as the first version of its schema left it. Never changes.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
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
INSERT INTO events VALUES(1,'019f2d6a-5000-7000-8000-000000000001','$ai_generation',1783166400250,'u1','trace-1','chat-1','span-1','trace-1',NULL,NULL,'anthropic','claude-sonnet-4-6',200,0,NULL,NULL,0,NULL,NULL,NULL,4.0518000000000000682,NULL,412,5708,187,4096,1200,NULL,NULL,NULL,0.0097698000000000003589,9769800,0,'openrouter',NULL,NULL,'{"plan":"pro"}');
INSERT INTO events VALUES(2,'019f2d6a-5000-7000-8000-000000000002','$ai_trace',1783166400250,'u1','trace-1',NULL,NULL,NULL,'refund',NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,4.2000000000000001776,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE bodies (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    json NOT NULL
);
INSERT INTO bodies VALUES(1,X'016d515b6ec32010bc0bea671c2d56e2243e47bffa8310dec4a8362058a25651eedec5b69c876a59086667d961e6263a9bc83a43ca76a215598a8dc02b3ae2c387b6ea820ea326eb1d1742f40123594ca2bd4d65a34d8fca449c28caba904991ff46c71459036c9e68cceade283b3835af94e07980bb28fc31434ef68aa2a5987121f944aa43d2769824249fa36186605d2efa4c18592679d20383b005381d9ad351dc9fda47dfe1a0feef2ca49e28a8449a328f585f30c9e6f3d3e9f108b9c0832674e697912dece57106a7793cc80c3a775825ef1c52b5ab9a651ecf2e9799de5b538c952ff0eae5f130e341474e674e8ba23658c9e5224ee76a3b7e472bb4a39eb3b26629254c69caa774995ed3da94825ee0b27bc0c4618da23deb212dde4faece16e6c40dabbb4bb96879971506ed1860652502b223b2b16360a886baa9e050c1ee53d62d00ffdb7a0f5fdc94f3740bc8d3b9ee1a5ded01a03a94e55816787c52dcff00');
INSERT INTO bodies VALUES(2,'{"distinct_id":"u1","event":"$ai_trace","properties":{"$ai_span_name":"refund","$ai_trace_id":"trace-1","$ai_trace_latency":4.2},"timestamp":"2026-07-04T12:00:00.250Z","uuid":"019f2d6a-5000-7000-8000-000000000002"}');
CREATE TABLE content_names (
    id INTEGER PRIMARY KEY,
    property TEXT NOT NULL UNIQUE
);
INSERT INTO content_names VALUES(1,'$ai_input');
INSERT INTO content_names VALUES(2,'$ai_output_choices');
INSERT INTO content_names VALUES(3,'$ai_tools');
INSERT INTO content_names VALUES(4,'$ai_input_state');
INSERT INTO content_names VALUES(5,'$ai_output_state');
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,                  -- the first 16 bytes of SHA-256 over the JSON
    size INTEGER NOT NULL,                      -- of the JSON in bytes
    json NOT NULL
);
INSERT INTO contents VALUES(1,X'3c375886761e539ac8dd2d850c10d7b7',534,X'01ed92c109803010045b59ee2d22f8b30c3b88e624a25ec0bb1082d8bbc12e04bfc3cc6f2e9aa3188bd140232f49bc0ec8ab8555d077f0ae6883243babc202638a7143768a939d47955ee82cb4f8f38fe6d4d01977ae076851e383ee07');
INSERT INTO contents VALUES(2,X'25e4ba8cd5139ed97d009eb8d769a238',79,'{"content":"May I return this book, please? Its pages are wavy.","role":"user"}');
INSERT INTO contents VALUES(3,X'be122ed1ffb342923ae24d9f54ab0a4e',89,'{"content":"I am sorry. Did it arrive like that, or was it the bath?","role":"assistant"}');
CREATE TABLE event_contents (
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    name_id INTEGER NOT NULL REFERENCES content_names (id),
    position INTEGER NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents (id),
    PRIMARY KEY (event_id, name_id, position)
) WITHOUT ROWID;
INSERT INTO event_contents VALUES(1,1,0,1);
INSERT INTO event_contents VALUES(1,1,1,2);
INSERT INTO event_contents VALUES(1,2,0,3);
CREATE INDEX events_by_time ON events (timestamp_ms);
CREATE INDEX events_by_trace ON events (trace_id, timestamp_ms);
CREATE INDEX events_by_session ON events (session_id, timestamp_ms) WHERE session_id IS NOT NULL;
CREATE INDEX events_by_span ON events (span_id) WHERE span_id IS NOT NULL;
CREATE INDEX events_by_content ON event_contents (content_id);
COMMIT;
PRAGMA user_version = 1;
