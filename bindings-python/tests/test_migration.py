"""What is said with PostHog's words is told as it was there: the rows that all three languages read."""

import json
from typing import Any

import httpx
import pytest

import llmtrail
from support import ROOT, Loopback

MIGRATION = json.loads((ROOT / "tests/scenarios/migration.json").read_bytes())


@pytest.mark.parametrize("row", MIGRATION["rows"], ids=lambda row: row["there"])
def test_a_row(trail: llmtrail.Client, loopback: Loopback, row: dict[str, Any]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=MIGRATION["response"])

    options = row["options"]
    scope = trail.trace("t", **options) if "trace_id" in options else trail.options(**options)
    with trail.wrap(httpx.Client(transport=httpx.MockTransport(answer))) as client, scope:
        client.post(MIGRATION["url"], json=MIGRATION["request"])
    trail.flush(10)
    event = next(event for event in loopback.events() if event["event"] == "$ai_generation")
    assert {name: event["properties"][name] for name in row["event"]} == row["event"]
    assert event["distinct_id"] == row.get("distinct_id", event["properties"]["$ai_trace_id"])
