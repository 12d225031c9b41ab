"""What no decoder reads: JSON to a known host is recorded as unknown, anything else is left alone."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
import llmtrail._instrument
import llmtrail._wrap
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


@pytest.mark.parametrize(
    ("base", "provider"),
    [("https://llm.corp.example/team", "llm.corp.example"), ("http://my-gateway:8080", "local")],
)
@pytest.mark.parametrize(
    ("name", "call", "case"),
    [
        ("openai", "chat.completions.create", "openai_chat/plain"),
        ("openai", "responses.create", "openai_responses/plain_text"),
        ("openai", "embeddings.create", "openai_embeddings/plain"),
        ("anthropic", "messages.create", "anthropic_messages/plain_text"),
    ],
)
def test_a_gateway_of_ones_own_speaks_the_format_of_the_path(
    name: str, call: str, case: str, base: str, provider: str, trail: llmtrail.Client, loopback: Loopback
) -> None:
    kept = read_case(case)
    with sdk.client(name, base) as client:
        package: Any = llmtrail._wrap._package(client._client)
    answer = package.Response(200, json=json.loads(kept["response"]))
    gateway = package.Client(transport=package.MockTransport(lambda _: answer))
    with trail.wrap(sdk.client(name, base, http_client=gateway)) as client:
        if not hasattr(client, call.partition(".")[0]):
            pytest.skip("this generation has no such call")
        sdk.method(client, call)(**json.loads(kept["request"]))
    assert trail.flush(10).pending == 0
    (event,) = generations(loopback.events())
    properties = event["properties"]
    assert properties["$ai_provider"] == provider
    for told in ("$ai_model", "$ai_input_tokens", "$ai_output_tokens", "$ai_output_choices"):
        assert properties.get(told) == kept["expected"]["properties"].get(told), told
