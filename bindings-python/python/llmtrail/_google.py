"""Observes google-genai's client: an httpx client, and for async calls an aiohttp session or an httpx client a loop."""

from __future__ import annotations

from _weakref import ref

from ._aiohttp import observe_session
from ._httpx import observe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from . import _core
    from ._notes import Seen


def observe_genai(client: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen) -> None:
    """Observes a client, or its `aio`; the two share what they send by.

    Raises:
        TypeError: it keeps its HTTP clients in an unknown place.
    """
    from ._wrap import _package

    api = getattr(client, "_api_client", None)
    package = _package(getattr(api, "_httpx_client", None))
    if api is None or package is None:
        raise TypeError(f"wrap: {type(client).__qualname__} keeps its HTTP clients in an unknown place")
    observe(api._httpx_client, package, provider, trail, seen)
    http = getattr(api, "_async_httpx_client", None)
    if http is not None:
        _observe_async(http, provider, trail, seen)
    if hasattr(api, "_get_aiohttp_session"):
        _observe_sessions(api, provider, trail, seen)


def _observe_async(http: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen) -> None:
    from ._wrap import _package

    package: Any = _package(http)
    observe(http, package, provider, trail, seen)
    kind = getattr(type(http), "_inner_client_cls", None)
    if kind is None:
        return

    def observed(**options: Any) -> Any:
        inner = kind(**options)
        observe(inner, package, provider, trail, seen)
        return inner

    http._inner_client_cls = observed
    for inner in list(getattr(http, "_loop_clients", {}).values()):
        observe(inner, package, provider, trail, seen)


def _observe_sessions(api: Any, provider: str | None, trail: Callable[[], _core.Client], seen: Seen) -> None:
    """The sessions are made when the first call needs one, one for each event loop."""
    kind, alive = type(api), ref(api)

    async def _get_aiohttp_session() -> Any:
        session = await kind._get_aiohttp_session(alive())
        try:
            # Google's own session for client certificates holds aiohttp's.
            inner = getattr(getattr(session, "_auth_request", None), "_session", None)
            observe_session(session if hasattr(session, "_request") else inner, provider, trail, seen)
        except Exception:
            trail().note()
        return session

    api._get_aiohttp_session = _get_aiohttp_session
