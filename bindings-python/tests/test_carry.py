"""Scopes where context variables do not reach by themselves: threads, other processes, OpenTelemetry, the end."""

import asyncio
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

import llmtrail
from support import Loopback, named, scopes


def test_threads(trail: llmtrail.Client, loopback: Loopback) -> None:
    def work(name: str) -> str:
        with trail.span(name):
            return name

    pool = llmtrail.carry(ThreadPoolExecutor(2))
    with pool, ThreadPoolExecutor(1) as bare, trail.trace("t") as trace:
        assert llmtrail.carry(pool) is pool
        assert pool.submit(work, "pool").result() == "pool"
        assert list(pool.map(work, ["map1", "map2"])) == ["map1", "map2"]
        assert bare.submit(llmtrail.carry(work), "function").result() == "function"
        thread = threading.Thread(target=llmtrail.carry(work), args=("thread",))
        thread.start()
        thread.join()

        async def go() -> None:
            await asyncio.get_running_loop().run_in_executor(pool, work, "loop")
            await asyncio.to_thread(work, "to_thread")
            await asyncio.gather(asyncio.create_task(later("task")), later("gathered"))

        async def later(name: str) -> None:
            await asyncio.sleep(0)
            work(name)

        asyncio.run(go())
        bare.submit(work, "alone").result()
    spans = scopes(trail, loopback)
    for name in ("pool", "map1", "map2", "function", "thread", "loop", "to_thread", "task", "gathered"):
        assert spans[name]["$ai_parent_id"] == trace.trace_id, name
    assert spans["alone"]["$ai_trace_id"] != trace.trace_id


def test_coroutine_functions(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def work() -> None:
        with trail.span("s"):
            pass

    with trail.trace("t") as trace:
        carried = llmtrail.carry(work)
    asyncio.run(carried())
    assert scopes(trail, loopback)["s"]["$ai_parent_id"] == trace.trace_id


def test_what_cannot_be_carried() -> None:
    with pytest.raises(TypeError, match="expected a function or an executor"):
        llmtrail.carry(7)
    with ProcessPoolExecutor(1) as pool, pytest.raises(TypeError, match="another process"):
        llmtrail.carry(pool)


def test_by_hand(trail: llmtrail.Client, loopback: Loopback) -> None:
    trace = trail.trace("t").start()
    with trace.inside():
        span = trail.span("s").start()
    with span.inside(), trail.span("inner"):
        pass
    span.end(ValueError("bad"))
    span.end()
    trace.end()
    spans = scopes(trail, loopback)
    assert spans["s"]["$ai_parent_id"] == trace.trace_id
    assert spans["inner"]["$ai_parent_id"] == span.span_id
    assert spans["s"]["$ai_error"] == "bad"
    assert len(named(loopback.events(), "$ai_span")) == 2


def test_name_and_type_can_be_given_later(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.span("s") as span:
        span.name = "better"
        span.type = "agent"
        assert (span.name, span.type) == ("better", "agent")
    assert scopes(trail, loopback)["better"]["$ai_span_type"] == "agent"


def test_class_methods(trail: llmtrail.Client, loopback: Loopback) -> None:
    class Agent:
        @trail.span
        def plain(self) -> int:
            return 1

        @trail.span
        @classmethod
        def of_class(cls) -> type:
            return cls

        @classmethod
        @trail.span
        def below(cls) -> type:
            return cls

        @trail.span(type="tool")
        @staticmethod
        def static() -> int:
            return 2

    assert Agent().plain() == 1
    assert Agent.of_class() is Agent().below() is Agent
    assert Agent.static() == 2
    assert scopes(trail, loopback).keys() == {"plain", "of_class", "below", "static"}


def test_an_open_trace_is_sent_at_the_end(loopback: Loopback, tmp_path: Any) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path)
    trace = trail.trace("t").start()
    with trace.inside():
        span = trail.span("s").start()
    trail.shutdown(10)
    events = {event["properties"]["$ai_span_name"]: event["properties"] for event in loopback.events()}
    assert events.keys() == {"t", "s"}
    assert events["s"]["$ai_parent_id"] == events["t"]["$ai_trace_id"]
    assert events["t"]["$ai_unfinished"] is True
    span.end()
    trace.end()


def test_another_process(trail: llmtrail.Client, loopback: Loopback) -> None:
    assert trail.headers() == {}
    with (
        trail.trace("here", distinct_id="u", session_id="s", privacy=True) as trace,
        trail.span("ask") as span,
    ):
        headers = trail.headers()
    assert headers.keys() == {"traceparent", "baggage"}
    raw = [(b"Baggage", headers["baggage"].encode()), (b"Accept", b"*/*")]
    for form in (headers, raw):
        with trail.continue_from(form), trail.trace("there", input="x") as there:
            assert (there.trace_id, there.distinct_id, there.session_id) == (trace.trace_id, "u", "s")
    with trail.continue_from({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}):
        with trail.trace("foreign") as foreign:
            assert foreign.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    with trail.continue_from({}), trail.trace("fresh") as fresh:
        assert fresh.trace_id not in (None, trace.trace_id, foreign.trace_id)
    spans = scopes(trail, loopback)
    assert spans["there"]["$ai_parent_id"] == span.span_id
    assert spans["there"]["$ai_input_state"] is None
    assert "$ai_parent_id" not in spans["foreign"]
