"""A thousand calls at once, half of them streams: each recorded once, in the scope it was made in."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import llmtrail
import sdk
from support import Loopback, generations, named

CALLS = 1000
LANES = 32


def check(events: list[dict[str, Any]]) -> None:
    calls = generations(events)
    numbers = [event["properties"]["number"] for event in calls]
    assert sorted(numbers) == list(range(CALLS))
    assert len({event["uuid"] for event in events}) == len(events)
    traces = {event["properties"]["$ai_trace_id"]: event for event in named(events, "$ai_trace")}
    for event in calls:
        properties = event["properties"]
        number = properties["number"]
        assert properties["$ai_input"][0]["content"] == f"call {number}"
        assert properties["$ai_session_id"] == f"session-{number % 7}"
        assert event["distinct_id"] == f"user-{number}"
        assert properties["$ai_stream"] == bool(number % 2)
        assert properties.get("$ai_stream_status") == ("complete" if number % 2 else None)
        assert "$ai_is_error" not in properties
        trace = traces[properties["$ai_trace_id"]]
        assert trace["properties"]["$ai_trace_name"] == f"trace {number}"
        assert trace["properties"]["number"] == number


def ask(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"call {number}"}]
    return {"model": "gpt-5-mini", "messages": messages, "stream": bool(number % 2)}


def scope(trail: llmtrail.Client, number: int) -> Any:
    return trail.trace(
        f"trace {number}",
        session_id=f"session-{number % 7}",
        distinct_id=f"user-{number}",
        properties={"number": number},
    )


def gather(trail: llmtrail.Client, loopback: Loopback) -> list[dict[str, Any]]:
    report = trail.flush(60)
    assert report.pending == 0, report
    assert not report.dropped, report
    return loopback.events()


def test_threads(trail: llmtrail.Client, loopback: Loopback) -> None:
    client = trail.wrap(sdk.client("openai", loopback.url, timeout=60), provider="openai")

    def call(number: int) -> None:
        with scope(trail, number):
            answer = client.chat.completions.create(**ask(number))
            if number % 2:
                for _ in answer:
                    time.sleep(0)

    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(call, range(CALLS)))
    client.close()
    check(gather(trail, loopback))


def test_tasks(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        client = trail.wrap(sdk.client("openai", loopback.url, True, timeout=60), provider="openai")
        lanes = asyncio.Semaphore(LANES)

        async def call(number: int) -> None:
            async with lanes, scope(trail, number):
                answer = await client.chat.completions.create(**ask(number))
                if number % 2:
                    async for _ in answer:
                        await asyncio.sleep(0)

        await asyncio.gather(*(call(number) for number in range(CALLS)))
        await client.close()

    asyncio.run(go())
    check(gather(trail, loopback))


@pytest.mark.parametrize("how", ["thread", "task"])
def test_a_scope_is_not_seen_by_neighbours(how: str, trail: llmtrail.Client) -> None:
    def inner() -> str | None:
        with trail.trace("inner") as trace:
            return trace.trace_id

    async def go() -> str | None:
        return await asyncio.create_task(asyncio.to_thread(inner))

    with trail.trace("outer") as outer:
        if how == "thread":
            with ThreadPoolExecutor(1) as pool:
                seen = pool.submit(inner).result()
        else:
            seen = asyncio.run(go())
        assert seen != outer.trace_id
        with trail.span("s") as span:
            assert span.trace_id == outer.trace_id
