"""Every case of the corpus, handed over through the binding, gives the event that the case expects."""

import re
from typing import Any

import pytest

import llmtrail
from support import RULES, Loopback, cases, generations, read_case

LEAVE_OUT = set(RULES["volatile"])
COST = re.compile(RULES["cost"])


@pytest.fixture(scope="module")
def corpus_events(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    server.reset()
    client = llmtrail.Client(api_key="phc_test", host=server.url, dir=tmp_path_factory.mktemp("corpus"))
    for name in cases():
        case = read_case(name)
        with client.trace("case", properties={"case": name}) as scope:
            body = case["response"]
            client._core.observe(
                case["url"],
                method=case.get("method", "POST"),
                request_headers=list(case.get("request_headers", {}).items()),
                request_body=case["request"],
                status=case.get("status"),
                response_headers=list(case.get("response_headers", {}).items()),
                chunks=[]
                if body is None
                else [(body[at : at + 1000], 0.1) for at in range(0, len(body), 1000)],
                end=case.get("end", "complete"),
                error=case.get("error"),
                provider=case.get("provider"),
                asked_usage=case.get("asked_usage", False),
                scope=scope._core,
            )
    report = client.shutdown(30)
    calls = [name for name in cases() if read_case(name)["expected"]["event"]]
    # The trace around each, and what comes of those that are calls.
    assert report.captured == report.delivered == len(cases()) + len(calls), report
    return {event["properties"].pop("case"): event for event in generations(server.events())}


@pytest.mark.parametrize("name", cases())
def test_case(name: str, corpus_events: dict[str, Any]) -> None:
    expected = read_case(name)["expected"]
    if expected["event"] is None:
        assert name not in corpus_events
        return
    event = corpus_events[name]
    properties = {
        key: value
        for key, value in event["properties"].items()
        if key not in LEAVE_OUT and not COST.match(key)
    }
    assert event["event"] == expected["event"]
    assert properties == expected["properties"]
    assert event["properties"]["$ai_lib_language"] == "python"
