"""Budgets: where calls ask whether they may begin.

The SDKs on httpx retry what their HTTP client raises and wrap it, but not what raises while a request is built. So once
there is a budget, that is where a call asks: `build_request` of httpx's clients. It costs nothing before. Requests that
were built otherwise ask when they are sent.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock

from ._errors import BudgetExceeded
from ._notes import NONE, Asking, within
from ._scopes import scope_of_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from . import _core
    from ._notes import Notes, Observer

_PACKAGES = ("httpx", "httpx2")
_lock = allocate_lock()
# Where a request keeps what it reserved, until it is sent.
_RESERVED = "_llmtrail_reserved"


class Budget:
    """A budget that is set; `remove` takes it back."""

    __slots__ = ("_number", "_trail")

    def __init__(self, trail: _core.Client, number: int) -> None:
        self._trail = trail
        self._number = number

    def remove(self) -> None:
        """Ends the limit. What was spent stays spent."""
        self._trail.remove_budget(self._number)


def enforce() -> None:
    """Has calls ask from now on, of the HTTP libraries that are imported already; others when they are observed."""
    Asking.wanted = True
    for name in _PACKAGES:
        package = sys.modules.get(name)
        if package is not None:
            watch(package)


def watch(package: ModuleType) -> None:
    """Has the clients of a package ask while they build a request. Once."""
    owner = next(kind for kind in package.Client.__mro__ if "build_request" in kind.__dict__)
    with _lock:
        original = owner.__dict__["build_request"]
        if getattr(original, "llmtrail", False):
            return

        def build_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            request = original(self, *args, **kwargs)
            if request.method == "POST":
                _ask(self, request)
            return request

        build_request.llmtrail = True  # type: ignore[attr-defined]
        build_request.__wrapped__ = original  # type: ignore[attr-defined]
        build_request.__doc__ = original.__doc__
        owner.build_request = build_request


def _ask(http: Any, request: Any) -> None:
    observer: Observer | None = None
    try:
        transport = http._transport_for_url(request.url)
        hook = getattr(transport, "handle_request", None)
        observer = getattr(hook, "llmtrail", None)
        if observer is None:
            observer = getattr(getattr(transport, "handle_async_request", None), "llmtrail", None)
        if observer is None or within.get():
            return
        trail = observer.client()
        if not trail.has_budgets:
            return
        kind, url = observer.address(trail, getattr(request.url, "_uri_reference", request.url), request.url)
        if kind == NONE:
            return
        body = request.__dict__.get("_content")
        request.__dict__[_RESERVED] = trail.admit(url, observer.provider, scope_of_call(trail), body)
    except BudgetExceeded:
        raise
    except Exception:
        if observer is not None:
            observer.trouble()


def reserve(notes: Notes, request: Any, body: object) -> None:
    """Gives a call what its request reserved when it was built; it asks now if it was built otherwise.

    Raises:
        BudgetExceeded: it may not begin.
    """
    members = getattr(request, "__dict__", {})
    if _RESERVED in members:
        notes.reservation = members.pop(_RESERVED)
        return
    try:
        provider = notes.observer.provider
        notes.reservation = notes.trail.admit(
            notes.url, provider, notes.scope, body if type(body) is bytes else None
        )
    except BudgetExceeded:
        notes.discard()
        raise
    except Exception:
        notes.observer.trouble()


def budget(resolve: Callable[[], _core.Client], options: dict[str, Any]) -> Budget:
    """Sets a budget."""
    from ._json import hand_over

    trail = resolve()
    set_one = Budget(trail, hand_over(trail.budget, options))
    enforce()
    return set_one
