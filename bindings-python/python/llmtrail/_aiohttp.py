"""Observes aiohttp's sessions: `_request`, which every way to send a request ends in, and the body's reader.

aiohttp undoes a body's content encoding before its reader sees it. The reader of an observed response is one of the
same class that reads through the one that aiohttp made.
"""

from __future__ import annotations

import sys
from _weakref import ref

from ._notes import NONE, Asking, Observer, Parts, Seen, within
from ._urllib3 import as_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import _core

_readers: dict[type, type] = {}


def observe_session(
    session: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> None:
    """Observes the requests of a session. Once: a second time only a new provider or client counts."""
    members = session.__dict__
    known = getattr(members.get("_request"), "llmtrail", None)
    if known is not None:
        known.aim(provider, trail)
        return
    kind, replaced, alive = type(session), members.get("_request"), ref(session)
    observer = Observer(provider, trail, seen, own=True)

    async def _request(method: str, str_or_url: Any, **kwargs: Any) -> Any:
        # The class's method is looked up at each call: mocks replace it for a while.
        original = replaced or kind._request.__get__(alive(), kind)
        return await send(observer, alive(), original, method, str_or_url, kwargs)

    _request.llmtrail = observer  # type: ignore[attr-defined]
    # Not by `setattr`, which aiohttp warns of in its debug mode.
    members["_request"] = _request


async def send(
    observer: Observer,
    session: Any,
    original: Callable[..., Any],
    method: str,
    url: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Sends a request by the original method, and observes it if it is a call."""
    notes = _begin(observer, session, method, url, kwargs)
    if notes is None:
        return await original(method, url, **kwargs)
    within.set(True)
    try:
        response = await original(method, url, **kwargs)
    except BaseException as error:
        status = getattr(error, "status", None)  # of `raise_for_status`
        if isinstance(status, int) and status >= 400:
            notes.answered(status, (getattr(error, "headers", None) or {}).items())
        notes.fail(error)
        raise
    finally:
        within.set(False)
    answered(notes, response, _undoes(session, kwargs))
    return response


def _begin(observer: Observer, session: Any, method: str, url: Any, kwargs: dict[str, Any]) -> Parts | None:
    """Begins to note a request; None: it is none of ours."""
    try:
        if within.get():
            return None
        trail = observer.client()
        method, text = method.upper(), str(session._build_url(url))
        if observer.kind(trail, text, method) == NONE:
            return None
        if kwargs.get("json") is not None and kwargs.get("data") is None:
            # As the session would do it itself, so that the body is encoded once.
            kwargs["data"] = _encoded(session, kwargs["json"])
            del kwargs["json"]
        data = kwargs.get("data")
        body = as_bytes(getattr(data, "_value", data))
        notes = Parts(trail, observer, method, text, list((kwargs.get("headers") or {}).items()), body)
    except Exception:
        observer.trouble()
        return None
    if Asking.wanted and method == "POST":
        from ._budget import reserve

        reserve(notes, None, body)
    return notes


def _encoded(session: Any, json: Any) -> Any:
    payload: Any = sys.modules["aiohttp"].payload
    dumps = getattr(session, "_json_serialize_bytes", None)
    if dumps is not None:
        return payload.JsonBytesPayload(json, dumps=dumps)
    return payload.JsonPayload(json, dumps=session._json_serialize)


def _undoes(session: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a body's content encoding is undone before it is read."""
    asked = kwargs.get("auto_decompress")
    return bool(getattr(session, "_auto_decompress", True) if asked is None else asked)


def answered(notes: Parts, response: Any, decoded: bool) -> None:
    """Notes the response's head and observes its body."""
    try:
        notes.answered(response.status, response.headers.items())
        notes.decoded = decoded
        read = getattr(response, "_body", None)
        if read is not None:
            notes.whole(read, decoded)
            return
        reader = response.content
        if reader.at_eof():
            notes.end("complete")
            return
        kind = type(reader)
        noted = _readers.get(kind)
        if noted is None:
            noted = _readers.setdefault(kind, _noted_class(kind))
        observed: Any = object.__new__(noted)
        observed._inner = reader
        observed._notes = notes
        response.content = observed
    except Exception:
        notes.observer.trouble()
        notes.end("abandoned")


def _noted_class(kind: Any) -> type:
    """A class of readers that read through one of this class and note what they read."""

    class NotedReader(kind):  # type: ignore[misc]
        __slots__ = ("_inner", "_notes")

        def __init__(self) -> None:
            raise TypeError("made by llmtrail only")

        def __getattr__(self, name: str) -> Any:
            # The slots of the class are left empty: what is asked of them, the inner reader knows.
            return getattr(object.__getattribute__(self, "_inner"), name)

        def __del__(self) -> None:
            notes = self._notes
            if not notes.over:
                notes.end("abandoned")

        def read_nowait(self, n: int = -1) -> bytes:
            piece: bytes = self._inner.read_nowait(n)
            self._take(piece)
            return piece

        def set_exception(self, *args: Any) -> None:
            # The response was released or closed, or the connection broke.
            self._inner.set_exception(*args)
            notes = self._notes
            if not notes.over:
                notes.end("abandoned")

        def _take(self, piece: Any) -> None:
            notes = self._notes
            if not notes.over:
                notes.piece(piece[0] if type(piece) is tuple else piece)
                if self._inner.at_eof():
                    notes.end("complete")

    def through(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(self._inner, name)(*args, **kwargs)

        return method

    def reading(name: str) -> Any:
        async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            read, notes = getattr(self._inner, name), self._notes
            if notes.over:
                return await read(*args, **kwargs)
            notes.asks()
            try:
                piece = await read(*args, **kwargs)
            except BaseException as error:
                notes.came()
                notes.fail(error)
                raise
            notes.came()
            self._take(piece)
            return piece

        return method

    own = {"__init__", "__del__", "__getattr__", "read_nowait", "set_exception"}
    read = {"read", "readany", "readchunk", "readexactly", "readline", "readuntil"}
    # What only calls the reader's own public methods is left to do so.
    above = {"__aiter__", "iter_any", "iter_chunked", "iter_chunks"}
    for name in {name for base in kind.__mro__ for name in vars(base) if callable(vars(base)[name])}:
        if name in read:
            setattr(NotedReader, name, reading(name))
        elif name not in own | above and not (name.startswith("__") and name != "__repr__"):
            setattr(NotedReader, name, through(name))
    NotedReader.__name__, NotedReader.__qualname__ = kind.__name__, kind.__qualname__
    NotedReader.__module__ = kind.__module__
    return NotedReader
