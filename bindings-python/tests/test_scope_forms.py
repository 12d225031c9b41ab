"""Every form of a scope, with calls of a real SDK in it: the whole tree is compared, and the errors in it."""

import asyncio
import contextlib
import gc
import inspect
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import llmtrail
from llmtrail._scopes import current
from support import Loopback, forest, generations, scopes

OURS = str(Path(llmtrail.__file__).parent)


@pytest.fixture
def ask(trail: llmtrail.Client, loopback: Loopback) -> Iterator[Callable[..., Any]]:
    with openai.OpenAI(base_url=loopback.url + "/v1", api_key="sk-test") as client:
        trail.wrap(client, provider="openai")

        def ask(content: str, stream: bool = False) -> Any:
            messages: Any = [{"role": "user", "content": content}]
            return client.chat.completions.create(model="gpt-5-mini", messages=messages, stream=stream)

        yield ask


@pytest.fixture
def aask(trail: llmtrail.Client, loopback: Loopback) -> Callable[..., Awaitable[Any]]:
    async def aask(content: str) -> Any:
        async with openai.AsyncOpenAI(base_url=loopback.url + "/v1", api_key="sk-test") as client:
            trail.wrap(client, provider="openai")
            messages: Any = [{"role": "user", "content": content}]
            return await client.chat.completions.create(model="gpt-5-mini", messages=messages)

    return aask


def tree(trail: llmtrail.Client, loopback: Loopback) -> dict[str, Any]:
    assert current.get() is None
    assert trail.stats().notes == {}
    trail.flush(10)
    return forest(loopback.events())


def errors(trail: llmtrail.Client, loopback: Loopback) -> dict[str, str]:
    """What went wrong, by the name of the scope."""
    events = scopes(trail, loopback)
    return {name: p["$ai_error_type"] for name, p in events.items() if p.get("$ai_is_error")}


def path_of(error: BaseException) -> list[str]:
    """The functions of a traceback without ours."""
    frames = traceback.extract_tb(error.__traceback__)
    assert not frames[-1].filename.startswith(OURS), "ours is where it came from"
    return [frame.name for frame in frames if not frame.filename.startswith(OURS)]


# ---- tasks and threads ----


def test_tasks_and_threads(
    trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any], aask: Callable[..., Awaitable[Any]]
) -> None:
    async def step(name: str) -> None:
        async with trail.span(name):
            await asyncio.sleep(0)
            with trail.span(f"{name} below"):
                await aask(f"{name} asks")

    def work(name: str) -> None:
        with trail.span(name):
            ask(f"{name} asks")

    async def main(pool: ThreadPoolExecutor, bare: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        with trail.trace("t"):
            await asyncio.gather(step("gather 1"), step("gather 2"))
            with trail.span("around"):
                task = asyncio.create_task(step("task"))
            await task  # it is where it was made, which is over
            await loop.run_in_executor(pool, work, "carried pool")
            await loop.run_in_executor(bare, llmtrail.carry(work), "carried function")
            await loop.run_in_executor(None, llmtrail.carry(lambda: work("default executor")))
            await asyncio.to_thread(work, "to_thread")
            pool.submit(work, "submitted").result()
        await loop.run_in_executor(pool, work, "after")

    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as bare:
        asyncio.run(main(llmtrail.carry(pool), bare))

    def asked(name: str) -> dict[str, Any]:
        return {name: {f"{name} asks": {}}}

    def stepped(name: str) -> dict[str, Any]:
        return {name: {f"{name} below": {f"{name} asks": {}}}}

    assert tree(trail, loopback) == {
        "t": stepped("gather 1") | stepped("gather 2") | {"around": stepped("task")}
        | asked("carried pool") | asked("carried function") | asked("default executor")
        | asked("to_thread") | asked("submitted"),
        **asked("after"),
    }  # fmt: skip
    assert errors(trail, loopback) == {}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in 3.11")
def test_a_task_group_whose_task_fails(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def fails() -> None:
        with trail.span("fails"):
            await asyncio.sleep(0)
            raise KeyError("k")

    async def waits() -> None:
        with trail.span("waits"), trail.span("deep"):
            await asyncio.sleep(60)

    async def main() -> None:
        with trail.trace("t"):
            async with asyncio.TaskGroup() as group:
                group.create_task(waits())
                group.create_task(fails())

    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821 - of 3.11
        asyncio.run(main())
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert tree(trail, loopback) == {"t": {"fails": {}, "waits": {"deep": {}}}}
    assert errors(trail, loopback) == {
        "t": "ExceptionGroup", "fails": "KeyError", "waits": "CancelledError", "deep": "CancelledError",
    }  # fmt: skip


# ---- cancellation ----


def forms_of_waiting(trail: llmtrail.Client) -> dict[str, Callable[[], Any]]:
    """The same code that waits for ever: bare, in each form of a scope."""

    async def wait() -> None:
        await asyncio.sleep(60)

    async def in_with() -> None:
        with trail.trace("t"), trail.span("s"):
            await asyncio.sleep(60)

    async def in_async_with() -> None:
        async with trail.trace("t"), trail.span("s"):
            await asyncio.sleep(60)

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(60)

    async def consume(numbers: Callable[[], AsyncIterator[int]]) -> None:
        async for _ in numbers():
            pass

    return {
        "bare": wait,
        "with": in_with,
        "async with": in_async_with,
        "decorated": trail.trace("t")(trail.span("s")(wait)),
        "bare generator": lambda: consume(numbers),
        "generator": lambda: consume(trail.trace("t")(trail.span("s")(numbers))),
    }


@pytest.mark.parametrize("form", ["with", "async with", "decorated", "generator"])
def test_cancellation(trail: llmtrail.Client, loopback: Loopback, form: str) -> None:
    async def cancelled(form: str) -> asyncio.CancelledError:
        async def main() -> None:
            await forms_of_waiting(trail)[form]()

        task = asyncio.create_task(main())
        await asyncio.sleep(0.01)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        return caught.value

    bare = asyncio.run(cancelled("bare generator" if form == "generator" else "bare"))
    error = asyncio.run(cancelled(form))
    assert error.args == bare.args == ("enough",)
    assert error.__context__ is bare.__context__ is None
    # The way that it came: the same functions, the last of them where it was raised.
    rename = {"in_with": "wait", "in_async_with": "wait"}
    assert [rename.get(name, name) for name in path_of(error)] == path_of(bare)
    assert tree(trail, loopback) == {"t": {"s": {}}}
    assert errors(trail, loopback) == {"t": "CancelledError", "s": "CancelledError"}


def test_a_timeout_is_still_one(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def main() -> None:
        with trail.trace("t"):
            await asyncio.wait_for(forms_of_waiting(trail)["with"](), 0.01)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    # A trace in a trace is one of its own.
    trail.flush(10)
    kinds = {(event["event"], event["properties"]["$ai_error_type"]) for event in loopback.events()}
    assert kinds == {
        ("$ai_trace", "TimeoutError"), ("$ai_trace", "CancelledError"), ("$ai_span", "CancelledError"),
    }  # fmt: skip


# ---- exceptions ----


def test_an_exception_comes_the_way_that_it_came(trail: llmtrail.Client, loopback: Loopback) -> None:
    def fail() -> None:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("x") from cause

    def numbers() -> Iterator[int]:
        yield 1
        fail()

    def caught(function: Callable[[], Any]) -> ValueError:
        with pytest.raises(ValueError, match="x") as caught:
            function()
        return caught.value

    bare = caught(fail)
    error = caught(trail.trace("t")(trail.span("s")(fail)))
    assert path_of(error) == path_of(bare)
    assert isinstance(error.__cause__, KeyError)
    bare = caught(lambda: list(numbers()))
    error = caught(lambda: list(trail.trace("u")(trail.span("v")(numbers))()))
    assert path_of(error) == path_of(bare)
    assert error.__context__ is error.__cause__
    assert tree(trail, loopback) == {"t": {"s": {}}, "u": {"v": {}}}
    assert errors(trail, loopback) == dict.fromkeys("tsuv", "ValueError")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_goes_on_too(
    trail: llmtrail.Client, loopback: Loopback, kind: type[BaseException]
) -> None:
    with pytest.raises(kind), trail.trace("t"), trail.span("s"):
        raise kind
    assert tree(trail, loopback) == {"t": {"s": {}}}
    assert errors(trail, loopback) == dict.fromkeys("ts", kind.__name__)


def test_an_exception_is_not_kept(trail: llmtrail.Client) -> None:
    class Heavy(Exception):
        pass

    def plain() -> None:
        raise Heavy

    def numbers() -> Iterator[int]:
        yield 1
        raise Heavy

    async def later() -> None:
        raise Heavy

    async def anumbers() -> AsyncIterator[int]:
        yield 1
        raise Heavy

    async def consume() -> None:
        async for _ in trail.span(anumbers)():
            pass

    def thrown() -> None:
        generator: Any = trail.span(numbers)()
        next(generator)
        generator.throw(Heavy())

    def gone(function: Callable[[], Any]) -> bool:
        try:
            function()
        except Heavy as error:
            reference = weakref.ref(error)
        return reference() is None

    gc.collect()
    gc.disable()
    try:
        for function in (
            trail.span(plain),
            lambda: list(trail.span(numbers)()),
            thrown,
            lambda: trail.span(later)().send(None),
            lambda: consume().send(None),
        ):
            assert gone(function), function
    finally:
        gc.enable()


# ---- generators ----


def test_generators_side_by_side(trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any]) -> None:
    @trail.span("decorated")
    def decorated(name: str) -> Generator[str, None, str]:
        with trail.span(f"{name} inside"):
            ask(f"{name} 1")
            yield name
            ask(f"{name} 2")
        yield name
        ask(f"{name} 3")
        return name

    @trail.trace("b")
    def other() -> Iterator[str]:
        yield from decorated("b")

    with trail.trace("a"):
        first = decorated("a")
        second = other()
        for n, generator in enumerate((first, second, first, second)):
            assert next(generator) in ("a", "b")
            with trail.span(f"between {n}"):
                pass
        assert list(first) == list(second) == []
    between: dict[str, Any] = {f"between {n}": {} for n in range(4)}
    assert tree(trail, loopback) == {
        "a": {"decorated": {"a inside": {"a 1": {}, "a 2": {}}, "a 3": {}}, **between},
        "b": {"decorated": {"b inside": {"b 1": {}, "b 2": {}}, "b 3": {}}},
    }
    assert inspect.isgeneratorfunction(other)


@pytest.mark.parametrize("way", ["close", "forgotten", "never begun", "thrown into"])
def test_a_generator_that_is_left_in_the_middle(
    trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any], way: str
) -> None:
    @trail.span("numbers")
    def numbers() -> Iterator[int]:
        with trail.span("inside"):
            try:
                yield 1
                yield 2
            finally:
                ask("at last")

    with trail.trace("t"):
        generator: Any = numbers()
        if way != "never begun":
            assert next(generator) == 1
    if way == "close":
        generator.close()
        generator.close()
    elif way == "thrown into":
        error = LookupError("mine")
        with pytest.raises(LookupError) as caught:
            generator.throw(error)
        assert caught.value is error
        assert list(generator) == []
    del generator
    gc.collect()
    inside = {} if way == "never begun" else {"numbers": {"inside": {"at last": {}}}}
    assert tree(trail, loopback) == {"t": inside}
    # To be closed is no error.
    thrown = {"inside": "LookupError", "numbers": "LookupError"}
    assert errors(trail, loopback) == (thrown if way == "thrown into" else {})


@pytest.mark.parametrize("way", ["aclose", "left by its loop", "cancelled"])
def test_an_async_generator_that_is_left_in_the_middle(
    trail: llmtrail.Client, loopback: Loopback, way: str
) -> None:
    @trail.span("numbers")
    async def numbers() -> AsyncIterator[int]:
        with trail.span("inside"):
            try:
                yield 1
                await asyncio.sleep(60)
            finally:
                async with trail.span("at last"):
                    await asyncio.sleep(0)

    kept = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: pytest.fail(str(what)))
        with trail.trace("t"):
            generator: Any = numbers()
            kept.append(generator)
            assert await generator.__anext__() == 1
            assert current.get() is not None
            assert current.get().name == "t"  # type: ignore[union-attr]
        assert current.get() is None
        if way == "aclose":
            await generator.aclose()
            await generator.aclose()
        elif way == "cancelled":
            task = asyncio.ensure_future(generator.__anext__())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # Else the loop closes it when it ends.

    asyncio.run(main())
    assert tree(trail, loopback) == {"t": {"numbers": {"inside": {"at last": {}}}}}
    assert errors(trail, loopback) == (
        {"inside": "CancelledError", "numbers": "CancelledError"} if way == "cancelled" else {}
    )


def test_generators_that_misbehave_do_so_as_before(trail: llmtrail.Client, loopback: Loopback) -> None:
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    def stops() -> Iterator[int]:
        yield 1
        raise StopIteration

    for function, go in ((stubborn, lambda it: (next(it), it.close())), (stops, list)):
        texts = []
        for form in (function, trail.span(function)):
            with pytest.raises(RuntimeError) as caught:
                go(form())
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    assert errors(trail, loopback) == {"stubborn": "RuntimeError", "stops": "RuntimeError"}
    with pytest.raises(TypeError, match="positional argument"):
        next(trail.span(stubborn)(7))  # type: ignore[call-arg]


# ---- methods, decorators with arguments, nesting, streams ----


def test_methods_of_every_kind(
    trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any], aask: Callable[..., Awaitable[Any]]
) -> None:
    class Agent:
        kind = "agent"

        @trail.trace("plan", distinct_id="u", session_id="s", properties={"step": 1}, groups={"company": "a"})
        def plan(self, question: str, *, depth: int = 1) -> str:
            assert self.of_class() == self.static(depth) == "agent"
            assert asyncio.run(self.later()) == [1, 2]
            return question

        @trail.span("of_class", type="tool", input={"from": "decorator"}, privacy=False)
        @classmethod
        def of_class(cls) -> str:
            ask("of_class asks")
            return cls.kind

        @staticmethod
        @trail.span
        def static(depth: int) -> str:
            ask(f"static asks {depth}")
            return Agent.kind

        @trail.span
        async def later(self) -> list[int]:
            await aask("later asks")
            return [n async for n in self.numbers()]

        @trail.span(type="chain")
        async def numbers(self) -> AsyncIterator[int]:
            for n in (1, 2):
                await aask(f"number {n}")
                yield n

    assert Agent().plan("q", depth=3) == "q"
    assert Agent.plan.__qualname__.endswith("Agent.plan")
    assert tree(trail, loopback) == {
        "plan": {
            "of_class": {"of_class asks": {}},
            "static": {"static asks 3": {}},
            "later": {"later asks": {}, "numbers": {"number 1": {}, "number 2": {}}},
        }
    }
    for event in loopback.events():
        properties = event["properties"]
        assert (event["distinct_id"], properties["$ai_session_id"], properties["step"]) == ("u", "s", 1)
        assert properties["$groups"] == {"company": "a"}
    assert scopes(trail, loopback)["of_class"]["$ai_input_state"] == {"from": "decorator"}


def test_a_trace_in_a_trace(trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any]) -> None:
    with trail.session("s"), trail.trace("outer", distinct_id="u", properties={"a": 1}) as outer:
        with trail.span("step"):
            with contextlib.suppress(ValueError), trail.trace("inner", properties={"b": 2}) as inner:
                with trail.span("inner step"):
                    ask("inner asks")
                raise ValueError
            ask("outer asks")
    assert outer.trace_id != inner.trace_id
    assert tree(trail, loopback) == {
        "outer": {"step": {"outer asks": {}}},
        "inner": {"inner step": {"inner asks": {}}},
    }
    assert errors(trail, loopback) == {"inner": "ValueError"}
    events = scopes(trail, loopback)
    assert all(event["$ai_session_id"] == "s" for event in events.values())
    assert (events["inner step"]["a"], events["inner step"]["b"]) == (1, 2)
    assert "b" not in events["step"]


@pytest.mark.parametrize("way", ["read", "left", "in another thread"])
def test_a_stream_that_outlives_its_scope(
    trail: llmtrail.Client, loopback: Loopback, ask: Callable[..., Any], way: str
) -> None:
    with trail.trace("t"), trail.span("s"):
        stream = ask("stream", stream=True)
    with trail.trace("later"):
        if way == "read":
            assert len(list(stream)) > 1
        elif way == "left":
            next(iter(stream))
            stream.close()
        else:
            with ThreadPoolExecutor(1) as pool:
                assert len(llmtrail.carry(pool).submit(list, stream).result()) > 1
        ask("plain")
    assert tree(trail, loopback) == {"t": {"s": {"stream": {}}}, "later": {"plain": {}}}
    calls = [event["properties"] for event in generations(loopback.events())]
    (status,) = [p["$ai_stream_status"] for p in calls if p["$ai_stream"]]
    assert status == ("abandoned" if way == "left" else "complete")


def test_generators_are_carried(trail: llmtrail.Client, loopback: Loopback) -> None:
    def numbers() -> Iterator[int]:
        with trail.span("sync"):
            yield 1

    async def anumbers() -> AsyncIterator[int]:
        with trail.span("async"):
            yield 1

    async def main() -> None:
        assert [n async for n in second()] == [1]

    with trail.trace("t"):
        first, second = llmtrail.carry(numbers), llmtrail.carry(anumbers)
    assert list(first()) == [1]
    asyncio.run(main())
    assert tree(trail, loopback) == {"t": {"sync": {}, "async": {}}}
