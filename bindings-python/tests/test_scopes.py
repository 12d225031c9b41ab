"""Scopes: `with`, `async with`, decorators of every kind of function, and exceptions that go on unchanged."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import llmtrail
from llmtrail._scopes import current
from support import Loopback, named, scopes


def test_a_tree(trail: llmtrail.Client, loopback: Loopback) -> None:
    with (
        trail.session("chat-42"),
        trail.trace("answer", distinct_id="u", properties={"plan": "pro"}) as trace,
    ):
        with trail.span("retrieve", type="retrieval", input="q") as span:
            span.output = docs = ["a", "b"]
            assert span.output is docs
            assert span.input == "q"
            span.set(hits=2)
        with trail.options(privacy=True), trail.span("secret", input="hidden"):
            pass
        trace.output = "done"
    events = scopes(trail, loopback)
    answer, retrieve = events["answer"], events["retrieve"]
    assert answer["$ai_session_id"] == "chat-42"
    assert answer["plan"] == retrieve["plan"] == "pro"
    assert answer["$ai_output_state"] == "done"
    assert retrieve["$ai_parent_id"] == trace.trace_id == retrieve["$ai_trace_id"]
    assert retrieve["$ai_input_state"] == "q"
    assert retrieve["$ai_output_state"] == ["a", "b"]
    assert retrieve["$ai_span_type"] == "retrieval"
    assert retrieve["hits"] == 2
    assert "hits" not in answer
    assert events["secret"]["$ai_input_state"] is None


def test_exceptions_mark_the_scope_and_go_on(trail: llmtrail.Client, loopback: Loopback) -> None:
    error = ValueError("no such page")
    with pytest.raises(ValueError, match="no such page") as caught, trail.trace("t"), trail.span("s"):
        raise error
    assert caught.value is error
    assert error.__context__ is None
    events = scopes(trail, loopback)
    for name in ("t", "s"):
        assert events[name]["$ai_is_error"] is True
        assert events[name]["$ai_error"] == "no such page"
        assert events[name]["$ai_error_type"] == "ValueError"
    assert current.get() is None


def test_an_error_that_cannot_be_shown(trail: llmtrail.Client, loopback: Loopback) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(Mute), trail.trace("t"):
        raise Mute
    assert scopes(trail, loopback)["t"]["$ai_is_error"] is True


def test_async_with(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        async with trail.trace("t") as trace, trail.span("s") as span:
            assert span.trace_id == trace.trace_id

    asyncio.run(go())
    assert scopes(trail, loopback).keys() == {"t", "s"}


def test_decorators_of_functions(trail: llmtrail.Client, loopback: Loopback) -> None:
    @trail.trace
    def outer(a: int, *, b: int = 2) -> int:
        "Adds."
        return inner(a) + b

    @trail.span("renamed", type="tool")
    def inner(a: int) -> int:
        assert current.get() is not None
        return a

    @trail.span
    async def later() -> str:
        await asyncio.sleep(0)
        return "x"

    assert outer(1, b=3) == 4
    assert outer(1) == 3
    assert (outer.__name__, outer.__doc__) == ("outer", "Adds.")
    assert asyncio.run(later()) == "x"
    assert asyncio.iscoroutinefunction(later)
    trail.flush(10)
    traces = named(loopback.events(), "$ai_trace")
    assert len({event["properties"]["$ai_trace_id"] for event in traces}) == 2
    assert scopes(trail, loopback).keys() == {"outer", "renamed", "later"}


def test_decorators_of_other_callables(trail: llmtrail.Client, loopback: Loopback) -> None:
    class Tool:
        @trail.span
        def method(self) -> "Tool":
            return self

        async def __call__(self) -> str:
            return "called"

    tool = Tool()
    assert tool.method() is tool
    assert trail.span("partial")(functools.partial(max, 1))(2) == 2
    wrapped: Any = trail.span("callable")(tool)  # type: ignore[type-var]
    assert asyncio.run(wrapped()) == "called"
    assert trail.span("builtin")(len)("abc") == 3
    assert scopes(trail, loopback).keys() == {"method", "partial", "callable", "builtin"}


def test_generators_hold_their_scope_only_while_they_run(trail: llmtrail.Client, loopback: Loopback) -> None:
    @trail.trace
    def numbers() -> Iterator[int | None]:
        here = current.get()
        assert here is not None
        with trail.span("inside"):
            got = yield 1
            assert got == "sent"
            inner = current.get()
            assert inner is not None
            assert inner.name == "inside"
        try:
            yield 2
        except KeyError:
            yield 3
        return 4

    def consume() -> Iterator[Any]:
        result = yield from numbers()
        yield result

    generator: Any = consume()
    assert next(generator) == 1
    assert current.get() is None
    assert generator.send("sent") == 2
    assert generator.throw(KeyError()) == 3
    assert next(generator) == 4
    events = scopes(trail, loopback)
    assert events["inside"]["$ai_parent_id"] == events["numbers"]["$ai_trace_id"]
    assert "$ai_is_error" not in events["numbers"]


def test_a_generator_that_is_left(trail: llmtrail.Client, loopback: Loopback) -> None:
    closed = []

    @trail.span
    def left() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(current.get() is not None)

    @trail.span
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("x")

    generator: Any = left()
    next(generator)
    generator.close()
    with pytest.raises(ValueError, match="x"):
        list(broken())
    assert closed == [True]
    events = scopes(trail, loopback)
    assert "$ai_is_error" not in events["left"]
    assert events["broken"]["$ai_is_error"] is True


def test_async_generators(trail: llmtrail.Client, loopback: Loopback) -> None:
    @trail.span
    async def numbers() -> AsyncIterator[int]:
        try:
            for n in range(3):
                await asyncio.sleep(0)
                assert current.get() is not None
                yield n
        finally:
            await asyncio.sleep(0)

    @trail.span
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("x")

    async def go() -> None:
        seen = []
        async for n in numbers():
            assert current.get() is None
            seen.append(n)
        assert seen == [0, 1, 2]
        generator: Any = numbers()
        assert await generator.__anext__() == 0
        await generator.aclose()
        with pytest.raises(ValueError, match="x"):
            async for _ in broken():
                pass

    asyncio.run(go())
    assert scopes(trail, loopback)["broken"]["$ai_is_error"] is True


def test_misuse_does_not_hurt(trail: llmtrail.Client) -> None:
    scope = trail.trace("t")
    assert scope.trace_id is None
    assert scope.cost_usd is None
    assert scope.usage == {}
    scope.output = 1
    scope.set(a=1)
    with scope, scope:  # entered twice
        assert scope.trace_id
    first = scope.trace_id
    with scope:
        assert scope.trace_id != first
    assert current.get() is None
    scope.__exit__(None, None, None)
    with pytest.raises(TypeError, match="unexpected keyword"):
        trail.trace("t", bogus=1)  # type: ignore[call-overload]


def test_odd_names_and_ids(trail: llmtrail.Client, loopback: Loopback) -> None:
    with trail.trace(7, trace_id="a b/c", session_id=12, distinct_id=object()) as trace:  # type: ignore[call-overload]
        assert trace.trace_id == "a_b_c"
        assert trace.session_id == "12"
    assert scopes(trail, loopback).keys() == {"7"}


def test_a_scope_left_in_another_context(trail: llmtrail.Client, loopback: Loopback) -> None:
    import contextvars

    scope = trail.trace("t")
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)
    assert scopes(trail, loopback).keys() == {"t"}


def test_scopes_may_be_left_in_any_order(trail: llmtrail.Client) -> None:
    """As generators side by side do that hold one open: what is over is never current again."""

    def steps(name: str) -> Iterator[None]:
        with trail.trace(name):
            yield
            yield

    def here() -> str | None:
        scope = current.get()
        return scope and scope.name

    with trail.session("around"):
        around = current.get()
        first, second, third = steps("first"), steps("second"), steps("third")
        for generator in (first, second, third):
            next(generator)
        second.close()
        assert here() == "first"
        list(third)
        assert here() == "first"
        list(first)
        assert current.get() is around
        fourth = steps("fourth")
        next(fourth)
    assert current.get() is None
    with trail.trace("later"):
        list(fourth)
        assert here() == "later"
    assert current.get() is None
