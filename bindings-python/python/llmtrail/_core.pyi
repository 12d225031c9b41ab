"""The core, as Rust provides it. Values that are free in form cross the border as JSON text."""

from collections.abc import Iterable
from os import PathLike
from typing import Any, final

__all__ = [
    "Client",
    "Filter",
    "Hooks",
    "Report",
    "Scope",
    "SinkStats",
    "Stats",
    "Timer",
    "__version__",
    "cli",
    "cost",
    "known_sdks",
    "set_price",
]

__version__: str

def cost(client: Client, question: str) -> str: ...
def set_price(client: Client, price: str) -> None: ...
def cli(argv: list[str] | list[PathLike[str]], host: str | None = None) -> int:
    """Runs the command line with these arguments, without the program's name; says the exit code.

    `host`: what `doctor` is to know of Python, as JSON.
    """

def known_sdks() -> list[str]:
    """The names of the SDKs that `doctor` looks for."""

@final
class Report:
    """What was sent, what is pending and what was dropped, by reason: events since the client began."""

    @property
    def captured(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def dropped(self) -> dict[str, int]: ...

@final
class Stats:
    """How things stand."""

    @property
    def captured(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def dropped(self) -> dict[str, int]: ...
    @property
    def queued_bytes(self) -> int:
        """Bytes queued in memory."""
    @property
    def spooled(self) -> int:
        """Events in this process's part of the spool; they are pending."""
    @property
    def spooled_bytes(self) -> int: ...
    @property
    def recovered(self) -> int:
        """Events of `captured` that were found in the spool of processes that ended."""
    @property
    def sink(self) -> str:
        """Where events go; the first place, if there are several."""
    @property
    def sinks(self) -> list[SinkStats]:
        """How each sink does; empty until the first event."""
    @property
    def last_error(self) -> str | None: ...
    @property
    def last_success(self) -> float | None:
        """When the first sink last took something, in seconds since 1970."""
    @property
    def notes(self) -> dict[str, int]: ...

@final
class SinkStats:
    """How one sink does."""

    @property
    def name(self) -> str: ...
    @property
    def delivered(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def dropped(self) -> dict[str, int]: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def last_success(self) -> float | None: ...

@final
class Scope:
    @property
    def name(self) -> str | None: ...
    @property
    def trace_id(self) -> str | None: ...
    @property
    def span_id(self) -> str | None: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def distinct_id(self) -> str | None: ...
    def set_name(self, name: str) -> None: ...
    def set_type(self, kind: str) -> None: ...
    def set_input(self, json: str) -> None: ...
    def set_output(self, json: str) -> None: ...
    def set_error(self, kind: str, message: str) -> None: ...
    def set_properties(self, json: str) -> None: ...

@final
class Timer:
    @property
    def id(self) -> str: ...
    def first_token(self) -> None: ...
    def end(self, record: str) -> None: ...

@final
class Filter:
    def push(self, piece: bytes) -> bytes: ...
    def finish(self) -> bytes: ...

@final
class Hooks:
    def take(self, timeout: float) -> tuple[list[tuple[int, bytes]], list[tuple[str, str]]] | None: ...
    def send(self, number: int, json: str) -> None: ...
    def drop(self, number: int) -> None: ...
    def fail(self, number: int, why: str) -> None: ...

@final
class Client:
    def __new__(cls, options: str, before_send: bool = False, on_error: bool = False) -> Client: ...
    @property
    def enabled(self) -> bool: ...
    def recognise(self, method: str, url: str, provider: str | None, certain: bool) -> int: ...
    def ask(self, url: str, provider: str | None, body: object) -> bytes | None: ...
    def filter(self, response: Any, decoded: bool) -> Filter | None: ...
    def record(
        self,
        request: Any,
        url: str,
        response: Any,
        provider: str | None,
        scope: Scope | None,
        wall: int,
        marks: list[int],
        pieces: list[bytes],
        waited: int,
        paused: int,
        how: str,
        error: BaseException | None,
        decoded: bool,
        asked_usage: bool,
    ) -> None: ...
    def record_parts(
        self,
        method: str,
        url: str,
        request_headers: Iterable[tuple[str | bytes, str | bytes]],
        request_body: object,
        status: int | None,
        response_headers: Iterable[tuple[str | bytes, str | bytes]] | None,
        provider: str | None,
        scope: Scope | None,
        wall: int,
        marks: list[int],
        pieces: list[bytes],
        waited: int,
        paused: int,
        how: str,
        error: BaseException | None,
        decoded: bool,
    ) -> None: ...
    def open(self, kind: str, parent: Scope | None, options: str) -> Scope: ...
    def close(self, scope: Scope) -> None: ...
    def capture(self, scope: Scope | None, event: str, options: str) -> str: ...
    def capture_call(self, scope: Scope | None, embedding: bool, record: str) -> str: ...
    def capture_step(self, scope: Scope | None, kind: str, record: str) -> str: ...
    def feedback(self, scope: Scope | None, trace: Scope | str | None, options: str) -> None: ...
    def metric(self, scope: Scope | None, trace: Scope | str | None, name: str, options: str) -> None: ...
    def headers(self, scope: Scope | None) -> list[tuple[str, str]]: ...
    def timer(self, scope: Scope | None, embedding: bool) -> Timer: ...
    def totals(self, scope: Scope, timeout: float) -> tuple[int, int, float | None, dict[str, int]]: ...
    def flush(self, timeout: float) -> Report: ...
    def shutdown(self, timeout: float) -> Report: ...
    def hooks(self) -> Hooks | None: ...
    def stats(self) -> Stats: ...
    def doctor(self, host: str, timeout: float) -> tuple[str, str]: ...
    def note(self) -> None: ...
    def observe(
        self,
        url: str,
        *,
        method: str = "POST",
        request_headers: list[tuple[str, str]] | None = None,
        request_body: bytes | None = None,
        status: int | None = None,
        response_headers: list[tuple[str, str]] | None = None,
        chunks: list[tuple[bytes, float]] | None = None,
        decoded: bool = False,
        end: str = "complete",
        error: str | None = None,
        provider: str | None = None,
        scope: Scope | None = None,
        asked_usage: bool = False,
    ) -> None: ...
