"""The client, and the default one, whose methods are the module's functions."""

from __future__ import annotations

from . import _core, _lifecycle
from ._json import hand_over
from ._manual import Manual
from ._scopes import Scope, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from decimal import Decimal
    from typing import Any, Literal, TypedDict, TypeVar, overload

    from typing_extensions import Unpack

    from ._budget import Budget
    from ._cost import Cost
    from ._errors import LlmtrailError
    from ._hooks import Hooks, Policy
    from ._totals import FinishedCall, Totals

    Money = Decimal | float | str
    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])

    class Options(TypedDict, total=False):
        """Options of `init` and `Client`. Times are seconds. What is not given comes from the environment."""

        api_key: str | None
        host: str | None
        distinct_id: str | None
        properties: Mapping[str, Any] | None
        groups: Mapping[str, str] | None
        enabled: bool | None
        debug: bool | None
        sample_rate: float | None
        keep_errors: bool | None
        privacy: bool | None
        full_capture: bool | None
        store: Policy | None
        detectors: bool | Sequence[Literal["email", "phone", "card", "iban", "ip"]] | None
        stream_usage: bool | None
        tool_spans: bool | None
        flush_at: int | None
        flush_interval: float | None
        max_retries: int | None
        timeout: float | None
        gzip: bool | None
        max_memory: int | None
        spool: Literal["off", "overflow", "always"] | None
        dir: str | os.PathLike[str] | None
        store_max_age: str | None
        store_max_size: str | None
        prices: str | os.PathLike[str] | None
        prices_update: bool | None
        prices_url: str | None
        hosts: Mapping[str, str] | None
        local: bool | None
        before_send: Callable[[dict[str, Any]], dict[str, Any] | None] | None
        on_error: Callable[[LlmtrailError], object] | None
        on_generation: Callable[[FinishedCall], object] | None
        redact: Callable[[str], str] | Callable[[str, str], str] | None

else:

    def overload(function):  # `typing` would cost an import
        return function


_FLUSH_TIMEOUT = 10.0
_HOOKS = ("before_send", "on_error", "on_generation", "redact")


class _Surface(Manual):
    """What a client can do. Written once for clients and for the module's functions."""

    __slots__ = ()

    def wrap(self, client: T, provider: str | None = None, copy: bool = False) -> T:
        """Observes the calls of a provider's SDK client; returns the same object.

        The client keeps its type, its transport, its connections and its results. Copies made by
        `with_options` are observed too; wrapping twice does nothing more.

        Args:
            client: a client of openai, anthropic, google-genai, mistralai, groq, cohere, together, ollama, boto3 or
                aioboto3, sync or async; a chat model of LangChain's that holds one; or an HTTP client of httpx,
                httpx2, requests or aiohttp.
            provider: names the provider where its host does not tell.
            copy: leaves the client alone and returns an observed twin that shares its connections. Served for httpx
                clients and for SDK clients that have `with_options`, and Ollama's.

        Raises:
            TypeError: the object is none that can be observed, or no twin of it can be made.
        """
        from ._wrap import wrap

        return wrap(client, provider, copy, self._resolve)

    def instrument(self) -> None:
        """Observes the whole process: every call that goes through httpx, httpx2, requests, aiohttp or botocore.

        Clients that were built before are seen too, and so are libraries that are imported later. Requests that are
        no calls to a model are left alone. A client that is wrapped as well gives one event a call, by its own
        settings. The process is observed for one llmtrail client at a time, the last that asked.
        """
        from ._instrument import instrument

        instrument(self._resolve)

    def uninstrument(self) -> None:
        """Ends what `instrument` began. Clients that are wrapped stay observed."""
        from ._instrument import uninstrument

        uninstrument()

    @overload
    def trace(self, name: F) -> F: ...
    @overload
    def trace(
        self,
        name: str | None = None,
        *,
        input: Any = None,
        distinct_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Scope: ...
    def trace(
        self,
        name: Any = None,
        *,
        input: Any = None,
        distinct_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Any:
        """A trace: everything done for one request. Calls and spans inside belong to it.

        It sends `$ai_trace` at its end. Use it with `with`, `async with`, or as a decorator (with or without
        arguments) of functions, coroutine functions and generators.
        """
        options = {"input": input, "session_id": session_id, "trace_id": trace_id, "privacy": privacy}
        return _scope(self, "trace", name, options, distinct_id, properties, groups)

    @overload
    def span(self, name: F) -> F: ...
    @overload
    def span(
        self,
        name: str | None = None,
        *,
        type: str | None = None,
        input: Any = None,
        distinct_id: str | None = None,
        session_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Scope: ...
    def span(
        self,
        name: Any = None,
        *,
        type: str | None = None,
        input: Any = None,
        distinct_id: str | None = None,
        session_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Any:
        """A span: one operation inside a trace, such as a retrieval or a tool call.

        It sends `$ai_span` at its end. `type` is `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free
        text. Use it like `trace`.
        """
        options = {"input": input, "session_id": session_id, "type": type, "privacy": privacy}
        return _scope(self, "span", name, options, distinct_id, properties, groups)

    def session(
        self,
        session_id: str | None = None,
        *,
        distinct_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Scope:
        """A session: groups traces, such as a conversation. Without an id it gets a fresh one."""
        options = {"session_id": session_id, "privacy": privacy}
        scope: Scope = _scope(self, "session", None, options, distinct_id, properties, groups)
        return scope

    def options(
        self,
        *,
        distinct_id: str | None = None,
        session_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        groups: Mapping[str, str] | None = None,
        privacy: bool | None = None,
    ) -> Scope:
        """Options for the calls inside.

        Nested ones merge and the inner wins; privacy can be tightened, never loosened.
        """
        options = {"session_id": session_id, "privacy": privacy}
        scope: Scope = _scope(self, "options", None, options, distinct_id, properties, groups)
        return scope

    def cost(
        self,
        model: str | None = None,
        *,
        provider: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        cache_write_1h_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        audio_input_tokens: int | None = None,
        audio_output_tokens: int | None = None,
        audio_cache_read_tokens: int | None = None,
        image_input_tokens: int | None = None,
        image_output_tokens: int | None = None,
        requests: int | None = None,
        web_searches: int | None = None,
        cache_exclusive: bool | None = None,
        reasoning_exclusive: bool | None = None,
        service_tier: str | None = None,
        region: str | None = None,
        at: datetime | float | str | None = None,
        reported_cost: Money | None = None,
        properties: Mapping[str, Any] | None = None,
        prices: str | os.PathLike[str] | Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    ) -> Cost:
        """What a call costs, exactly, and how that is known. Nothing is captured or sent.

        Counts are as the provider counts: cached tokens are inside `input_tokens` at OpenAI and Gemini, beside
        them at Anthropic; reasoning is inside `output_tokens` at OpenAI, beside them at Gemini. Where that is
        not so, `cache_exclusive` and `reasoning_exclusive` say how it is.

        Args:
            model: as the call or the response names it.
            provider: as in `$ai_provider`, or an alias (`gemini`, `bedrock`, ...); without it the model's maker.
            cache_write_tokens: tokens written to a cache, of any lifetime.
            cache_write_1h_tokens: those of them that live for an hour.
            service_tier: the one that served: `flex`, `priority`, `batch`.
            at: when the call was made, for the price of that day; now when absent.
            reported_cost: what the provider said it cost, in dollars.
            properties: an event's properties (`$ai_model`, `$ai_input_tokens`, ...) instead of, or under, all that.
            prices: prices for this question alone: the path of a price file, a list of prices with its words, or
                a price table.

        Raises:
            LlmtrailError: a value is not what it should be.
            ConfigError: `prices` cannot be used.
        """
        from ._cost import ask

        words = locals()
        return ask(self._resolve(), {word: words[word] for word in words if word not in ("self", "ask")})

    def set_price(
        self,
        model: str,
        *,
        provider: str | None = None,
        valid_from: date | str | None = None,
        input: Money | None = None,
        output: Money | None = None,
        cache_read: Money | None = None,
        cache_write: Money | None = None,
        cache_write_1h: Money | None = None,
        audio_input: Money | None = None,
        audio_cache_read: Money | None = None,
        image_input: Money | None = None,
        reasoning: Money | None = None,
        audio_output: Money | None = None,
        image_output: Money | None = None,
        request: Money | None = None,
        web_search: Money | None = None,
        over: Mapping[int, Mapping[str, Money]] | None = None,
        multiplier: Money | None = None,
    ) -> None:
        """Sets a price of your own, which counts before the price file's and the catalogue's.

        The words are those of the price file: US dollars per million tokens (per one for `request` and
        `web_search`), as a number, a `Decimal` or a decimal string. In `model` and `provider` a `*` stands for
        any run of characters.

        Args:
            over: other prices in requests of more than so many input tokens: `{200_000: {"input": "0.40"}}`.
            valid_from: the first day, in UTC.
            multiplier: every price times this; alone, the catalogue's price times this.

        Raises:
            ConfigError: a value is not what it should be, or there is no price at all.
        """
        from ._cost import set_price

        words = locals()
        set_price(self._resolve(), {word: words[word] for word in words if word not in ("self", "set_price")})

    def budget(
        self,
        usd: Money,
        *,
        per: Literal["trace", "session", "user", "process", "day"] = "process",
        action: Literal["warn", "raise"] = "raise",
    ) -> Budget:
        """Limits what calls may cost from now on, for clients that are observed. Several budgets count side by side.

        With `raise` the call that would start beyond the limit raises `BudgetExceeded` before it is sent; with
        `warn` it goes on, and one line on stderr says so. What a budget guarantees, and which SDKs pass the error on
        as it is, is in the documentation (docs/budgets.md).

        Args:
            usd: US dollars, as a number, a `Decimal` or a decimal string.
            per: what shares the budget: a trace, a session, a distinct id (`user`), this process, or a day in UTC.
                Calls outside of any session, or for nobody, have no budget per session or user.

        Raises:
            ConfigError: a value is not what it should be.
        """
        from ._budget import budget

        return budget(self._resolve, {"usd": str(usd), "per": per, "action": action})

    def totals(
        self,
        *,
        distinct_id: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
    ) -> Totals:
        """What calls used and cost in this process so far: those for a person, or of a session or trace, by its id.

        Without an id those of the whole process. Waits (at most a second) until calls that ended are decoded. The
        latest 4,096 of each kind are remembered.

        Raises:
            LlmtrailError: more than one id is given.
        """
        from ._totals import totals

        return totals(self._resolve(), {"user": distinct_id, "session": session_id, "trace": trace_id})

    def headers(self) -> dict[str, str]:
        """The headers that carry the current scope to another process: `traceparent` and `baggage`.

        For requests to services of your own: they name the person, session and trace. Outside of any scope there are
        none.
        """
        try:
            return dict(self._resolve().headers(current.get()))
        except Exception:
            return {}

    def continue_from(self, headers: Mapping[str, Any] | Iterable[tuple[Any, Any]]) -> Scope:
        """The scope that the headers of a request from another process speak of; use it like `options`.

        A trace that begins inside is a span of the trace over there. Headers of others give the id of their trace.
        Only for requests from whom you trust, for they say who the person is.
        """
        pairs = headers.items() if hasattr(headers, "items") else headers
        named = [[_header(name), _header(value)] for name, value in pairs]
        wanted = [pair for pair in named if pair[0].lower() in ("traceparent", "baggage")]
        return Scope(self._resolve, "options", {"headers": wanted})

    def flush(self, timeout: float = _FLUSH_TIMEOUT) -> _core.Report:
        """Sends what there is and waits for it, at most `timeout` seconds. Says what became of it."""
        return self._resolve().flush(timeout)

    def shutdown(self, timeout: float = _FLUSH_TIMEOUT) -> _core.Report:
        """Flushes, at most `timeout` seconds, and ends the worker. Later captures are refused and counted.

        A call under way, such as a stream that is not read to its end, is recorded as it is.
        """
        client = self._resolve()
        _lifecycle.end_calls(client)
        return client.shutdown(timeout, True)

    def stats(self) -> _core.Stats:
        """How things stand: counts, bytes queued, where events go, the last trouble, notes."""
        return self._resolve().stats()

    def doctor(self, show: bool = True, timeout: float = 5.0) -> dict[str, Any]:
        """Looks at everything that decides whether calls become events, prints it, and returns it.

        With a key set the server is asked whether it knows that key, waiting at most `timeout` seconds. Nothing is
        captured or sent as an event.

        Args:
            show: prints it to standard output.

        Returns:
            `ok`; `problems` and `hints`, a sentence each; `version`, `language`, `runtime`, `enabled`; `sdks`, a list
            of `name`, `version`, `tested` (`yes`, `newer`, `older`, `no`), `tested_versions` (None, or `oldest` and
            `newest`) and `observed` (`wrapped`, `instrumented`, `nothing`); `observed`, a list of `what`, `how` and
            `calls`; `places`, a list of `kind` (`server`, `store`, `sink`) and what is known of it; `spool` or None;
            `delivery`.
        """
        from ._doctor import doctor

        return doctor(self._resolve(), show, timeout)


class Client(_Surface):
    """Captures calls and delivers their events. Nothing starts until the first capture.

    Raises:
        ConfigError: an option cannot be used; it names the option and what is allowed.
    """

    __slots__ = ("_core", "_hooks")

    def __init__(self, **options: Unpack[Options]) -> None:
        self._hooks: Hooks | None = None
        given: dict[str, Any] = dict(options)
        functions = {name: given.pop(name, None) for name in _HOOKS}
        functions = {name: function for name, function in functions.items() if function is not None}
        if not functions:
            self._core = hand_over(_core.Client, given)
        else:
            from ._hooks import Hooks

            hooks = self._hooks = Hooks(functions)
            self._core = hand_over(lambda json: _core.Client(json, hooks.names()), given)
        _lifecycle.register(self._core)

    def _resolve(self) -> _core.Client:
        if not _lifecycle.armed:
            _lifecycle.arm()
        if self._hooks is not None:
            self._hooks.ensure(self._core)
        return self._core

    def __repr__(self) -> str:
        stats = self.stats()
        return f"<llmtrail.Client to {stats.sink or 'nowhere yet'}, {stats.captured} captured>"


class _Default(_Surface):
    """The default client, whoever that is at the time: from the environment when nobody called `init`."""

    __slots__ = ("_clients",)

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def _resolve(self) -> _core.Client:
        client = self._clients.get("default")
        if client is None:
            # `setdefault` is atomic: two threads that are first at once get the same one.
            client = self._clients.setdefault("default", Client())
        return client._resolve()

    def init(self, **options: Unpack[Options]) -> Client:
        """Configures the default client, which the module's functions use.

        Optional: the environment is enough. Code wins over environment, environment over default. Returns the
        client. What an earlier default client captured is still sent.

        Raises:
            ConfigError: an option cannot be used; it names the option and what is allowed.
        """
        client = self._clients["default"] = Client(**options)
        _lifecycle.turn()
        return client


def _header(text: Any) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)


def _scope(
    surface: _Surface,
    kind: str,
    name: Any,
    options: dict[str, Any],
    distinct_id: str | None,
    properties: Mapping[str, Any] | None,
    groups: Mapping[str, str] | None,
) -> Any:
    options.update(distinct_id=distinct_id, properties=properties, groups=groups)
    if callable(name) or isinstance(name, classmethod):  # a bare decorator
        return Scope(surface._resolve, kind, options)(name)
    options["name"] = name
    return Scope(surface._resolve, kind, options)


_default = _Default()
init = _default.init
wrap = _default.wrap
instrument = _default.instrument
uninstrument = _default.uninstrument
trace = _default.trace
span = _default.span
session = _default.session
options = _default.options
capture = _default.capture
cost = _default.cost
set_price = _default.set_price
budget = _default.budget
totals = _default.totals
capture_generation = _default.capture_generation
capture_embedding = _default.capture_embedding
capture_span = _default.capture_span
capture_trace = _default.capture_trace
feedback = _default.feedback
metric = _default.metric
generation = _default.generation
embedding = _default.embedding
headers = _default.headers
continue_from = _default.continue_from
flush = _default.flush
shutdown = _default.shutdown
doctor = _default.doctor
stats = _default.stats
