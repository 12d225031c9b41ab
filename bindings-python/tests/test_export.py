"""`llmtrail export --format parquet`, as another program reads it."""

import datetime
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb

import llmtrail

COLUMNS = {
    "id": "BIGINT",
    "uuid": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "event": "VARCHAR",
    "user": "VARCHAR",
    "session_id": "VARCHAR",
    "trace_id": "VARCHAR",
    "span_id": "VARCHAR",
    "parent_id": "VARCHAR",
    "name": "VARCHAR",
    "provider": "VARCHAR",
    "model": "VARCHAR",
    "http_status": "BIGINT",
    "is_error": "BOOLEAN",
    "error_type": "VARCHAR",
    "error": "VARCHAR",
    "stream_status": "VARCHAR",
    "stop_reason": "VARCHAR",
    "retries": "BIGINT",
    "latency_s": "DOUBLE",
    "time_to_first_token_s": "DOUBLE",
    "total_input_tokens": "BIGINT",
    "cache_read_input_tokens": "BIGINT",
    "cache_creation_input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "reasoning_tokens": "BIGINT",
    "total_cost_usd": "DECIMAL(38,18)",
    "cost_source": "VARCHAR",
    "cache_saved_usd": "DOUBLE",
    "tools_called": "VARCHAR",
    "input_preview": "VARCHAR",
    "output_preview": "VARCHAR",
    "properties": "VARCHAR",
}


def export(folder: Path, *more: str) -> Path:
    """The store's calls in a file."""
    command = [sys.executable, "-m", "llmtrail._cli", "export", "--format", "parquet", *more]
    done = subprocess.run(
        command, env={**os.environ, "LLMTRAIL_DIR": str(folder)}, capture_output=True, check=True
    )
    file = folder / "calls.parquet"
    file.write_bytes(done.stdout)
    return file


def test_calls_have_their_types_and_exact_costs(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc)
    trail = llmtrail.Client(dir=tmp_path)
    with trail.trace("answer", distinct_id="u1", session_id="s", properties={"plan": "pro"}) as trace:
        for tokens in range(3):
            trail.capture_generation(
                model="gpt-4o",
                provider="openai",
                input="where is my order? 📦",
                output="on its way",
                # At $2.50 a million each token is 0.0000025.
                usage={"input_tokens": tokens + 1, "output_tokens": 0},
                stop_reason="stop",
                latency=1.5,
                timestamp=when,
            )
    trail.capture_generation(model="nobody-knows", provider="acme", error="no", timestamp=when)
    trail.shutdown(10)
    file = export(tmp_path)
    db = duckdb.connect()
    described = db.execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
    assert {name: kind for name, kind, *_ in described} == COLUMNS
    rows = db.execute(
        f"""SELECT event, epoch_ms("timestamp"), "user", session_id, trace_id, model, is_error, stop_reason, latency_s,
            time_to_first_token_s, total_input_tokens, total_cost_usd, input_preview, output_preview,
            properties->>'plan' FROM '{file}' ORDER BY id"""
    ).fetchall()
    millis = 1_767_323_045_678
    for tokens, row in enumerate(rows[:3], start=1):
        assert row == (
            "$ai_generation",
            millis,
            "u1",
            "s",
            trace.trace_id,
            "gpt-4o",
            False,
            "stop",
            1.5,
            None,
            tokens,
            Decimal("0.0000025") * tokens,
            "where is my order? 📦",
            "on its way",
            "pro",
        )
    kind, time, user, session, _, model, is_error, *_ = rows[3]
    assert (kind, time, user, session, model, is_error) == (
        "$ai_generation",
        millis,
        None,
        None,
        "nobody-knows",
        True,
    )
    assert rows[3][11] is None
    total = db.execute(f"SELECT sum(total_cost_usd), count(*) FROM '{file}'").fetchone()
    assert total == (Decimal("0.000015"), 4)


def test_what_is_left_out_and_a_store_without_calls_are_files_as_well(tmp_path: Path) -> None:
    trail = llmtrail.Client(dir=tmp_path)
    trail.capture_generation(model="gpt-4o", provider="openai", input="a", output="b")
    trail.shutdown(10)
    db = duckdb.connect()
    count = f"SELECT count(*), count(total_cost_usd) FROM '{export(tmp_path, '--since', '2100-01-01')}'"
    assert db.execute(count).fetchone() == (0, 0)
    assert len(db.execute(f"DESCRIBE SELECT * FROM '{tmp_path / 'calls.parquet'}'").fetchall()) == len(
        COLUMNS
    )
