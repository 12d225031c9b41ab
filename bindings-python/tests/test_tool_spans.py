"""Tool calls and their results become spans: the scenarios that all three languages read."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import llmtrail
from support import ROOT, Loopback, named

SCENARIOS = json.loads((ROOT / "tests/scenarios/tool_spans.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["shows"][:40])
def test_every_tool_call_and_its_result_are_one_span(
    scenario: dict[str, Any], loopback: Loopback, tmp_path: Path
) -> None:
    off = scenario.get("off", False)
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, tool_spans=not off)
    by_hand = scenario.get("by_hand", [])

    def turn(scope: llmtrail.Scope, n: int) -> None:
        request, response = (
            json.dumps(scenario["turns"][n][what]).encode() for what in ("request", "response")
        )
        trail._core.observe(
            scenario["url"],
            request_body=request,
            status=200,
            response_headers=[("content-type", "application/json")],
            chunks=[(response, 0.004)],
            decoded=True,
            scope=scope._core,
        )
        time.sleep(0.01)
        if n == 0:
            assert scope.usage is not None
            for name in by_hand:
                with trail.span(name, type="tool"):
                    pass

    privacy = scenario.get("privacy")
    with trail.trace("agent", privacy=privacy) as agent:
        for n in range(len(scenario["turns"])):
            if scenario.get("apart"):
                with trail.trace("another") as other:
                    turn(other, n)
            else:
                turn(agent, n)
    trail.shutdown(10)
    spans = [event["properties"] for event in named(loopback.events(), "$ai_span")][len(by_hand) :]
    names = {"$ai_tool_call_id": "id", "$ai_is_error": "error"}
    shown = [
        {
            "name": p["$ai_span_name"],
            "input": p["$ai_input_state"],
            "output": p["$ai_output_state"],
            **{name: p[key] for key, name in names.items() if key in p},
        }
        for p in spans
    ]
    assert shown == scenario["spans"]
    for p in spans:
        assert (p["$ai_span_type"], p["$ai_trace_id"], p["$ai_parent_id"]) == (
            "tool",
            agent.trace_id,
            agent.trace_id,
        )
        assert 0.005 <= p["$ai_latency"] < 5
