"""One observer of calls in a process of its own, in Python: `subject.py llmtrail`. `caller.py` drives it.

The provider is a transport inside the process that answers at once, so that what is left is the SDK, the observer and
nothing else. A bare client and an observed one take turns, in an order that is drawn anew each time, for a call leaves
the caches to the next one as it had them. Reads a case and a number of rounds a line; prints what each round took.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, partial

WARM_UP = 40
# What a chunk takes is the difference between two streams; each has a model of its own.
CHUNKS = {"gpt-5-mini": 200, "gpt-5-nano": 20}
# An answer of 10 MB comes in pieces as large as a socket gives them; who asks for it asks for this model.
LARGE, PIECE = "large", 64 << 10

USAGE = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5-mini-2025-08-07", "system_fingerprint": "fp_1"}


def plain_body(words: int) -> bytes:
    message = {"role": "assistant", "content": "word " * words, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def stream_body(count: int, asked: bool) -> list[bytes]:
    head = {**HEAD, "object": "chat.completion.chunk"}
    null = {"usage": None} if asked else {}
    deltas: list[tuple[dict, str | None]] = [({"content": "word "}, None)] * (count - 1) + [({}, "stop")]
    chunks = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": f}], **null} for d, f in deltas]
    if asked:
        chunks.append({**head, "choices": [], "usage": USAGE})
    compact = {"separators": (",", ":")}
    return [f"data: {json.dumps(c, **compact)}\n\n".encode() for c in chunks] + [b"data: [DONE]\n\n"]


PLAIN = [plain_body(200)]
STREAM = {
    (model, asked): stream_body(count, asked) for model, count in CHUNKS.items() for asked in (False, True)
}


@cache
def large_body() -> list[bytes]:
    body = plain_body(2 << 20)
    return [body[at : at + PIECE] for at in range(0, len(body), PIECE)]


def answer(httpx, stream_class, request):
    # Where in the body the SDK puts these, it changes now and then.
    body = request.content
    ends = body[:200] + body[-200:]
    if b'"model":"large"' in ends:
        chunks, kind = large_body(), "application/json"
    elif b'"stream":true' in ends:
        model = "gpt-5-nano" if b'"model":"gpt-5-nano"' in ends else "gpt-5-mini"
        chunks, kind = STREAM[model, b"include_usage" in ends], "text/event-stream"
    else:
        chunks, kind = PLAIN, "application/json"
    return httpx.Response(200, headers={"content-type": kind}, stream=stream_class(chunks))


def clients_of(httpx):
    class Chunks(httpx.SyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def __iter__(self) -> Iterator[bytes]:
            yield from self.chunks

    class AsyncChunks(httpx.AsyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self.chunks:
                yield chunk

    class Provider(httpx.BaseTransport):
        def handle_request(self, request):
            return answer(httpx, Chunks, request)

    class AsyncProvider(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return answer(httpx, AsyncChunks, request)

    return httpx.Client(transport=Provider()), httpx.AsyncClient(transport=AsyncProvider())


def copying_hook(client, httpx):
    """The least that an observer can do, and so the limit: keeps what passes, and does nothing with it."""
    kept: list = []

    class Copied(httpx.SyncByteStream):
        def __init__(self, stream) -> None:
            self.stream = stream

        def __iter__(self) -> Iterator[bytes]:
            for piece in self.stream:
                kept.append(piece)
                yield piece

        def close(self) -> None:
            self.stream.close()
            kept.clear()

    class CopiedAsync(httpx.AsyncByteStream):
        def __init__(self, stream) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self.stream:
                kept.append(piece)
                yield piece

        async def aclose(self) -> None:
            await self.stream.aclose()
            kept.clear()

    transport = client._client._transport
    if isinstance(transport, httpx.BaseTransport):
        original = transport.handle_request

        def handle_request(request):
            kept.append(request.content)
            response = original(request)
            response.stream = Copied(response.stream)
            return response

        transport.handle_request = handle_request
    else:
        original_async = transport.handle_async_request

        async def handle_async_request(request):
            kept.append(request.content)
            response = await original_async(request)
            response.stream = CopiedAsync(response.stream)
            return response

        transport.handle_async_request = handle_async_request
    return client


def observed(observer: str, httpx, host: str):
    """The observed clients, sync and async, each made and used as its documentation says."""
    import openai

    made = [{"api_key": "sk-bench", "http_client": http, "max_retries": 0} for http in clients_of(httpx)]
    if observer == "posthog.ai":
        from posthog import Posthog
        from posthog.ai.openai import AsyncOpenAI, OpenAI

        peer = Posthog("phc_bench", host=host)
        return OpenAI(posthog_client=peer, **made[0]), AsyncOpenAI(posthog_client=peer, **made[1])
    clients = openai.OpenAI(**made[0]), openai.AsyncOpenAI(**made[1])
    if observer == "llmtrail":
        import llmtrail

        llmtrail.init(api_key="phc_bench", host=host, dir=tempfile.mkdtemp())
        return tuple(llmtrail.wrap(client) for client in clients)
    return tuple(copying_hook(client, httpx) for client in clients)


def plain(client, prompt: str, turns: int = 1) -> Callable[[], None]:
    messages = [{"role": "user", "content": prompt}] * turns

    def call() -> None:
        client.chat.completions.create(model="gpt-5-mini", messages=messages)

    return call


def stream(client, prompt: str, model: str) -> Callable[[], None]:
    def call() -> None:
        count = 0
        messages = [{"role": "user", "content": prompt}]
        for _ in client.chat.completions.create(model=model, messages=messages, stream=True):
            count += 1
        assert count >= CHUNKS[model], count

    return call


def plain_async(client, prompt: str):
    async def call() -> None:
        await client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": prompt}]
        )

    return call


def stream_async(client, prompt: str, model: str):
    async def call() -> None:
        count = 0
        messages = [{"role": "user", "content": prompt}]
        async for _ in await client.chat.completions.create(model=model, messages=messages, stream=True):
            count += 1
        assert count >= CHUNKS[model], count

    return call


def together(client, prompt: str, calls: int = 1):
    one = plain_async(client, prompt)

    async def call() -> None:
        await asyncio.gather(*(one() for _ in range(calls)))

    return call


# By name: how a call is made, the size of its prompt in KB, and whether it is async.
CASES = {
    "1 KB": (plain, 1, False),
    "100 KB": (plain, 100, False),
    "20 chunks": (partial(stream, model="gpt-5-nano"), 1, False),
    "200 chunks": (partial(stream, model="gpt-5-mini"), 1, False),
    "async, 1 KB": (plain_async, 1, True),
    "async, 100 KB": (plain_async, 100, True),
    "async, 20 chunks": (partial(stream_async, model="gpt-5-nano"), 1, True),
    "async, 200 chunks": (partial(stream_async, model="gpt-5-mini"), 1, True),
}


def case(wanted: dict, clients: tuple) -> tuple[list, bool]:
    """The calls of a bare and an observed client, and whether they are async. `growth.py` asks for numbers: a prompt of
    so many `kb`, so many `turns` of a conversation, so many calls that run `together`."""
    if "kb" in wanted:
        return [plain(pair[0], "lorem ip" * (128 * wanted["kb"])) for pair in clients], False
    if "turns" in wanted:
        return [plain(pair[0], "lorem ip" * 16, wanted["turns"]) for pair in clients], False
    if "together" in wanted:
        return [together(pair[1], "lorem ip" * 128, wanted["together"]) for pair in clients], True
    make, size, asynchronous = CASES[wanted["case"]]
    return [make(pair[asynchronous], "lorem ip" * (128 * size)) for pair in clients], asynchronous


def measure(calls: list[Callable[[], None]], rounds: int) -> list[list[int]]:
    """For each round the times of both and the CPU times of both on this thread, in ns."""
    out = []
    for _ in range(rounds):
        took = [0, 0, 0, 0]
        for who in random.sample((0, 1), 2):
            cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
            calls[who]()
            after, cpu_after = time.perf_counter_ns(), time.thread_time_ns()
            took[who], took[2 + who] = after - before, cpu_after - cpu_before
        out.append(took)
    return out


async def measure_async(calls, rounds: int) -> list[list[int]]:
    out = []
    for _ in range(rounds):
        took = [0, 0, 0, 0]
        for who in random.sample((0, 1), 2):
            cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
            await calls[who]()
            after, cpu_after = time.perf_counter_ns(), time.thread_time_ns()
            took[who], took[2 + who] = after - before, cpu_after - cpu_before
            # What an observer leaves to the loop's next turn is not the next call's.
            await asyncio.sleep(0)
        out.append(took)
    return out


def main() -> None:
    import httpx2
    import openai

    observer, host = sys.argv[1], sys.argv[2]
    http, http_async = clients_of(httpx2)
    bare = (
        openai.OpenAI(api_key="sk-bench", http_client=http, max_retries=0),
        openai.AsyncOpenAI(api_key="sk-bench", http_client=http_async, max_retries=0),
    )
    with_observer = observed(observer, httpx2, host)
    loop = asyncio.new_event_loop()
    warm: set[str] = set()
    for line in sys.stdin:
        wanted = json.loads(line)
        calls, asynchronous = case(wanted, (bare, with_observer))
        rounds = wanted["rounds"]
        name = str({**wanted, "rounds": None})
        for count in (rounds,) if name in warm else (min(WARM_UP, rounds), rounds):
            took = (
                loop.run_until_complete(measure_async(calls, count))
                if asynchronous
                else measure(calls, count)
            )
        warm.add(name)
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
