"""The observing transport for httpx and httpx2.

A request is observed by overriding `handle_request` on the *instance* of a transport, so that clients and
transports keep their types and a copy of an SDK client, which shares its HTTP client, stays observed.
Everything of ours in here is guarded: when it fails, it is counted and the call goes on.
"""

from __future__ import annotations

from _weakref import ref
from sys import modules
from time import perf_counter_ns, time_ns

from . import _lifecycle
from ._lifecycle import under_way
from ._notes import CALL, NONE, Asking, Notes, Observer, Seen, within
from ._scopes import current, scope_of_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import ModuleType
    from typing import Any

    from . import _core

_noted: dict[str, tuple[type, type]] = {}

_Function = type(lambda: None)
_new = object.__new__

_SHORT = 4 << 10


class HttpxObserver(Observer):
    """What all hooks of one HTTP client share."""

    __slots__ = ("noted", "package")

    def __init__(
        self,
        package: ModuleType,
        provider: str | None,
        trail: Callable[[], _core.Client],
        seen: Seen,
        own: bool = False,
    ) -> None:
        super().__init__(provider, trail, seen, own)
        self.package = package
        if Asking.wanted:
            from ._budget import watch

            watch(package)
        self.noted = _noted_classes(package)

    def begin(self, request: Any) -> tuple[HttpxNotes | None, Any]:
        """Begins to observe; says what to send. None: the request is none of ours and goes on untouched."""
        notes = None
        try:
            if within.get():
                return None, request
            trail = self.core if self.epoch is _lifecycle.epoch else self.client()
            url = request.url
            parts = getattr(url, "_uri_reference", url)
            to = self.known_to
            # What `address` would say of one that it knows: a step less.
            same = request.method == "POST" and to[0] is trail and to[1] is self.provider
            known = self.known.get(parts) if same else None
            kind, text = known or self.address(trail, parts, url, request.method)
            if kind == NONE:
                return None, request
            # Whole before it is anybody's.
            begun = _new(HttpxNotes)
            begun.trail, begun.observer, begun.url, begun.request = trail, self, text, request
            self.seen.calls += 1
            # Mostly there is no OpenTelemetry, and it is a step less.
            begun.scope = scope_of_call(trail) if "opentelemetry.trace" in modules else current.get()
            begun.response = begun.reading = begun.reservation = None
            begun.asked = begun.decoded = begun.over = False
            begun.waited = 0
            begun.wall = time_ns()
            begun.start = perf_counter_ns()
            under_way[id(begun)] = ref(begun)
            notes = begun
            if kind != CALL:
                # Not out of its `__dict__`: an object whose dictionary was asked for is slower ever after.
                content = getattr(request, "_content", None)
                # Most calls are no streams, and a look at a short body takes less than the step into the core.
                if type(content) is bytes and (len(content) >= _SHORT or b'"stream"' in content):
                    body = trail.ask(text, self.provider, content, request.headers)
                    if body is not None:
                        request = _with_body(self.package, request, body)
                        notes.asked = True
        except Exception:
            self.trouble()
        if Asking.wanted and notes is not None:
            from ._budget import reserve

            reserve(notes, notes.request, getattr(notes.request, "_content", None))
        return notes, request


class HttpxNotes(Notes):
    """Notes of a request and a response of httpx's."""

    __slots__ = ("request", "response")

    observer: HttpxObserver
    reading: Any
    request: Any
    response: Any

    def answered(self, response: Any, asynchronous: bool) -> None:
        """The response's head came: its body will be noted as it is read."""
        try:
            self.response = response
            content = getattr(response, "_content", None)
            self.waited = waited = perf_counter_ns() - self.start
            cut = response if self.asked else None
            self.reading = reading = self.trail.reading(waited, cut, content is not None)
            if content is None:
                noted: Any = _new(self.observer.noted[asynchronous])  # a step less than by an `__init__`
                noted._stream, noted._notes = response.stream, self
                response.stream = noted
                return
            # A mock or a cache: everything is here already.
            self.decoded = True
            if type(content) is bytes:
                seen = reading.came(content)
                if self.asked:
                    response._content = seen + reading.rest()
            self.end("complete")
        except Exception:
            self.observer.trouble()

    def end(self, how: str, error: BaseException | None = None) -> None:
        if self.over:
            return
        self.over = True
        under_way.pop(id(self), None)
        try:
            request, response = self.request, self.response
            # A response whose body leads here is not to be a cycle: what the caller drops is freed at once.
            self.request = self.response = None
            content = getattr(request, "_content", None)
            noted = (
                self.observer.provider, self.scope, self.wall, self.reading, self.waited, how, error, self.decoded,
                self.reservation,
            )  # fmt: skip
            self.trail.record(request, content, self.url, response, self.asked, noted)
        except Exception:
            self.observer.trouble()
        self.reservation = None


def observe(
    http: Any, package: ModuleType, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> None:
    """Observes the requests of an HTTP client. Once: a second time only a new provider or client counts."""
    transports = _transports(http)
    asynchronous = isinstance(http, package.AsyncClient)
    name = "handle_async_request" if asynchronous else "handle_request"
    for transport in transports:
        known = (
            getattr(transport.__dict__.get(name), "llmtrail", None)
            if hasattr(transport, "__dict__")
            else None
        )
        if known is not None and known.own:
            known.aim(provider, trail)
            continue
        if known is not None:  # seen by `instrument` so far
            del transport.__dict__[name]
        if not callable(getattr(transport, name, None)):
            raise TypeError(
                f"wrap: the transport {type(transport).__qualname__} has no {name}: its shape is unknown"
            )
        try:
            observe_transport(transport, name, HttpxObserver(package, provider, trail, seen, own=True))
        except AttributeError:
            raise TypeError(
                f"wrap: the transport {type(transport).__qualname__} cannot be observed"
            ) from None
    # Silent zero capture is the worst failure: would the client really go through a hook?
    chosen = http._transport_for_url(package.URL("https://api.openai.com/v1"))
    if not hasattr(getattr(chosen, name), "llmtrail"):
        raise TypeError(
            f"wrap: {type(http).__qualname__} does not send through its transports: its shape is unknown"
        )


def observe_transport(transport: Any, name: str, observer: HttpxObserver) -> None:
    """Puts a hook on a transport. `name` is that of its method that handles requests."""
    setattr(transport, name, _hook(transport, name, name == "handle_async_request", observer))


def twin(
    http: Any, package: ModuleType, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> Any:
    """An observed HTTP client that shares the connections of another one, which is left alone."""
    transports = {id(transport): _shared(transport, package) for transport in _transports(http)}
    # SDKs close their own kind of HTTP client when it is dropped; these connections are not the twin's.
    kind = next(kind for kind in type(http).__mro__ if not hasattr(kind, "__del__"))
    copy: Any = object.__new__(kind)
    copy.__dict__.update(http.__dict__)
    copy._transport = transports[id(http._transport)]
    copy._mounts = {key: value and transports[id(value)] for key, value in http._mounts.items()}
    observe(copy, package, provider, trail, seen)
    return copy


def _transports(http: Any) -> list[Any]:
    mounts = getattr(http, "_mounts", None)
    transport = getattr(http, "_transport", None)
    if transport is None or not isinstance(mounts, dict) or not hasattr(http, "_transport_for_url"):
        raise TypeError(f"wrap: {type(http).__qualname__} keeps its transports in an unknown place")
    found = {id(each): each for each in (transport, *mounts.values()) if each is not None}
    return list(found.values())


def _shared(transport: Any, package: ModuleType) -> Any:
    """A transport that does its work through another one and does not close it."""

    class SharedTransport(package.BaseTransport, package.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            return transport.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            return await transport.handle_async_request(request)

    return SharedTransport()


def _hook(transport: Any, name: str, asynchronous: bool, observer: HttpxObserver) -> Any:
    begin = observer.begin
    # Set on the instance by somebody else, or made up by a `__getattr__`.
    replaced = (
        None if _of_class(transport, name) and name not in transport.__dict__ else getattr(transport, name)
    )
    alive = ref(transport)  # no cycle: what the client drops is closed at once, as without us

    def odd(owner: Any, request: Any) -> Any:
        original: Any = replaced or _of_class(owner, name)
        return original(request)

    # The method is looked up at each call: mocks replace those of the class for a while.
    if asynchronous:

        async def handle_async_request(request: Any) -> Any:
            notes, request = begin(request)
            owner: Any = alive()
            method: Any = None if replaced else type(owner).__dict__.get(name)
            if type(method) is not _Function:
                method = odd
            if notes is None:
                return await method(owner, request)
            within.set(True)
            try:
                response = await method(owner, request)
            except BaseException as error:
                notes.fail(error)
                raise
            finally:
                within.set(False)
            notes.answered(response, True)
            return response

        hook: Any = handle_async_request
    else:

        def handle_request(request: Any) -> Any:
            notes, request = begin(request)
            owner: Any = alive()
            method: Any = None if replaced else type(owner).__dict__.get(name)
            if type(method) is not _Function:
                method = odd
            if notes is None:
                return method(owner, request)
            within.set(True)
            try:
                response = method(owner, request)
            except BaseException as error:
                notes.fail(error)
                raise
            finally:
                within.set(False)
            notes.answered(response, False)
            return response

        hook = handle_request
    hook.llmtrail = observer
    return hook


def _of_class(owner: Any, name: str) -> Callable[[Any], Any] | None:
    """A method as its class has it, whatever the instance says."""
    kind = type(owner)
    for base in kind.__mro__:
        found = base.__dict__.get(name)
        if found is not None:
            bind = getattr(type(found), "__get__", None)
            return found if bind is None else bind(found, owner, kind)  # type: ignore[no-any-return]
    return None


def _with_body(package: ModuleType, request: Any, body: bytes) -> Any:
    """The same request with another body. The caller's object stays as it is."""
    changed = object.__new__(type(request))
    changed.__dict__.update(request.__dict__)
    changed.headers = request.headers.copy()
    # One that says how it is chunked must say no length.
    if "Transfer-Encoding" not in changed.headers:
        changed.headers["Content-Length"] = str(len(body))
    changed.stream = package.ByteStream(body)
    changed._content = body
    return changed


def _noted_classes(package: ModuleType) -> tuple[type, type]:
    """Streams that note what passes, sync and async, as subclasses of that very package's."""
    known = _noted.get(package.__name__)
    if known is not None:
        return known

    class Noted:
        __slots__ = ("_notes", "_stream")

        _stream: Any
        _notes: HttpxNotes

        def __getattr__(self, name: str) -> Any:
            if name in Noted.__slots__:
                raise AttributeError(name)
            return getattr(self._stream, name)

        def __del__(self) -> None:
            try:
                notes = self._notes
            except AttributeError:
                return
            if not notes.over:
                notes.end("abandoned")

    # httpx2 has what iterates over a stream closed with its own iterator (`yield from`), also where that is the stream
    # itself; httpx only lets go of it, which closes a generator.
    hands_on = package.__name__ == "httpx2"

    class NotedStream(Noted, package.SyncByteStream):  # type: ignore[name-defined,misc]
        def __iter__(self) -> Iterator[bytes]:
            notes = self._notes
            reading = notes.reading
            asks, came = reading.asks, reading.came
            asks()
            try:
                for piece in self._stream:
                    if type(piece) is bytes:
                        seen = came(piece)
                        if not seen and piece:
                            asks()
                            continue
                        yield seen
                    else:
                        reading.stop()
                        yield piece
                    asks()
            except GeneratorExit:
                notes.end("abandoned")
                if hands_on and hasattr(self._stream, "__next__"):
                    self._stream.close()
                raise
            except BaseException as error:
                reading.stop()
                notes.fail(error)
                rest = reading.rest()
                if rest and isinstance(error, Exception):
                    yield rest
                raise
            reading.stop()
            notes.end("complete")
            if notes.asked:
                rest = reading.rest()
                if rest:
                    yield rest

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                if not self._notes.over:
                    self._notes.end("abandoned")

    class NotedAsyncStream(Noted, package.AsyncByteStream):  # type: ignore[name-defined,misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            notes = self._notes
            reading = notes.reading
            asks, came = reading.asks, reading.came
            stream = self._stream
            # Asked for once: one that is its own iterator may refuse to begin again.
            pieces = stream if hasattr(stream, "__anext__") else stream.__aiter__()
            asks()
            try:
                async for piece in pieces:
                    if type(piece) is bytes:
                        seen = came(piece)
                        if not seen and piece:
                            asks()
                            continue
                        yield seen
                    else:
                        reading.stop()
                        yield piece
                    asks()
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    notes.end("abandoned")
                else:
                    reading.stop()
                    notes.fail(error)
                # A generator would be closed some time later. What else can be closed is the stream's to close.
                if hasattr(pieces, "athrow"):
                    await pieces.aclose()
                rest = reading.rest()
                if rest and isinstance(error, Exception):
                    yield rest
                raise
            reading.stop()
            notes.end("complete")
            if notes.asked:
                rest = reading.rest()
                if rest:
                    yield rest

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                if not self._notes.over:
                    self._notes.end("abandoned")

    return _noted.setdefault(package.__name__, (NotedStream, NotedAsyncStream))
