"""The caller sees exactly the chunks it would see without us: compared byte for byte, and by the clock."""

import asyncio
import json
import time
from typing import Any

import pytest

import llmtrail
import sdk
from support import Loopback, cases, generations, read_case

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
}
STREAMS = [name for name in cases(*PATHS) if json.loads(read_case(name)["request"]).get("stream") is True]
# Each piece a write of its own, so that both runs read the same pieces.
APART = "delay-ms=3"


class Seen:
    """What a consumer of raw chunks sees, and when."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.times: list[float] = []
        self.end = ""
        self.head: tuple[int, list[str]] | None = None

    def take(self, chunk: bytes) -> None:
        self.times.append(time.perf_counter())
        self.chunks.append(chunk)

    def fail(self, error: Exception) -> None:
        self.end = f"{type(error).__qualname__}: {error}"

    def all(self) -> Any:
        return self.head, self.chunks, self.end


def watch(name: str, base: str, trail: llmtrail.Client | None, asynchronous: bool, raw: bool = True) -> Seen:
    """Sends a case's request through the SDK's own HTTP client."""
    seen = Seen()
    family, case = name.partition("/")[0], read_case(name)
    kind = "anthropic" if family.startswith("anthropic") else "openai"
    limit = 0.3 if case.get("end") in ("timeout", "abandoned") else 20.0
    outer = sdk.client(kind, base, asynchronous)
    # Where the recorded server says `"usage":null` of its own accord, that cannot be told from an answer to
    # our asking for usage, which is taken out again: so do not ask.
    unasked = not case.get("asked_usage") and b'"usage":null' in (case["response"] or b"")
    if trail is not None:
        trail.wrap(outer, provider="local" if unasked else case.get("provider") or kind)
    http = outer._client
    headers = {"content-type": "application/json"}
    request = http.build_request(
        "POST", base + PATHS[family], content=case["request"], headers=headers, timeout=limit
    )
    before = dict(request.headers), request.content

    async def go() -> None:
        try:
            response = await http.send(request, stream=True)
            seen.head = response.status_code, sorted(response.headers)
            async for chunk in response.aiter_raw() if raw else response.aiter_bytes():
                seen.take(chunk)
        except Exception as error:
            seen.fail(error)
        finally:
            await outer.close()

    def go_sync() -> None:
        try:
            response = http.send(request, stream=True)
            seen.head = response.status_code, sorted(response.headers)
            for chunk in response.iter_raw() if raw else response.iter_bytes():
                seen.take(chunk)
        except Exception as error:
            seen.fail(error)
        finally:
            outer.close()

    if asynchronous:
        asyncio.run(go())
    else:
        go_sync()
    assert (dict(request.headers), request.content) == before
    return seen


BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@BOTH
@pytest.mark.parametrize("name", STREAMS)
def test_chunk_by_chunk(name: str, asynchronous: bool, loopback: Loopback, trail: llmtrail.Client) -> None:
    base = loopback.case(name, APART)
    with_us = watch(name, base, trail, asynchronous)
    without = watch(name, base, None, asynchronous)
    assert with_us.all() == without.all()
    trail.flush(10)
    assert len(generations(loopback.events())) == 1
    assert "observer" not in trail.stats().notes


@BOTH
@pytest.mark.parametrize("knobs", ["chunk=7", "gzip=1", "gzip=1,chunk=5", "cut=3", "chunk=11,cut=20"])
@pytest.mark.parametrize(
    "name", ["openai_chat/stream_observer_asked_usage", "anthropic_messages/stream_text"]
)
def test_byte_by_byte(
    name: str, knobs: str, asynchronous: bool, loopback: Loopback, trail: llmtrail.Client
) -> None:
    base = loopback.case(name, f"{knobs},{APART}" if "chunk" not in knobs else knobs)
    with_us = watch(name, base, trail, asynchronous, raw=False)
    without = watch(name, base, None, asynchronous, raw=False)
    assert b"".join(with_us.chunks) == b"".join(without.chunks)
    assert (with_us.head, with_us.end) == (without.head, without.end)


@BOTH
@pytest.mark.parametrize(
    "name", ["openai_chat/stream_observer_asked_usage", "anthropic_messages/stream_text"]
)
def test_nothing_is_held_back(
    name: str, asynchronous: bool, loopback: Loopback, trail: llmtrail.Client
) -> None:
    delay = 0.05
    base = loopback.case(name, f"delay-ms={delay * 1000:.0f}")
    seen = watch(name, base, trail, asynchronous)
    assert len(seen.times) > 4
    # Each chunk comes a delay after the one before, and the first one long before the last.
    assert seen.times[-1] - seen.times[0] > delay * (len(seen.times) - 1) / 2
    gaps = [later - earlier for earlier, later in zip(seen.times, seen.times[1:], strict=False)]
    assert sorted(gaps)[len(gaps) // 2] > delay / 2
