"""Scopes: which session, trace and span a call is in, by a context variable."""

from __future__ import annotations

import sys
from contextvars import ContextVar

from ._json import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextvars import Token
    from types import TracebackType
    from typing import Any, TypeVar

    from . import _core

    F = TypeVar("F", bound=Callable[..., Any])
    Kind = type[BaseException]

current: ContextVar[_core.Scope | None] = ContextVar("llmtrail", default=None)

# How long to wait for the calls of a scope to be decoded when their cost is asked for.
_SETTLE = 1.0

_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200  # as in `inspect`, which is heavy


def scope_of_call(trail: _core.Client) -> _core.Scope | None:
    """The scope of a call that begins now; outside of any trace that of the active OpenTelemetry trace."""
    scope = current.get()
    if "opentelemetry.trace" in sys.modules and (scope is None or scope.trace_id is None):
        trace_id = _otel_trace_id()
        if trace_id is not None:
            return trail.open("options", scope, f'{{"trace_id":"{trace_id}"}}')
    return scope


def _otel_trace_id() -> str | None:
    """The id of the active OpenTelemetry trace. The package is only looked at where the program has imported it."""
    api: Any = sys.modules.get("opentelemetry.trace")
    try:
        context = api.get_current_span().get_span_context()
        return format(context.trace_id, "032x") if context.is_valid else None
    except Exception:
        return None


class Scope:
    """A session, trace, span or set of options; use it with `with`, `async with` or as a decorator.

    Nothing here raises: an exception of the code inside marks the scope as an error and goes on unchanged.
    """

    __slots__ = ("_client", "_core", "_ended", "_input", "_kind", "_options", "_output", "_tokens", "_trail")

    def __init__(self, client: Callable[[], _core.Client], kind: str, options: dict[str, Any]) -> None:
        self._client = client
        self._kind = kind
        self._options = options
        self._trail: _core.Client | None = None
        self._core: _core.Scope | None = None
        self._tokens: list[Token[_core.Scope | None]] = []
        self._ended = False
        self._input: Any = options.get("input")
        self._output: Any = None

    # What can be seen and said of it.

    @property
    def name(self) -> str | None:
        """Its name."""
        return self._options.get("name")

    @name.setter
    def name(self, name: str) -> None:
        self._options["name"] = name
        self._tell(lambda core: core.set_name(str(name)))

    @property
    def type(self) -> str | None:
        """A span's type: `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text."""
        return self._options.get("type")

    @type.setter
    def type(self, kind: str) -> None:
        self._options["type"] = kind
        self._tell(lambda core: core.set_type(str(kind)))

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that calls in here belong to; None before it begins and outside any trace."""
        return self._core and self._core.trace_id

    @property
    def span_id(self) -> str | None:
        """The span's id; None for other kinds."""
        return self._core and self._core.span_id

    @property
    def session_id(self) -> str | None:
        """The id of the session that calls in here belong to."""
        return self._core and self._core.session_id

    @property
    def distinct_id(self) -> str | None:
        """The person or machine that calls in here are for."""
        return self._core and self._core.distinct_id

    @property
    def cost_usd(self) -> float | None:
        """What the calls inside cost so far, in US dollars; None when there were calls and no cost is known.

        Waits (at most a second) until the calls that ended are decoded; without the GIL.
        """
        totals = self._totals()
        return totals and totals[2]

    @property
    def usage(self) -> dict[str, int]:
        """What the calls inside used so far: units by bucket, those reported. Waits like `cost_usd`."""
        totals = self._totals()
        return totals[3] if totals else {}

    @property
    def input(self) -> Any:
        """What went in."""
        return self._input

    @input.setter
    def input(self, value: Any) -> None:
        self._input = value
        self._say(lambda core: core.set_input, value)

    @property
    def output(self) -> Any:
        """What came out."""
        return self._output

    @output.setter
    def output(self, value: Any) -> None:
        self._output = value
        self._say(lambda core: core.set_output, value)

    def set(self, **properties: Any) -> None:
        """Adds properties to this scope's own event."""
        self._say(lambda core: core.set_properties, properties)

    # Its life.

    def start(self) -> Scope:
        """Opens it without entering it: it lasts until `end`, and what is to be inside of it goes into `inside()`."""
        self._begin()
        return self

    def inside(self) -> _Inside:
        """Makes a scope that was started the current one: `with scope.inside(): ...`. It goes on after that."""
        return _Inside(self)

    def end(self, error: BaseException | None = None) -> None:
        """Ends it, with what went wrong, if anything did. Only the first end counts."""
        self._end(error)

    def __enter__(self) -> Scope:
        self._begin()
        self._tokens.append(current.set(self._core))
        return self

    def __exit__(
        self,
        kind: Kind | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tokens:
            now, token = current.get(), self._tokens.pop()
            try:
                # One that was left behind, for a scope around it ended first, as generators side by side do: what was
                # before it may be over, and whoever is current now has nothing to do with it.
                if now is self._core or (
                    now is not None and self._core is not None and now.is_inside(self._core)
                ):
                    current.reset(token)
            except (ValueError, RuntimeError):
                pass  # left in another context than it was entered in: nothing to put back here
        if not self._tokens:
            self._end(error)

    async def __aenter__(self) -> Scope:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: Kind | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Decorates a function, coroutine function or generator function: each call of it is such a scope."""
        from functools import wraps

        if isinstance(function, (classmethod, staticmethod)):
            return function.__class__(self(function.__func__))
        wrapper: Any
        kind = _kind_of(function)
        if kind == _COROUTINE:

            @wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again(function):
                    return await function(*args, **kwargs)

        elif kind:
            wrapper = of_generator(kind, function, lambda: self._again(function))

        else:

            @wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again(function):
                    return function(*args, **kwargs)

        return wrapper  # type: ignore[no-any-return]

    # How it does it.

    def _again(self, function: Any) -> Scope:
        options = dict(self._options)
        if options.get("name") is None and self._kind in ("trace", "span"):
            options["name"] = getattr(function, "__name__", None)
        return Scope(self._client, self._kind, options)

    def _begin(self) -> None:
        if self._core is not None and (self._tokens or not self._ended):
            return
        try:
            trail = self._trail = self._client()
            self._ended = False
            outer = current.get()
            options = self._options
            if "opentelemetry.trace" in sys.modules and self._kind in ("trace", "span"):
                options = {**options, "otel_trace_id": _otel_trace_id()}
            self._core = hand_over(lambda json: trail.open(self._kind, outer, json), options)
        except Exception:
            self._trouble()
            self._core = current.get()
            self._trail = None

    def _end(self, error: BaseException | None) -> None:
        if self._trail is None or self._core is None or self._ended:
            return
        self._ended = True
        try:
            if error is not None and not isinstance(
                error, GeneratorExit
            ):  # which is how a generator is left early
                self._core.set_error(type(error).__name__, _message(error))
            self._trail.close(self._core)
        except Exception:
            self._trouble()

    def _say(self, what: Callable[[_core.Scope], Callable[[str], None]], value: Any) -> None:
        self._tell(lambda core: hand_over(what(core), value))

    def _tell(self, what: Callable[[_core.Scope], None]) -> None:
        if self._trail is None or self._core is None:
            return
        try:
            what(self._core)
        except Exception:
            self._trouble()

    def _totals(self) -> tuple[int, int, float | None, dict[str, int]] | None:
        if self._trail is None or self._core is None:
            return None
        try:
            return self._trail.totals(self._core, _SETTLE)
        except Exception:
            self._trouble()
            return None

    def _trouble(self) -> None:
        if self._trail is not None:
            self._trail.note()

    def __repr__(self) -> str:
        return f"<llmtrail {self._kind} {self.name or ''} trace_id={self.trace_id}>"


def _message(error: BaseException) -> str:
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception:
        return ""


def _kind_of(function: Any) -> int:
    code = getattr(function, "__code__", None)
    if code is not None:
        flags: int = code.co_flags
    else:
        import inspect  # partial functions, methods of extension modules, callable objects

        call = (
            function if inspect.isroutine(function) or hasattr(function, "func") else type(function).__call__
        )
        flags = (
            _COROUTINE * inspect.iscoroutinefunction(call)
            | _GENERATOR * inspect.isgeneratorfunction(call)
            | _ASYNC_GENERATOR * inspect.isasyncgenfunction(call)
        )
    return flags & (_COROUTINE | _GENERATOR | _ASYNC_GENERATOR)


class _Inside:
    """Makes a scope current only while a generator runs, not while its consumer does."""

    __slots__ = ("_context", "_token")

    def __init__(self, scope: Scope | Carried) -> None:
        self._context = scope._core
        self._token: Token[_core.Scope | None] | None = None

    def __enter__(self) -> None:
        self._token = current.set(self._context)

    def __exit__(self, *_: object) -> None:
        # The generator may have suspended within a scope of its own: that is where it goes on.
        self._context = current.get()
        if self._token is not None:
            try:  # noqa: SIM105
                current.reset(self._token)
            except ValueError:
                pass  # resumed and suspended in different contexts


class Carried:
    """A scope that somebody else begins and ends."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Scope | None) -> None:
        self._core = core

    def _begin(self) -> None:
        pass

    def _end(self, error: BaseException | None) -> None:
        pass


def _first_step(generator: AsyncGenerator[Any, Any], _: None) -> Any:
    """Begins a generator behind its event loop's back. A loop that ends closes those that it knows: the one around
    this closes it too, and of two at once one fails."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def of_generator(kind: int, function: Callable[..., Any], opened: Callable[[], Scope | Carried]) -> Any:
    """A generator function, sync or async as the one around which it is, that runs in a scope.

    It is a real one, for other decorators and frameworks look at what a function is. Nothing in its frame outlives a
    step: an exception's traceback holds the frame, so it would hold itself.
    """
    from functools import partial, wraps

    wrapper: Any
    if kind == _GENERATOR:

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator = function(*args, **kwargs)
            scope = opened()
            scope._begin()
            inside = _Inside(scope)
            sent: Any = None
            resume: Callable[[Any], Any] = generator.send
            try:
                while True:
                    try:
                        with inside:
                            item = resume(sent)
                    except StopIteration as stop:
                        scope._end(None)
                        return stop.value
                    sent = None
                    try:
                        sent, resume = (yield item), generator.send
                    except GeneratorExit:
                        with inside:
                            generator.close()
                        raise
                    except BaseException as error:
                        sent, resume = error, generator.throw
                    item = None
            except BaseException as error:
                scope._end(error)
                raise
            finally:
                sent = None

    else:

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            generator = function(*args, **kwargs)
            scope = opened()
            scope._begin()
            inside = _Inside(scope)
            sent: Any = None
            resume: Callable[[Any], Any] = partial(_first_step, generator)
            try:
                while True:
                    try:
                        with inside:
                            item = await resume(sent)
                    except StopAsyncIteration:
                        scope._end(None)
                        return
                    sent = None
                    try:
                        sent, resume = (yield item), generator.asend
                    except GeneratorExit:
                        with inside:
                            await generator.aclose()
                        raise
                    except BaseException as error:
                        sent, resume = error, generator.athrow
                    item = None
            except BaseException as error:
                scope._end(error)
                raise
            finally:
                sent = None

    return wrapper
