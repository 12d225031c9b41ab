"""Finds the HTTP client below a provider's SDK client, or below what holds one."""

from __future__ import annotations

import copy as copying
import sys

from ._notes import Seen, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any, TypeVar

    from . import _core

    T = TypeVar("T")
    Trail = Callable[[], _core.Client]
    Observe = Callable[[str | None, Trail, Seen], None]

SUPPORTED = (
    "openai: OpenAI, AsyncOpenAI, AzureOpenAI, AsyncAzureOpenAI",
    "anthropic: Anthropic, AsyncAnthropic, and their Bedrock and Vertex siblings",
    "google-genai: Client",
    "mistralai: Mistral",
    "groq: Groq, AsyncGroq",
    "cohere: Client, ClientV2, and their async siblings",
    "together: Together, AsyncTogether",
    "ollama: Client, AsyncClient, the module",
    "boto3, aioboto3, botocore, aiobotocore: clients",
    "langchain: ChatOpenAI, ChatAnthropic, ChatGoogleGenerativeAI, and other models that hold one of these clients",
    "llama-index, pydantic-ai, instructor: models, agents and clients that hold one of these clients",
    "any SDK client that keeps an httpx or httpx2 client in `_client`",
    "httpx and httpx2: Client, AsyncClient",
    "requests: Session",
    "aiohttp: ClientSession",
)
_PACKAGES = ("httpx", "httpx2")

# Where the classes of a package keep what is below them; several where they hold a sync and an async one. `()`: what
# gives it, which makes it when it is first asked for.
_BELOW: dict[str, tuple[str, ...]] = {
    "cohere": ("_client_wrapper.httpx_client.httpx_client",),
    "instructor": ("client",),
    "langchain_anthropic": ("_client", "_async_client"),
    "langchain_aws": ("client",),
    "langchain_cohere": ("client", "async_client"),
    "langchain_core": ("bound", "_client"),
    "langchain_google_genai": ("client",),
    "langchain_groq": ("client", "async_client"),
    "langchain_mistralai": ("client", "async_client"),
    "langchain_ollama": ("_client", "_async_client"),
    "langchain_openai": ("root_client", "root_async_client", "client", "async_client"),
    "llama_index": ("_client", "_aclient", "_get_client()", "_get_aclient()"),
    "mistralai": ("sdk_configuration.client", "sdk_configuration.async_client"),
    "pydantic_ai": ("client", "model", "wrapped"),
}
_DEEPEST = 5


def wrap(client: T, provider: str | None, copy: bool, trail: Trail) -> T:
    """Observes a client, or a twin of it."""
    if provider is not None and not isinstance(provider, str):
        raise TypeError(f"wrap: provider must be a name, got {provider!r}")
    if isinstance(client, type):
        raise TypeError(
            f"wrap: cannot observe the class {client.__name__}. Supported: {'; '.join(SUPPORTED)}"
        )
    observers = list(_observers(client))
    if not observers:
        what = f"{_name(client)} ({client!r:.80})"
        raise TypeError(f"wrap: cannot observe {what}. Supported: {'; '.join(SUPPORTED)}")
    seen = wrapped.get(_name(client)) or Seen(_name(client))
    if copy:
        client = _twin(client, provider, trail, seen)
    else:
        for observe in observers:
            observe(provider, trail, seen)
    # Atomic: of two threads that are first at once one counts for itself.
    wrapped.setdefault(seen.what, seen)
    return client


def _observers(client: Any, depth: int = 0) -> Iterator[Observe]:
    """What observes each HTTP client below an object; nothing when there is none."""
    leaf = _leaf(client)
    if leaf is not None:
        yield leaf
    elif depth < _DEEPEST and client is not None:
        for path in _below(client):
            yield from _observers(_at(client, path), depth + 1)


def _leaf(client: Any) -> Observe | None:
    """What observes an object that sends by itself."""
    package = _package(client)
    if package is not None:
        from ._httpx import observe

        return lambda provider, trail, seen: observe(client, package, provider, trail, seen)
    if _is(client, "google.genai", ("Client", "AsyncClient")):
        from ._google import observe_genai

        return lambda provider, trail, seen: observe_genai(client, provider, trail, seen)
    if _is(client, "botocore", ("BaseClient",)):
        from ._botocore import observe_endpoint

        return lambda provider, trail, seen: observe_endpoint(client, provider, trail, seen)
    if _is(client, "requests", ("Session",)):
        from ._urllib3 import observe_session

        return lambda provider, trail, seen: observe_session(client, provider, trail, seen)
    if _is(client, "aiohttp", ("ClientSession",)):
        from ._aiohttp import observe_session as observe_aiohttp

        return lambda provider, trail, seen: observe_aiohttp(client, provider, trail, seen)
    return None


def _below(client: Any) -> tuple[str, ...]:
    for kind in type(client).__mro__:
        paths = _BELOW.get(kind.__module__.partition(".")[0])
        if paths is not None:
            return paths
    return ("_client",)


def _at(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name.removesuffix("()"), None)
        if name.endswith("()") and client is not None:
            client = client()
    return client


def _twin(client: Any, provider: str | None, trail: Trail, seen: Seen) -> Any:
    """An observed client that shares the connections of another one, which is left alone."""
    from ._httpx import twin

    package = _package(client)
    if package is not None:
        return twin(client, package, provider, trail, seen)
    http = getattr(client, "_client", None)
    package = _package(http)
    if package is not None:
        with_options = getattr(client, "with_options", None)
        if with_options is not None:
            return with_options(http_client=twin(http, package, provider, trail, seen))
        if _is(client, "ollama", ("BaseClient",)):
            other = copying.copy(client)
            other._client = twin(http, package, provider, trail, seen)
            return other
    raise TypeError(
        f"wrap: copy=True cannot be served for {_name(client)}: give it an HTTP client of its own and wrap that"
    )


def _package(http: object) -> ModuleType | None:
    """The package that an HTTP client is built on: a process can hold both, one of them under any name."""
    for kind in type(http).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in _PACKAGES and kind.__name__ in ("Client", "AsyncClient"):
            return sys.modules.get(root)
    return None


def _is(client: object, package: str, names: tuple[str, ...]) -> bool:
    return any(
        kind.__name__ in names and (kind.__module__ + ".").startswith(package + ".")
        for kind in type(client).__mro__
    )


def _name(client: object) -> str:
    kind = type(client)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
