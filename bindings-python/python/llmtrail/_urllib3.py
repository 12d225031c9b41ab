"""Observes what sends through urllib3: requests' adapters, and botocore's HTTP session.

Both have a `send` that takes a prepared request (`method`, `url`, `headers`, `body`) and gives a response whose `raw`
is urllib3's. `send` is overridden on the instance; the raw response becomes an instance of a subclass of its own class
that notes what is read, so that nothing is read ahead and every way to read it stays.
"""

from __future__ import annotations

from _weakref import ref

from ._notes import NONE, Asking, Observer, Parts, Seen, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from . import _core

_noted: dict[type, type] = {}


def begin(observer: Observer, request: Any) -> Parts | None:
    """Begins to note a prepared request; None: it is none of ours.

    Raises:
        BudgetExceeded: the call may not begin.
    """
    try:
        if within.get():
            return None
        trail = observer.client()
        method, url = request.method, request.url
        if observer.kind(trail, url, method) == NONE:
            return None
        notes = Parts(trail, observer, method, url, request.headers.items(), as_bytes(request.body))
    except Exception:
        observer.trouble()
        return None
    if Asking.wanted and method == "POST":
        from ._budget import reserve

        reserve(notes, request, notes.body)
    return notes


def as_bytes(body: Any) -> bytes | None:
    """A request's body, where it is in memory; a stream is never consumed."""
    if type(body) is bytes or body is None:
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    whole = body.getvalue() if hasattr(body, "getvalue") else None
    return whole if isinstance(whole, bytes) else None


def observe_session(
    session: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> None:
    """Observes what a session of requests' sends.

    Raises:
        TypeError: it keeps its adapters in an unknown place.
    """
    adapters = getattr(session, "adapters", None)
    if not isinstance(adapters, dict) or not adapters:
        raise TypeError(f"wrap: {type(session).__qualname__} keeps its adapters in an unknown place")
    for adapter in adapters.values():
        observe_send(adapter, provider, trail, seen)
    # Silent zero capture is the worst failure: would the session really go through a hook?
    if not hasattr(session.get_adapter("https://api.openai.com/v1").send, "llmtrail"):
        raise TypeError(
            f"wrap: {type(session).__qualname__} does not send through its adapters: its shape is unknown"
        )


def observe_send(owner: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen) -> None:
    """Observes what an adapter or session of this kind sends. Once: a second time only a new provider counts."""
    known = getattr(owner.__dict__.get("send"), "llmtrail", None)
    if known is not None and known.own:
        known.aim(provider, trail)
        return
    if known is not None:  # seen by `instrument` so far
        del owner.__dict__["send"]
    owner.send = hook(owner, Observer(provider, trail, seen, own=True))


def hook(owner: Any, observer: Observer) -> Callable[..., Any]:
    """A `send` for this owner, which observes; without a cycle, so that what is dropped is closed at once."""
    replaced = owner.__dict__.get("send")
    alive = ref(owner)
    kind = type(owner)

    def send(request: Any, *args: Any, **kwargs: Any) -> Any:
        # The class's method is looked up at each call: mocks replace it for a while.
        original = replaced or kind.send.__get__(alive(), kind)
        return sending(observer, original, request, args, kwargs)

    send.llmtrail = observer  # type: ignore[attr-defined]
    return send


def sending(
    observer: Observer,
    original: Callable[..., Any],
    request: Any,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """Sends a request by the original method, and observes it if it is a call."""
    notes = begin(observer, request)
    if notes is None:
        return original(request, *args, **kwargs or {})
    within.set(True)
    try:
        response = original(request, *args, **kwargs or {})
    except BaseException as error:
        notes.fail(error)
        raise
    finally:
        within.set(False)
    answered(notes, response)
    return response


def answered(notes: Parts, response: Any) -> None:
    """Notes the response's head and observes its body."""
    try:
        notes.answered(response.status_code, response.headers.items())
        content = response.__dict__.get("_content")
        if isinstance(content, bytes):  # read already: by a mock, or by botocore for what is no stream
            notes.whole(content, decoded=type(response).__module__.partition(".")[0] != "botocore")
        else:
            observe_body(notes, response.raw)
    except Exception:
        notes.observer.trouble()
        notes.end("abandoned")


def observe_body(notes: Parts, raw: Any) -> None:
    """Notes what is read of a urllib3 response."""
    kind = type(raw)
    noted = _noted.get(kind)
    if noted is None:
        noted = _noted.setdefault(kind, _noted_class(kind))
    raw._llmtrail = notes
    raw.__class__ = noted


def _noted_class(kind: Any) -> type:
    """A subclass of a response class that notes what is read."""

    class NotedResponse(kind):  # type: ignore[misc]
        _llmtrail: Parts
        _llmtrail_reads = False

        def read(self, *args: Any, **kwargs: Any) -> Any:
            return self._note(super().read, args, kwargs)

        if hasattr(kind, "read1"):

            def read1(self, *args: Any, **kwargs: Any) -> Any:
                return self._note(super().read1, args, kwargs)

        def _note(self, read: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            notes = self._llmtrail
            if notes.over or self._llmtrail_reads:
                return read(*args, **kwargs)
            amount = args[0] if args else kwargs.get("amt")
            notes.asks()
            self._llmtrail_reads = True
            try:
                piece = read(*args, **kwargs)
            except BaseException as error:
                notes.came()
                notes.fail(error)
                raise
            finally:
                self._llmtrail_reads = False
            notes.came()
            notes.decoded = self._undoes(args[1] if len(args) > 1 else kwargs.get("decode_content"))
            notes.piece(piece)
            if (not piece and amount != 0) or self._ended():
                notes.end("complete")
            return piece

        def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
            notes = self._llmtrail
            pieces = super().read_chunked(amt, decode_content)
            while True:
                notes.asks()
                self._llmtrail_reads = True
                try:
                    piece = next(pieces)
                except StopIteration:
                    notes.came()
                    break
                except BaseException as error:
                    notes.came()
                    notes.fail(error)
                    raise
                finally:
                    self._llmtrail_reads = False
                notes.came()
                notes.decoded = self._undoes(decode_content)
                notes.piece(piece)
                yield piece
            notes.end("complete")

        def _undoes(self, decode_content: bool | None) -> bool:
            """Whether what is read is no longer content-encoded."""
            wanted = self.decode_content if decode_content is None else decode_content
            return bool(wanted) and getattr(self, "_decoder", None) is not None

        def _ended(self) -> bool:
            if not self.closed:
                return False
            held, decoder = getattr(self, "_decoded_buffer", None), getattr(self, "_decoder", None)
            return not (held is not None and len(held)) and not getattr(decoder, "has_unconsumed_tail", False)

        def close(self) -> None:
            try:
                super().close()
            finally:
                if not self._llmtrail_reads:  # else urllib3 closes what broke, and the error says more
                    self._leave()

        def __del__(self) -> None:
            self._leave()
            finish = getattr(super(), "__del__", None)
            if finish is not None:
                finish()

        def _leave(self) -> None:
            notes = self.__dict__.get("_llmtrail")
            if notes is not None and not notes.over:
                notes.end("abandoned")

    NotedResponse.__name__ = kind.__name__
    NotedResponse.__qualname__ = kind.__qualname__
    NotedResponse.__module__ = kind.__module__
    return NotedResponse
