"""Responses in the background: one event, whichever client and scope sees the end."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import llmtrail
import sdk
from support import Loopback, generations

QUESTION = "Where is my order?"
ASK = {"model": "gpt-5.1", "input": QUESTION, "background": True}

if not hasattr(openai.OpenAI, "responses"):
    pytest.skip("this generation has no Responses", allow_module_level=True)


Open = Callable[..., Any]


@pytest.fixture
def observed(trail: llmtrail.Client, loopback: Loopback) -> Iterator[Open]:
    """Opens observed clients, and closes them in the end."""
    clients = []

    def made(knobs: str = "") -> Any:
        base = f"{loopback.url}/knobs/{knobs}" if knobs else loopback.url
        clients.append(trail.wrap(sdk.client("openai", base), provider="openai"))
        return clients[-1]

    yield made
    for client in clients:
        client.close()


def one(trail: llmtrail.Client, loopback: Loopback) -> dict[str, Any]:
    report = trail.flush(10)
    assert (report.captured, report.pending) == (report.delivered, 0)
    (event,) = generations(loopback.events())
    properties: dict[str, Any] = event["properties"]
    return properties


def check(properties: dict[str, Any], text: str) -> None:
    assert properties["$ai_input"] == [{"role": "user", "content": QUESTION}]
    assert properties["$ai_output_choices"] == [
        {"role": "assistant", "content": [{"type": "text", "text": text}]}
    ]
    assert properties["$ai_stop_reason"] == "completed"
    assert properties["$ai_model"] == "gpt-5.1-2025-11-13"
    assert properties["$ai_input_tokens"]
    assert properties["$ai_total_cost_usd"]
    assert "$ai_retries" not in properties


def test_another_client_may_see_the_end(trail: llmtrail.Client, loopback: Loopback, observed: Open) -> None:
    first, second = observed(), observed()
    with trail.trace("ask") as trace:
        answer = first.responses.create(**ASK)
    assert answer.status == "queued"
    polls = 0
    with trail.trace("poll"):
        while answer.status != "completed":
            answer = second.responses.retrieve(answer.id)
            polls += 1
    assert polls == 2
    second.responses.retrieve(answer.id)
    properties = one(trail, loopback)
    check(properties, answer.output_text)
    assert properties["$ai_trace_id"] == trace.trace_id
    assert properties["$ai_stream"] is False


def test_async_clients_too(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> str:
        async with trail.wrap(sdk.client("openai", loopback.url, True), provider="openai") as client:
            answer = await client.responses.create(**ASK)
            while answer.status != "completed":
                answer = await client.responses.retrieve(answer.id)
            return answer.output_text

    text = asyncio.run(go())
    check(one(trail, loopback), text)


def test_a_stream_that_broke_is_taken_up_again(
    trail: llmtrail.Client, loopback: Loopback, observed: Open
) -> None:
    first, second = observed("cut=5"), observed()
    seen: list[Any] = []
    with pytest.raises(Exception, match=r"(?i)peer closed|connection error"):
        seen.extend(first.responses.create(**ASK, stream=True))
    answer = seen[0].response.id
    seen.extend(second.responses.retrieve(answer, stream=True, starting_after=seen[-1].sequence_number))
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    properties = one(trail, loopback)
    check(properties, seen[-1].response.output_text)
    assert (properties["$ai_stream"], properties["$ai_stream_status"]) == (True, "complete")


def test_a_cancelled_one_ends_so(trail: llmtrail.Client, loopback: Loopback, observed: Open) -> None:
    client = observed()
    answer = client.responses.create(**ASK)
    client.responses.retrieve(answer.id)
    assert client.responses.cancel(answer.id).status == "cancelled"
    properties = one(trail, loopback)
    assert properties["$ai_stop_reason"] == "cancelled"
    assert properties["$ai_output_choices"] == []


def test_a_flush_in_between_takes_nothing_from_it(
    trail: llmtrail.Client, loopback: Loopback, observed: Open
) -> None:
    client = observed()
    answer = client.responses.create(**ASK)
    while answer.status != "completed":
        report = trail.flush(10)
        assert (report.delivered, report.pending) == (0, 1)
        answer = client.responses.retrieve(answer.id)
    check(one(trail, loopback), answer.output_text)


def test_what_never_ends_is_sent_as_it_is_at_the_end(
    trail: llmtrail.Client, loopback: Loopback, observed: Open
) -> None:
    client = observed()
    answer = client.responses.create(**ASK)
    trail.flush(10)
    assert loopback.events() == []
    report = trail.shutdown(10)
    assert (report.delivered, report.pending) == (1, 0)
    (event,) = generations(loopback.events())
    assert event["properties"]["$ai_response_id"] == answer.id
    assert event["properties"]["$ai_tokens_source"] == "absent"


def test_what_is_only_asked_for_again_is_no_call(
    trail: llmtrail.Client, loopback: Loopback, observed: Open
) -> None:
    with sdk.client("openai", loopback.url) as stranger:
        answer = stranger.responses.create(**ASK)
    client = observed()
    for _ in range(2):
        answer = client.responses.retrieve(answer.id)
    assert answer.status == "completed"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unknown")
    report = trail.flush(10)
    assert (report.captured, loopback.events()) == (0, [])
