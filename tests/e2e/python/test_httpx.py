"""httpx and httpx2 by themselves, whoever's bytes they carry: streams that are dropped, go silent or are cancelled."""

import asyncio
import gc
import importlib
import importlib.util
import warnings
from types import ModuleType
from typing import Any

import pytest
from proof import cover

import llmtrail
from support import Loopback, generations

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
PATH = "/v1/chat/completions"


@pytest.fixture(params=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest) -> ModuleType:
    if not importlib.util.find_spec(request.param):
        pytest.skip("not installed")
    return importlib.import_module(request.param)


def statuses(trail: llmtrail.Client, loopback: Loopback) -> list[Any]:
    """How the streams of the calls ended; each is one event and begins with the same words."""
    gc.collect()
    assert trail.flush(10).pending == 0
    assert "observer" not in trail.stats().notes
    events = [event["properties"] for event in generations(loopback.events())]
    assert all(event["$ai_stream"] and event["$ai_http_status"] == 200 for event in events)
    return [event["$ai_stream_status"] for event in events]


def proven(http: ModuleType, call: str, column: str) -> None:
    cover({"sdk": http.__name__, "version": http.__version__}, call, {"recorded": "ok", column: "ok"})


def test_a_stream_that_is_dropped_and_collected(
    http: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    url = loopback.url + "/knobs/delay-ms=40" + PATH

    def dropped() -> None:
        client = trail.wrap(http.Client(), provider="openai")
        client.send(client.build_request("POST", url, json=STREAM), stream=True)

    async def dropped_later() -> None:
        client = trail.wrap(http.AsyncClient(), provider="openai")
        answer = await client.send(client.build_request("POST", url, json={**STREAM, "n": 1}), stream=True)
        async for _ in answer.aiter_bytes():
            break

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what it says of it, with us and without
        dropped()
        assert statuses(trail, loopback) == ["abandoned"]
        loopback.reset()
        asyncio.run(dropped_later())
    assert statuses(trail, loopback) == ["abandoned"]
    proven(http, "Client.send, stream, dropped unread and collected", "stream_left")
    proven(http, "AsyncClient.send, stream, dropped and collected", "stream_left")


def test_a_stream_that_goes_silent(http: ModuleType, trail: llmtrail.Client, loopback: Loopback) -> None:
    url = loopback.url + "/knobs/hang=3" + PATH
    limit = http.Timeout(5, read=0.3)
    with trail.wrap(http.Client(timeout=limit), provider="openai") as client:
        with client.stream("POST", url, json=STREAM) as answer, pytest.raises(http.ReadTimeout):
            list(answer.iter_lines())

    async def silent() -> None:
        async with trail.wrap(http.AsyncClient(timeout=limit), provider="openai") as client:
            async with client.stream("POST", url, json={**STREAM, "n": 1}) as answer:
                with pytest.raises(http.ReadTimeout):
                    [line async for line in answer.aiter_lines()]

    asyncio.run(silent())
    assert statuses(trail, loopback) == ["timeout", "timeout"]
    proven(http, "Client.stream, goes silent", "stream_cut")
    proven(http, "AsyncClient.stream, goes silent", "stream_cut")


def test_a_task_that_is_cancelled_in_a_silent_stream(
    http: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    url = loopback.url + "/knobs/hang=3" + PATH

    async def go() -> None:
        reading = asyncio.Event()

        async def read() -> None:
            async with trail.wrap(http.AsyncClient(), provider="openai") as client:
                async with client.stream("POST", url, json=STREAM) as answer:
                    async for _ in answer.aiter_bytes():
                        reading.set()

        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert statuses(trail, loopback) == ["abandoned"]
    proven(http, "AsyncClient.stream, goes silent and is cancelled", "stream_left")
