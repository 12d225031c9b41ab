"""200 interleaved requests with nested spans and streams: every event in its own trace, and the traces are trees."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx

import llmtrail
from support import Loopback

URL = "https://api.openai.com/v1/chat/completions"
REQUESTS = 200
CHUNKS = [
    b'data: {"model": "gpt-5-mini", "choices": [{"index": 0, "delta": {"content": "hel"}}]}\n\n',
    b'data: {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
ANSWER = {
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
}


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield from CHUNKS

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in CHUNKS:
            await asyncio.sleep(0)
            yield chunk


def respond(request: httpx.Request) -> httpx.Response:
    if json.loads(request.content).get("stream"):
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces())
    return httpx.Response(200, json=ANSWER)


def ask(content: str, stream: bool = False) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "stream": stream, "messages": [{"role": "user", "content": content}]}


def check(events: list[dict[str, Any]]) -> None:
    assert len(events) == 5 * REQUESTS
    traces = defaultdict(list)
    for event in events:
        traces[event["properties"]["$ai_trace_id"]].append(event)
    assert len(traces) == REQUESTS
    for trace_id, of in traces.items():
        n = of[0]["properties"]["n"]
        assert all(e["properties"]["n"] == n and e["distinct_id"] == f"user-{n}" for e in of)
        nodes = {e["properties"].get("$ai_span_id", trace_id): e for e in of}
        names = {e["properties"].get("$ai_span_name"): e for e in of}
        calls = {e["properties"]["$ai_input"][0]["content"]: e for e in of if "$ai_input" in e["properties"]}

        def parent(event: dict[str, Any], nodes: dict[str, Any] = nodes) -> str:
            return str(nodes[event["properties"]["$ai_parent_id"]]["properties"]["$ai_span_name"])

        assert parent(names[f"outer {n}"]) == f"request {n}"
        assert parent(names[f"inner {n}"]) == f"outer {n}"
        assert parent(calls[f"plain {n}"]) == f"inner {n}"
        assert parent(calls[f"stream {n}"]) == f"outer {n}"
        assert calls[f"stream {n}"]["properties"]["$ai_stream_status"] == "complete"
        for around, inside in ((f"request {n}", f"outer {n}"), (f"outer {n}", f"inner {n}")):
            begin, end = span(names[around])
            inner_begin, inner_end = span(names[inside])
            assert begin <= inner_begin
            # A scope begins by two clocks that are read one after the other, and a thread may stand still between.
            assert inner_end <= end + 0.03


def span(event: dict[str, Any]) -> tuple[float, float]:
    begin = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()
    took = event["properties"].get("$ai_latency", event["properties"].get("$ai_trace_latency"))
    return begin, begin + took


def test_tasks(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def request(client: httpx.AsyncClient, n: int) -> None:
        async with trail.trace(f"request {n}", distinct_id=f"user-{n}", properties={"n": n}):
            with trail.span(f"outer {n}"):
                await asyncio.sleep(n % 5 / 1000)
                with trail.span(f"inner {n}"):
                    await client.post(URL, json=ask(f"plain {n}"))
                asking = client.build_request("POST", URL, json=ask(f"stream {n}", True))
                late = await client.send(asking, stream=True)
            # The stream is read after the span in which it was asked for, in a task of its own.
            assert await asyncio.create_task(late.aread()) == b"".join(CHUNKS)

    async def go() -> None:
        transport = httpx.MockTransport(respond)
        async with trail.wrap(httpx.AsyncClient(transport=transport)) as client:
            await asyncio.gather(*(request(client, n) for n in range(REQUESTS)))

    asyncio.run(go())
    trail.flush(20)
    check(loopback.events())


def test_threads(trail: llmtrail.Client, loopback: Loopback) -> None:
    with (
        trail.wrap(httpx.Client(transport=httpx.MockTransport(respond))) as client,
        ThreadPoolExecutor(16) as pool,
    ):

        def request(n: int) -> None:
            with trail.trace(f"request {n}", distinct_id=f"user-{n}", properties={"n": n}):
                with trail.span(f"outer {n}"):
                    with trail.span(f"inner {n}"):
                        client.post(URL, json=ask(f"plain {n}"))
                    asking = client.build_request("POST", URL, json=ask(f"stream {n}", True))
                    late = client.send(asking, stream=True)
                assert late.read() == b"".join(CHUNKS)

        list(pool.map(request, range(REQUESTS)))
    trail.flush(20)
    check(loopback.events())
