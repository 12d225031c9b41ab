"""Observes a whole process: the HTTP libraries themselves, those that are imported already and those that will be.

Where a library picks a transport or adapter for each request, that is where it is observed, as `wrap` does it; so a
client that is wrapped keeps its own observer, and clients that were built before are seen too. Elsewhere it is the
class's method. What is no call to a provider is left alone.
"""

from __future__ import annotations

import sys
from importlib import import_module
from threading import Lock
from weakref import WeakSet

from . import _lifecycle
from ._notes import Observer, Seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TypeVar

    from . import _core

    Kind = TypeVar("Kind", bound=Observer)

_lock = Lock()


class _Process:
    """What is hooked at present, and for whom."""

    def __init__(self) -> None:
        self.trail: Callable[[], _core.Client] | None = None
        self.patches: list[tuple[Any, str, Any, Any]] = []
        self.observers: list[Observer] = []
        self.owners: WeakSet[Any] = WeakSet()
        self.finder: _Finder | None = None

    def observer(self, observer: Kind) -> Kind:
        self.observers.append(observer)
        return observer

    def patch(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replaces a method of a class, once, whatever names its module goes by."""
        original = owner.__dict__[name]
        if getattr(original, "llmtrail", False):
            return
        ours = make(original)
        ours.llmtrail = True
        ours.__name__, ours.__qualname__ = original.__name__, original.__qualname__
        ours.__doc__, ours.__module__ = original.__doc__, original.__module__
        ours.__wrapped__ = original
        setattr(owner, name, ours)
        self.patches.append((owner, name, original, ours))


_process = _Process()


def instrument(trail: Callable[[], _core.Client]) -> None:
    """Observes the process for a client. A second time only says for which client."""
    with _lock:
        begun = _process.trail is not None
        _process.trail = trail
        for observer in _process.observers:
            observer.trail = trail
        _lifecycle.turn()
        if begun:
            return
        finder = _process.finder = _Finder(set(_TARGETS))
        # First, for an import may begin in another thread meanwhile.
        sys.meta_path.insert(0, finder)
    for name in _TARGETS:
        if name in sys.modules:
            _finished(name)
            finder.hook(name)


def uninstrument() -> None:
    """Leaves the process alone again. Calls under way are still recorded; wrapped clients stay observed."""
    with _lock:
        if _process.trail is None:
            return
        _process.trail = None
        _lifecycle.turn()
        for owner, name, original, ours in reversed(_process.patches):
            # Where another tool has since put its own method over ours, ours stays below it, idle.
            if owner.__dict__.get(name) is ours:
                setattr(owner, name, original)
        for owner in list(_process.owners):
            for name in ("handle_request", "handle_async_request", "send"):
                if getattr(owner.__dict__.get(name), "llmtrail", None) in _process.observers:
                    del owner.__dict__[name]
        if _process.finder in sys.meta_path:
            sys.meta_path.remove(_process.finder)
        _process.patches, _process.observers, _process.finder = [], [], None
        _process.owners = WeakSet()


def begun() -> bool:
    """Whether the process is observed."""
    return _process.trail is not None


def hooked() -> list[Seen]:
    """What is hooked at present, by library."""
    return [observer.seen for observer in _process.observers]


def _resolve() -> _core.Client:
    trail = _process.trail
    if trail is None:
        raise RuntimeError("not instrumented")
    return trail()


def _finished(name: str) -> None:
    """Waits for another thread that is in the middle of importing a library: it has no classes to hook yet."""
    if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
        try:
            import_module(name)
        except Exception:
            return


def _guarded(hook: Callable[[ModuleType], None], module: ModuleType) -> None:
    """A library of an unknown shape is left alone, and counted."""
    try:
        hook(module)
    except Exception:
        try:
            _resolve().note()
        except Exception:
            return


def _httpx(module: ModuleType) -> None:
    from ._httpx import HttpxObserver, observe_transport

    root = sys.modules[module.Client.__module__.partition(".")[0]]
    observer = _process.observer(HttpxObserver(root, None, _resolve, Seen(root.__name__)))
    for kind, name in ((root.Client, "handle_request"), (root.AsyncClient, "handle_async_request")):

        def make(original: Any, name: str = name) -> Any:
            def _transport_for_url(self: Any, url: Any) -> Any:
                transport = original(self, url)
                if _process.trail is not None:
                    try:
                        if getattr(transport.__dict__.get(name), "llmtrail", None) is None:
                            observe_transport(transport, name, observer)
                            _process.owners.add(transport)
                    except Exception:
                        observer.trouble()
                return transport

            return _transport_for_url

        _process.patch(kind, "_transport_for_url", make)


def _requests(module: ModuleType) -> None:
    from ._urllib3 import hook

    observer = _process.observer(Observer(None, _resolve, Seen("requests")))

    def make(original: Any) -> Any:
        def get_adapter(self: Any, *args: Any, **kwargs: Any) -> Any:
            adapter = original(self, *args, **kwargs)
            if _process.trail is not None:
                try:
                    if getattr(adapter.__dict__.get("send"), "llmtrail", None) is None:
                        adapter.send = hook(adapter, observer)
                        _process.owners.add(adapter)
                except Exception:
                    observer.trouble()
            return adapter

        return get_adapter

    _process.patch(module.Session, "get_adapter", make)


def _aiohttp(module: ModuleType) -> None:
    from ._aiohttp import send

    observer = _process.observer(Observer(None, _resolve, Seen("aiohttp")))

    def make(original: Any) -> Any:
        async def _request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            bound = original.__get__(self, type(self))
            if _process.trail is None:
                return await bound(method, str_or_url, **kwargs)
            return await send(observer, self, bound, method, str_or_url, kwargs)

        return _request

    _process.patch(module.ClientSession, "_request", make)


def _botocore(module: ModuleType) -> None:
    from ._urllib3 import sending

    observer = _process.observer(Observer(None, _resolve, Seen("botocore")))

    def make(original: Any) -> Any:
        def send(self: Any, request: Any) -> Any:
            bound = original.__get__(self, type(self))
            return bound(request) if _process.trail is None else sending(observer, bound, request)

        return send

    _process.patch(module.URLLib3Session, "send", make)


def _aiobotocore(module: ModuleType) -> None:
    # Not left to aiohttp: the session there wraps what is raised below it, a budget's refusal too.
    from ._botocore import sending

    observer = _process.observer(Observer(None, _resolve, Seen("aiobotocore")))

    def make(original: Any) -> Any:
        async def send(self: Any, request: Any) -> Any:
            bound = original.__get__(self, type(self))
            return await (bound(request) if _process.trail is None else sending(observer, bound, request))

        return send

    _process.patch(module.AIOHTTPSession, "send", make)


_TARGETS: dict[str, Callable[[ModuleType], None]] = {
    "httpx": _httpx,
    "httpx2": _httpx,
    "requests": _requests,
    "aiohttp": _aiohttp,
    "botocore.httpsession": _botocore,
    "aiobotocore.httpsession": _aiobotocore,
}


class _Finder:
    """Hooks a library when it is imported. Of any other import it costs a look into a set."""

    def __init__(self, waiting: set[str]) -> None:
        self.waiting = waiting

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.waiting:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                try:
                    _after(spec.loader, name, self)
                except Exception:
                    _guarded(_unhookable, sys)
                return spec
        return None

    def hook(self, name: str) -> None:
        """Hooks a library that is imported, once."""
        with _lock:
            module = sys.modules.get(name)
            if module is not None and name in self.waiting:
                self.waiting.discard(name)
                if _process.finder is self:
                    _guarded(_TARGETS[name], module)


def _unhookable(module: ModuleType) -> None:
    raise ImportError(module.__name__)


def _after(loader: Any, name: str, finder: _Finder) -> None:
    """Lets a loader hook a module once it has executed it."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        if module.__name__ == name and name in finder.waiting:
            loader.__dict__.pop("exec_module", None)
            finder.hook(name)

    loader.exec_module = exec_module
