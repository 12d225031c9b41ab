"""Every case of the corpus as a call of the real SDK, and the event that it gives."""

import gc
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import llmtrail
import sdk
from support import RULES, Loopback, generations, read_case

# Some SDKs leave the connection of a stream that broke or was left to the collector, with or without us.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# What a call through an SDK has otherwise than the recorded exchange: its address, and what follows from it.
OTHERWISE = {"$ai_base_url", "$ai_request_url", "$ai_provider", "case"}
LEAVE_OUT = {*RULES["volatile"], *OTHERWISE}
COST = re.compile(RULES["cost"])


seen: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def events(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    server.reset()
    folder = tmp_path_factory.mktemp("calls")
    trail = llmtrail.Client(api_key="phc_test", host=server.url, dir=folder, flush_interval=60)
    for call in sdk.CALLS:
        seen[call["name"]] = sdk.make(server, call, trail)
    gc.collect()  # some SDKs leave a stream that broke to be collected
    report = trail.shutdown(30)
    assert report.captured == report.delivered, report
    assert "observer" not in trail.stats().notes
    found = {event["properties"]["case"]: event for event in generations(server.events())}
    out = os.environ.get("LLMTRAIL_E2E_OUT")
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(found, indent=1))
    return found


@pytest.mark.parametrize("call", sdk.CALLS, ids=lambda call: call["name"])
def test_call(call: dict[str, Any], events: dict[str, Any]) -> None:
    event, case = events[call["name"]], read_case(call["case"])
    expected = case["expected"]
    assert event["event"] == expected["event"]

    def normal(properties: dict[str, Any]) -> dict[str, Any]:
        kept = properties.items()
        return {key: value for key, value in kept if key not in LEAVE_OUT and not COST.match(key)}

    properties = dict(expected["properties"])
    if properties.get("$ai_error_type") in ("connection_refused", "dns"):  # a server cannot play these
        properties["$ai_error_type"] = "connection_cut"
        properties["$ai_error"] = "Connection closed before the response was complete"
    assert normal(event["properties"]) == normal(properties)


@pytest.mark.parametrize("call", sdk.CALLS, ids=lambda call: call["name"])
def test_the_caller_sees_what_it_would_see_without_us(
    call: dict[str, Any], events: dict[str, Any], server: Loopback
) -> None:
    assert seen[call["name"]] == sdk.make(server, call)
