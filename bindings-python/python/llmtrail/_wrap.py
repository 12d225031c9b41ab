"""Finds the HTTP client below a provider's SDK client."""

from __future__ import annotations

import sys

from ._httpx import observe, twin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TypeVar

    from . import _core

    T = TypeVar("T")

SUPPORTED = (
    "openai: OpenAI, AsyncOpenAI, AzureOpenAI, AsyncAzureOpenAI",
    "anthropic: Anthropic, AsyncAnthropic",
    "any SDK client that keeps an httpx or httpx2 client in `_client`",
    "httpx and httpx2: Client, AsyncClient",
)
_PACKAGES = ("httpx", "httpx2")


def wrap(client: T, provider: str | None, copy: bool, trail: Callable[[], _core.Client]) -> T:
    """Observes a client, or a twin of it."""
    if provider is not None and not isinstance(provider, str):
        raise TypeError(f"wrap: provider must be a name, got {provider!r}")
    http: Any = client
    package = None if isinstance(client, type) else _package(http)
    if package is None and not isinstance(client, type):
        http = getattr(client, "_client", None)
        package = _package(http)
    if package is None:
        what = (
            f"the class {client.__name__}"
            if isinstance(client, type)
            else f"{_name(client)} ({client!r:.80})"
        )
        raise TypeError(f"wrap: cannot observe {what}. Supported: {'; '.join(SUPPORTED)}")
    if not copy:
        observe(http, package, provider, trail)
        return client
    if http is client:
        return twin(http, package, provider, trail)  # type: ignore[no-any-return]
    with_options = getattr(client, "with_options", None)
    if with_options is None:
        raise TypeError(f"wrap: {_name(client)} has no with_options, so copy=True cannot be served")
    return with_options(http_client=twin(http, package, provider, trail))  # type: ignore[no-any-return]


def _package(http: object) -> ModuleType | None:
    """The package that an HTTP client is built on: a process can hold both, one of them under any name."""
    for kind in type(http).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in _PACKAGES and kind.__name__ in ("Client", "AsyncClient"):
            return sys.modules.get(root)
    return None


def _name(client: object) -> str:
    kind = type(client)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
