"""What no decoder reads: JSON to a known host is recorded as unknown, anything else is left alone."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
import llmtrail._instrument
import sdk
from support import RULES, Loopback, generations, read_case

MODERATION = "unknown/openai_moderation"


@pytest.fixture(params=["wrap", "instrument"])
def known(request: pytest.FixtureRequest, loopback: Loopback, tmp_path: Path) -> Iterator[llmtrail.Client]:
    """A client that knows the server as OpenAI's, with the process observed or not."""
    host = loopback.url.removeprefix("http://")
    client = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, hosts={host: "openai"})
    if request.param == "instrument":
        client.instrument()
    yield client
    client.uninstrument()
    client.shutdown(10)


def observed(trail: llmtrail.Client, base: str, name: str = "openai") -> Any:
    client = sdk.client(name, base)
    return client if llmtrail._instrument.begun() else trail.wrap(client)


def test_json_of_a_format_that_is_not_read_is_recorded_as_unknown(
    known: llmtrail.Client, loopback: Loopback
) -> None:
    case = read_case(MODERATION)
    with observed(known, loopback.case(MODERATION)) as client, known.options(distinct_id="user-1"):
        answer = client.moderations.create(model="omni-moderation-latest", input="I want to hug them.")
    # The caller's own result.
    assert answer.results[0].flagged is False
    report = known.flush(10)
    assert (report.captured, report.pending) == (report.delivered, 0)
    (event,) = generations(loopback.events())
    properties = event["properties"]
    assert event["distinct_id"] == "user-1"
    assert properties["$ai_latency"] > 0
    where = ("$ai_request_url", "$ai_base_url", "$ai_request_bytes", "$ai_provider_metadata")
    for name, value in case["expected"]["properties"].items():
        if name not in where and name not in RULES["volatile"]:
            assert properties[name] == value, name
    # Nothing that would be a guess.
    assert not {"$ai_input", "$ai_input_tokens", "$ai_stop_reason"} & set(properties)
    (call,) = loopback.providers()
    assert properties["$ai_request_bytes"] == call["bytes"]


def test_what_is_no_call_is_left_alone(known: llmtrail.Client, loopback: Loopback) -> None:
    with observed(known, loopback.url) as client:
        with pytest.raises(openai.APIStatusError):
            client.files.create(file=("a.jsonl", io.BytesIO(b"{}")), purpose="batch")
        with pytest.raises(openai.APIStatusError):
            client.batches.create(
                input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
            )
        with pytest.raises(openai.APIStatusError):
            client.models.list()
    if hasattr(anthropic.Anthropic(api_key="x").messages, "count_tokens"):
        with observed(known, loopback.case("unknown/left_alone_count_tokens"), "anthropic") as client:
            counted = client.messages.count_tokens(
                model="claude-haiku-4-5", messages=[{"role": "user", "content": "Hi"}]
            )
        assert counted.input_tokens == 8
    report = known.flush(10)
    assert (report.captured, loopback.events()) == (0, [])


def test_a_host_that_nobody_knows_is_left_alone(trail: llmtrail.Client, loopback: Loopback) -> None:
    # The client is named for a provider, which says nothing of the hosts that it calls.
    with trail.wrap(sdk.client("openai", loopback.case(MODERATION)), provider="openai") as client:
        client.moderations.create(model="omni-moderation-latest", input="I want to hug them.")
    report = trail.flush(10)
    assert (report.captured, loopback.events()) == (0, [])
