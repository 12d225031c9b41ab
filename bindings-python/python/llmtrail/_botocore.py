"""Observes the HTTP session of AWS's clients: botocore's own, and aiobotocore's, which sends through aiohttp."""

from __future__ import annotations

from _weakref import ref

from ._notes import Observer, Seen, within
from ._urllib3 import begin, observe_send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import _core


def observe_endpoint(
    client: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> None:
    """Observes the attempts of a client of boto3, botocore, aioboto3 or aiobotocore.

    Raises:
        TypeError: it keeps its HTTP session in an unknown place.
    """
    http = getattr(getattr(client, "_endpoint", None), "http_session", None)
    if http is None or not callable(getattr(http, "send", None)):
        raise TypeError(f"wrap: {type(client).__qualname__} keeps its HTTP session in an unknown place")
    if not _is_async(http):
        observe_send(http, provider, trail, seen)
    else:
        _observe_async_send(http, provider, trail, seen)


def _is_async(http: Any) -> bool:
    return bool(type(http).send.__code__.co_flags & 0x80)  # as in `inspect`, which is heavy


def _observe_async_send(
    http: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen
) -> None:
    known = getattr(http.__dict__.get("send"), "llmtrail", None)
    if known is not None:
        known.aim(provider, trail)
        return
    replaced, alive, kind = http.__dict__.get("send"), ref(http), type(http)
    observer = Observer(provider, trail, seen, own=True)

    async def send(request: Any) -> Any:
        return await sending(observer, replaced or kind.send.__get__(alive(), kind), request)

    send.llmtrail = observer  # type: ignore[attr-defined]
    http.send = send


async def sending(observer: Observer, original: Callable[..., Any], request: Any) -> Any:
    """Sends a request by aiobotocore's original method, and observes it if it is a call."""
    notes = begin(observer, request)
    if notes is None:
        return await original(request)
    within.set(True)
    try:
        response = await original(request)
    except BaseException as error:
        notes.fail(error)
        raise
    finally:
        within.set(False)
    try:
        if isinstance(response._content, bytes):
            notes.answered(response.status_code, response.headers.items())
            notes.whole(response._content, decoded=False)
        else:
            from ._aiohttp import answered

            # aiobotocore's session leaves the content encoding alone.
            answered(notes, response.raw, decoded=False)
    except Exception:
        observer.trouble()
        notes.end("abandoned")
    return response
