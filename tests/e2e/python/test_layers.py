"""requests and aiohttp by themselves: what is seen of a body however it is read, and what stays as it was."""

import asyncio
import gc
import importlib.util
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmtrail
from support import Loopback, generations

if not importlib.util.find_spec("aiohttp") or not importlib.util.find_spec("requests"):
    pytest.skip("neither is installed", allow_module_level=True)

import aiohttp
import requests

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
PATH = "/v1/chat/completions"
WAYS = pytest.mark.parametrize("way", ["wrap", "instrument", "both"])


@pytest.fixture
def observe(trail: llmtrail.Client) -> Iterator[Any]:
    def begin(client: Any, way: str) -> Any:
        if way != "wrap":
            trail.instrument()
        if way != "instrument":
            assert trail.wrap(client, provider="openai") is client
        return client

    yield begin
    trail.uninstrument()


def recorded(trail: llmtrail.Client, loopback: Loopback) -> list[dict[str, Any]]:
    gc.collect()
    trail.flush(10)
    assert "observer" not in trail.stats().notes
    return [event["properties"] for event in generations(loopback.events())]


@WAYS
def test_requests(way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    with observe(requests.Session(), way) as session, trail.trace("t") as trace:
        answer = session.post(loopback.url + PATH, json=CHAT)
        told = answer.json()["usage"]["completion_tokens"]
        lines = list(session.post(loopback.url + PATH, json=STREAM, stream=True).iter_lines())
        raw = session.post(loopback.url + PATH, json=CHAT, stream=True).raw.read()
        left = session.post(loopback.url + "/knobs/delay-ms=40" + PATH, json=STREAM, stream=True)
        next(left.iter_content(None))
        left.close()
        session.get(loopback.url + "/_control/events")
        session.post(loopback.url + "/_control/faults", json=[])
    assert lines[-2] == b"data: [DONE]"
    assert raw.startswith(b"{")
    events = recorded(trail, loopback)
    assert [event.get("$ai_stream_status") for event in events] == [None, "complete", None, "abandoned"]
    assert events[0]["$ai_output_tokens"] == events[2]["$ai_output_tokens"] == told
    assert events[1]["$ai_output_tokens"] > 0
    assert {event["$ai_trace_id"] for event in events} == {trace.trace_id}


@WAYS
def test_aiohttp(way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> list[bytes]:
        async with observe(aiohttp.ClientSession(), way) as session:
            url = loopback.url + PATH
            async with session.post(url, json=CHAT) as answer:
                assert (await answer.json())["choices"]
            async with session.post(url, json=STREAM) as answer:
                lines = [line async for line in answer.content]
            async with session.post(url, data=b'{"model": "gpt-5-mini", "messages": []}') as answer:
                pieces = [piece async for piece, _ in answer.content.iter_chunks()]
            assert b"".join(pieces).startswith(b"{")
            async with session.post(loopback.url + "/knobs/delay-ms=40" + PATH, json=STREAM) as answer:
                await answer.content.readany()
            async with session.post(loopback.url + "/knobs/cut=2,delay-ms=5" + PATH, json=STREAM) as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
            return lines

    lines = asyncio.run(go())
    assert lines[-2] == b"data: [DONE]\n"
    statuses = [event.get("$ai_stream_status") for event in recorded(trail, loopback)]
    assert statuses == [None, "complete", None, "abandoned", "error"]


def test_a_cancelled_request_and_a_time_limit(
    observe: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    url = loopback.url + "/knobs/head-delay-ms=5000" + PATH

    async def go() -> None:
        async with observe(aiohttp.ClientSession(), "wrap") as session:
            task = asyncio.create_task(session.post(url, json=CHAT).__aenter__())
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(asyncio.TimeoutError):
                await session.post(url, json=CHAT, timeout=aiohttp.ClientTimeout(total=0.2))

    asyncio.run(go())
    with observe(requests.Session(), "wrap") as session, pytest.raises(requests.Timeout):
        # Another body, or it would be taken for a second attempt.
        session.post(url, json={**CHAT, "n": 1}, timeout=0.2)
    kinds = [event["$ai_error_type"] for event in recorded(trail, loopback)]
    assert kinds == ["cancelled", "timeout", "timeout"]


def test_a_connection_that_is_refused(observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    url = "http://127.0.0.1:9" + PATH

    async def go() -> None:
        async with observe(aiohttp.ClientSession(), "wrap") as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.post(url, json=CHAT)

    asyncio.run(go())
    with observe(requests.Session(), "wrap") as session, pytest.raises(requests.ConnectionError):
        session.post(url, json=CHAT)
    kinds = {event["$ai_error_type"] for event in recorded(trail, loopback)}
    assert kinds == {"connection_refused"}


def test_connections_are_used_again(observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        async with observe(aiohttp.ClientSession(), "both") as session:
            for _ in range(3):
                async with session.post(loopback.url + PATH, json=STREAM) as answer:
                    await answer.read()

    with observe(requests.Session(), "both") as session:
        for _ in range(3):
            session.post(loopback.url + PATH, json=STREAM).json  # noqa: B018
    asyncio.run(go())
    assert len({request["connection"] for request in loopback.providers()}) == 2
    assert len(recorded(trail, loopback)) == 6


@WAYS
def test_the_server_gets_the_same_bytes(
    way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    def send(watch: Any) -> None:
        with watch(requests.Session()) as session:
            session.post(loopback.url + PATH, json=CHAT)
            session.post(loopback.url + PATH, data=json.dumps(STREAM).encode(), headers={"x-a": "b"}).content  # noqa: B018
            session.post(loopback.url + PATH, data=io.BytesIO(json.dumps(CHAT).encode()))

        async def go() -> None:
            async with watch(aiohttp.ClientSession()) as session:
                for body in (
                    {"json": CHAT},
                    {"data": json.dumps(STREAM)},
                    {"data": json.dumps(CHAT).encode()},
                ):
                    async with session.post(loopback.url + PATH, **body, headers={"x-a": "b"}) as answer:
                        await answer.read()

        asyncio.run(go())

    def wire() -> list[dict[str, Any]]:
        kept = ("path", "sha256", "header_names", "status")
        got = [{name: request.get(name) for name in kept} for request in loopback.providers()]
        loopback.reset()
        return got

    send(lambda client: client)
    alone = wire()
    send(lambda client: observe(client, way))
    assert len(alone) == 6
    assert wire() == alone
    assert len(recorded(trail, loopback)) == 6


def test_a_stream_that_is_dropped_unread(observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    url = loopback.url + "/knobs/delay-ms=40" + PATH

    async def go() -> None:
        async with observe(aiohttp.ClientSession(), "wrap") as session:
            await session.post(url, json=STREAM)
            gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what each says of it, with us and without
        with observe(requests.Session(), "wrap") as session:
            session.post(url, json=STREAM, stream=True)
            gc.collect()
        asyncio.run(go())
    events = recorded(trail, loopback)
    assert [event["$ai_stream_status"] for event in events] == ["abandoned", "abandoned"]


def test_streams_that_go_silent_and_tasks_that_are_cancelled(
    observe: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    url = loopback.url + "/knobs/hang=3" + PATH

    async def go() -> None:
        async with observe(aiohttp.ClientSession(), "wrap") as session:
            limit = aiohttp.ClientTimeout(sock_read=0.3)
            async with session.post(url, json={**STREAM, "n": 1}, timeout=limit) as answer:
                with pytest.raises(asyncio.TimeoutError):
                    await answer.read()

            async def read() -> None:
                async with session.post(url, json={**STREAM, "seed": 1}) as answer:
                    async for _ in answer.content:
                        reading.set()

            reading = asyncio.Event()
            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with observe(requests.Session(), "wrap") as session:
        answer = session.post(url, json=STREAM, stream=True, timeout=(5, 0.3))
        with pytest.raises(requests.ConnectionError, match="timed out"):
            list(answer.iter_content(None))
    asyncio.run(go())
    events = recorded(trail, loopback)
    assert [event["$ai_stream_status"] for event in events] == ["timeout", "timeout", "abandoned"]


def test_uninstrument_leaves_no_trace(trail: llmtrail.Client) -> None:
    before = requests.Session.get_adapter, aiohttp.ClientSession._request, list(sys.meta_path)
    trail.instrument()
    trail.instrument()
    with requests.Session() as session:
        adapter = session.get_adapter("https://api.openai.com")
        assert "send" in adapter.__dict__
        trail.uninstrument()
        assert "send" not in adapter.__dict__
    assert (requests.Session.get_adapter, aiohttp.ClientSession._request, list(sys.meta_path)) == before


@pytest.mark.parametrize("name", ["requests", "aiohttp", "httpx", "httpx2"])
def test_a_library_that_another_thread_is_importing(name: str, tmp_path: Path) -> None:
    if not importlib.util.find_spec(name):
        pytest.skip("not installed")
    program = f"""
import sys, threading, llmtrail
trail = llmtrail.Client(api_key="phc_test", host="http://127.0.0.1:9", dir={str(tmp_path)!r})
thread = threading.Thread(target=__import__, args=({name!r},))
thread.start()
while {name!r} not in sys.modules:
    pass
trail.instrument()
thread.join()
assert trail.stats().notes == {{}}
assert [row["what"] for row in trail.doctor(show=False)["observed"]].count({name!r}) == 1
trail.uninstrument()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_libraries_that_are_imported_later(loopback: Loopback, tmp_path: Path) -> None:
    program = f"""
import sys, llmtrail
trail = llmtrail.Client(api_key="phc_test", host={loopback.url!r}, dir={str(tmp_path)!r})
trail.instrument()
assert not {{"requests", "httpx", "aiohttp"}} & set(sys.modules)
import requests
requests.post({loopback.url + PATH!r}, json={CHAT!r}).json()
trail.uninstrument()
requests.post({loopback.url + PATH!r}, json={CHAT!r}).json()
assert trail.flush(10).captured == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert len(generations(loopback.events())) == 1
