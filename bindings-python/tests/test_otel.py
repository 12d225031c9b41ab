"""Beside the real OpenTelemetry: its trace's id is taken over, its spans are no parents, and nothing of it is set."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider

import llmtrail
from support import Loopback, forest

# A provider of its own, which is nobody's default one.
TRACER = TracerProvider().get_tracer("test")


def ids(loopback: Loopback) -> dict[str, str]:
    """The trace's id, by the name of the scope or what the call asks."""
    properties = [event["properties"] for event in loopback.events()]
    return {p.get("$ai_span_name") or p["$ai_input"][0]["content"]: p["$ai_trace_id"] for p in properties}


def otel_id(span: trace.Span) -> str:
    return format(span.get_span_context().trace_id, "032x")


@pytest.fixture
def ask(trail: llmtrail.Client, loopback: Loopback) -> Any:
    with trail.wrap(httpx.Client(), provider="openai") as client:

        def ask(content: str) -> None:
            body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}]}
            client.post(loopback.url + "/v1/chat/completions", json=body).raise_for_status()

        yield ask


def test_the_id_of_the_active_trace_is_taken_over(
    trail: llmtrail.Client, loopback: Loopback, ask: Any
) -> None:
    with TRACER.start_as_current_span("request") as span:
        with trail.trace("first"), trail.span("step"), TRACER.start_as_current_span("deep"):
            ask("in a step")
        with trail.trace("second"):
            ask("in the second")
        with trail.span("lone"):
            ask("in a lone span")
        ask("alone")
    ask("outside")
    trail.flush(10)
    found, id = ids(loopback), otel_id(span)
    for name in ("first", "step", "in a step", "lone", "in a lone span", "alone"):
        assert found[name] == id, name
    # One trace is one event: another one in there has an id of its own.
    assert found["second"] == found["in the second"] != id
    assert found["outside"] != id
    assert format(span.get_span_context().span_id, "016x") not in json.dumps(loopback.events())
    assert forest(loopback.events()) == {
        "first": {"step": {"in a step": {}}}, "second": {"in the second": {}},
        "lone": {"in a lone span": {}}, "alone": {}, "outside": {},
    }  # fmt: skip


def test_requests_side_by_side_are_kept_apart(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def request(n: int) -> None:
        with TRACER.start_as_current_span(f"request {n}") as span:
            await asyncio.sleep(0.001 * (n % 5))
            with trail.trace(str(n)) as here, trail.span(f"span {n}"):
                await asyncio.sleep(0)
                assert here.trace_id == otel_id(span)

    async def main() -> None:
        await asyncio.gather(*(request(n) for n in range(20)))

    asyncio.run(main())
    trail.flush(10)
    assert forest(loopback.events()) == {str(n): {f"span {n}": {}} for n in range(20)}
    assert len(set(ids(loopback).values())) == 20


def test_one_without_an_id_is_none(trail: llmtrail.Client) -> None:
    with trace.use_span(trace.INVALID_SPAN), trail.span("s") as span:
        assert span.trace_id not in (None, "0" * 32)


def test_it_goes_on_from_what_opentelemetry_sent(
    trail: llmtrail.Client, loopback: Loopback, ask: Any
) -> None:
    headers: dict[str, str] = {}
    with TRACER.start_as_current_span("caller") as span:
        propagate.inject(headers)
    with trail.continue_from(headers), trail.trace("here"):
        ask("asks")
    trail.flush(10)
    assert set(ids(loopback).values()) == {otel_id(span)}
    assert forest(loopback.events()) == {"here": {"asks": {}}}
    with trail.trace("ours", trace_id="a" * 32):
        there = trace.get_current_span(propagate.extract(trail.headers())).get_span_context()
    assert (format(there.trace_id, "032x"), there.is_remote) == ("a" * 32, True)


_LOOKS = """
import sys, llmtrail
with llmtrail.continue_from({"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}), llmtrail.trace("t"):
    llmtrail.headers()
assert not any(name.startswith("opentelemetry") for name in sys.modules)
from opentelemetry import context, trace
before = context.get_current()
with llmtrail.trace("t"), llmtrail.span("s"):
    assert context.get_current() is before
    assert trace.get_current_span() is trace.INVALID_SPAN
assert type(trace.get_tracer_provider()) is trace.ProxyTracerProvider
"""


def test_nothing_is_imported_or_set() -> None:
    subprocess.run([sys.executable, "-c", _LOOKS], check=True, timeout=60)
