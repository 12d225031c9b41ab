"""Capture by hand: for what has no HTTP exchange to observe, and for what people say of a trace."""

from __future__ import annotations

from ._json import hand_over
from ._scopes import Scope, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Any, TypedDict

    from typing_extensions import Unpack

    from . import _core

    class Where(TypedDict, total=False):
        """Whom an event is for and where it belongs; what is absent is that of the surrounding scope."""

        distinct_id: str | None
        session_id: str | None
        trace_id: str | None
        parent_id: str | None
        properties: Mapping[str, Any] | None
        groups: Mapping[str, str] | None
        privacy: bool | None

    class Call(Where, total=False):
        """What can be told of a generation or an embedding. Everything is optional; what is absent stays absent."""

        name: str | None
        model: str | None
        provider: str | None
        input: Any
        output: Any
        tools: Sequence[Any] | None
        parameters: Mapping[str, Any] | None
        usage: Any
        cost_usd: float | str | None
        stop_reason: str | None
        stream: bool | None
        timestamp: datetime | float | None
        latency: float | None
        time_to_first_token: float | None
        http_status: int | None
        base_url: str | None
        error: BaseException | str | None
        error_type: str | None
        span_id: str | None

    class Step(Where, total=False):
        """What can be told of a span or a trace."""

        input: Any
        output: Any
        timestamp: datetime | float | None
        latency: float | None
        error: BaseException | str | None
        error_type: str | None


class Manual:
    """The part of a client that captures by hand."""

    __slots__ = ()

    def _resolve(self) -> _core.Client:
        raise NotImplementedError

    def capture(
        self,
        event: str,
        distinct_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        timestamp: datetime | float | None = None,
        uuid: object = None,
        groups: Mapping[str, str] | None = None,
    ) -> str:
        """Sends any event as it is; returns its id.

        Inside a scope it gets the scope's distinct id, groups, properties, trace and session where it has none of its
        own. `timestamp` is a datetime or seconds since 1970; now when absent.

        Raises:
            LlmtrailError: the event has no name, or `timestamp` or `uuid` is none.
        """
        options = {
            "distinct_id": distinct_id,
            "properties": properties,
            "timestamp": timestamp,
            "uuid": None if uuid is None else str(uuid),
            "groups": groups,
        }
        core = self._resolve()
        return hand_over(lambda json: core.capture(current.get(), event, json), _plain(options))

    def capture_generation(self, **call: Unpack[Call]) -> str:
        """Records a generation that no transport saw: priced, redacted and placed like an observed one.

        Args:
            call: `model` and `provider` decide the price. `input` is a text or messages; `output` a text, a message
                or a list with one message per choice. `usage` is the provider's own usage object, or counts by
                name: `input_tokens`, `output_tokens`, `cache_read_input_tokens`, `reasoning_tokens` and so on.
                `latency` and `time_to_first_token` are seconds; `timestamp` is the start. `error` is an exception
                or a text.

        Returns:
            Its span id, by which other events can name it as their `parent_id`.

        Raises:
            LlmtrailError: a name that is none of these.
        """
        return _capture(self._resolve(), False, call)

    def capture_embedding(self, **call: Unpack[Call]) -> str:
        """Records an embedding that no transport saw; see `capture_generation`. Vectors are not recorded."""
        return _capture(self._resolve(), True, call)

    def capture_span(
        self,
        name: str | None = None,
        *,
        type: str | None = None,
        span_id: str | None = None,
        **step: Unpack[Step],
    ) -> str:
        """Records a span that is over; returns its id. `latency` is in seconds, `timestamp` is its start."""
        core, members = self._resolve(), _plain(step)
        members.update(name=name, type=type, span_id=span_id)
        return hand_over(lambda json: core.capture_step(current.get(), "span", json), members)

    def capture_trace(self, name: str | None = None, **step: Unpack[Step]) -> str:
        """Records a trace that is over, to whose `trace_id` calls and spans may belong; returns that id."""
        core, members = self._resolve(), _plain(step)
        members["name"] = name
        return hand_over(lambda json: core.capture_step(current.get(), "trace", json), members)

    def feedback(
        self,
        trace: Scope | str | None = None,
        score: float | bool | str | None = None,
        comment: str | None = None,
        *,
        distinct_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """What somebody thinks of a trace: an open one, one by its id, or the current one.

        The score becomes a metric of the name `score`, the comment a feedback text.

        Raises:
            LlmtrailError: neither score nor comment, or no trace.
        """
        options = {"score": score, "comment": comment, "distinct_id": distinct_id, "properties": properties}
        core, which = self._resolve(), _trace(trace)
        hand_over(lambda json: core.feedback(current.get(), which, json), options)

    def metric(
        self,
        trace: Scope | str | None,
        name: str,
        value: Any,
        *,
        distinct_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """A measurement of a trace, such as an evaluation's grade. `trace` as in `feedback`.

        Raises:
            LlmtrailError: the metric has no name, or there is no trace.
        """
        options = {"value": value, "distinct_id": distinct_id, "properties": properties}
        core, which = self._resolve(), _trace(trace)
        hand_over(lambda json: core.metric(current.get(), which, str(name), json), options)

    def generation(self, **call: Unpack[Call]) -> Generation:
        """A generation of your own while it lasts: `with llmtrail.generation(model=...) as g: g.output = ...`.

        Its times are those of the block, its error the block's. See `capture_generation` for what can be told.
        """
        return Generation(self, False, dict(call))

    def embedding(self, **call: Unpack[Call]) -> Generation:
        """The same for an embedding."""
        return Generation(self, True, dict(call))


class Generation:
    """A call of your own while it lasts. Set what is known of it as attributes; nothing here raises.

    Use it with `with` or `async with`; or `start()` it and `end()` it.
    """

    __slots__ = ("_call", "_embedding", "_surface", "_timer", "_trail")

    def __init__(self, surface: Manual, embedding: bool, call: dict[str, Any]) -> None:
        self._surface = surface
        self._embedding = embedding
        self._call = call
        self._trail: _core.Client | None = None
        self._timer: _core.Timer | None = None

    @property
    def span_id(self) -> str | None:
        """Its own id, by which others can name it as their `parent_id`; None before it begins."""
        return self._timer and self._timer.id

    def _member(name: str, doc: str) -> Any:  # type: ignore[misc]
        def get(self: Generation) -> Any:
            return self._call.get(name)

        def put(self: Generation, value: Any) -> None:
            self._call[name] = value

        return property(get, put, doc=doc)

    model: str | None = _member("model", "The model that answers.")
    provider: str | None = _member("provider", "Who serves it.")
    input: Any = _member("input", "A text or messages.")
    output: Any = _member("output", "The answer: a text, a message, or one message per choice.")
    usage: Any = _member("usage", "What it used, as in `capture_generation`.")
    cost_usd: float | str | None = _member(
        "cost_usd", "What it cost, where that is known better than from a list."
    )
    stop_reason: str | None = _member("stop_reason", "Why the answer ended.")
    http_status: int | None = _member("http_status", "The HTTP status.")
    error: BaseException | str | None = _member("error", "What went wrong.")
    del _member

    def set(self, **properties: Any) -> None:
        """Adds properties to its event."""
        self._call["properties"] = {**(self._call.get("properties") or {}), **properties}

    def first_token(self) -> None:
        """The first piece of the answer came. Only the first call counts."""
        if self._timer is not None:
            self._timer.first_token()

    def start(self) -> Generation:
        """Starts its clock. It belongs to the scope that is current now."""
        if self._timer is None:
            try:
                self._trail = self._surface._resolve()
                self._timer = self._trail.timer(current.get(), self._embedding)
            except Exception:
                self._trouble()
        return self

    def end(self, error: BaseException | None = None) -> None:
        """Ends and records it. Only the first call counts."""
        timer = self._timer
        if timer is None:
            return
        if error is not None:
            self._call["error"] = error
        try:
            hand_over(timer.end, _plain(self._call))
        except Exception:
            self._trouble()

    def __enter__(self) -> Generation:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Generation:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)

    def _trouble(self) -> None:
        if self._trail is not None:
            self._trail.note()


def _capture(core: _core.Client, embedding: bool, call: Any) -> str:
    scope = current.get()
    span_id = core.capture_plain_call(scope, embedding, call)
    if span_id is None:
        return hand_over(lambda json: core.capture_call(scope, embedding, json), _plain(call))
    return span_id


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was told, with times as seconds and exceptions as what they say."""
    members = dict(given)
    at = members.get("timestamp")
    if at is not None and not isinstance(at, (int, float)) and hasattr(at, "timestamp"):
        members["timestamp"] = at.timestamp()
    error = members.get("error")
    if isinstance(error, BaseException):
        from ._scopes import _message

        members["error"] = _message(error)
        if members.get("error_type") is None:
            members["error_type"] = type(error).__name__
    return members


def _trace(trace: Scope | str | None) -> _core.Scope | str | None:
    return trace._core if isinstance(trace, Scope) else None if trace is None else str(trace)
