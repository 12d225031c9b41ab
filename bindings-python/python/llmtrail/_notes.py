"""What the observers of all HTTP libraries share: which addresses are calls, the provider's clock, the hand-over.

A step into the core costs more than all that happens here, for its code is cold whenever it is needed. So what the
core said of an address is remembered, and what is seen of a call is noted in Python and handed over once, at its end.
Everything of ours is guarded: when it fails, it is counted and the call goes on.
"""

from __future__ import annotations

from _weakref import ref
from contextvars import ContextVar
from sys import modules
from time import perf_counter_ns, time_ns

from . import _lifecycle
from ._lifecycle import under_way
from ._scopes import current, scope_of_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from . import _core

# An observer above is seeing this request to its end: HTTP libraries stand on one another.
within: ContextVar[bool] = ContextVar("llmtrail-within", default=False)

# What the core said of an address: it is none of ours, it is a call, it is a call in whose stream usage may be asked
# for.
NONE, CALL, ASKS = 0, 1, 2
_MOST_ADDRESSES = 256
_POLL = "/responses/"


class Seen:
    """What is observed under one name, for `doctor`: silent zero capture is the worst failure."""

    __slots__ = ("calls", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.calls = 0


# By the name of the client's class. Of classes and not of clients: these may come and go by the thousand.
wrapped: dict[str, Seen] = {}


class Asking:
    """Whether there is a budget, so that calls ask before they begin."""

    wanted = False


class Observer:
    """What all hooks of one HTTP client share. `own`: it is that of a wrapped client, and not of the whole process."""

    __slots__ = ("core", "epoch", "known", "known_to", "own", "provider", "seen", "trail")

    def __init__(
        self, provider: str | None, trail: Callable[[], _core.Client], seen: Seen, own: bool = False
    ) -> None:
        self.own = own
        self.seen = seen
        self.provider = provider
        self.trail = trail
        self.core: Any = None
        self.epoch: object = None
        self.known: dict[Any, tuple[int, str]] = {}
        self.known_to: tuple[Any, str | None] = (None, None)

    def aim(self, provider: str | None, trail: Callable[[], _core.Client]) -> None:
        """Lets calls go to another client, and perhaps a provider of another name."""
        self.provider = provider or self.provider
        self.trail, self.epoch = trail, None

    def client(self) -> _core.Client:
        """The client that calls go to now."""
        epoch = _lifecycle.epoch
        if self.epoch is not epoch:
            # In this order: whoever sees the epoch finds the client.
            self.core = self.trail()
            # The thread for an application's hooks is looked after at each call.
            if self.core.hooks() is None:
                self.epoch = epoch
        return self.core  # type: ignore[no-any-return]

    def kind(self, trail: _core.Client, url: str, method: str = "POST") -> int:
        """What a request to this address is."""
        return self.address(trail, url, url, method)[0]

    def address(self, trail: _core.Client, key: Any, url: object, method: str = "POST") -> tuple[int, str]:
        """What a request to this address is, and the address as text. It is only printed when its key is not known."""
        if method != "POST":
            # What began in the background is asked for again, each time at an address of its own; nothing else that
            # is read is of a call.
            text = str(url)
            polls = _POLL in text
            return trail.recognise(method, text, self.provider, not self.own) if polls else NONE, text
        to = self.known_to
        if to[0] is not trail or to[1] is not self.provider:
            self.known, self.known_to = {}, (trail, self.provider)
        found = self.known.get(key)
        if found is None:
            text = str(url)
            found = trail.recognise("POST", text, self.provider, not self.own), text
            if len(self.known) >= _MOST_ADDRESSES:
                self.known.clear()
            self.known[key] = found
        return found

    def trouble(self) -> None:
        """Counts something of ours that went wrong."""
        try:
            self.client().note()
        except Exception:
            return


class Notes:
    """What was seen of one HTTP attempt; handed over to the core at its end, once.

    Times are in nanoseconds. `waited` is the provider's clock until the response's head; from then on `reading` has it.
    How they begin and how they are handed over is each kind's own, in one step: a second function for what all kinds
    share would take a microsecond more, for its code is cold whenever it is called.
    """

    __slots__ = (
        "__weakref__", "asked", "decoded", "observer", "over", "reading", "reservation", "scope", "start", "trail",
        "url", "waited", "wall",
    )  # fmt: skip

    trail: _core.Client
    observer: Observer
    url: str
    scope: _core.Scope | None
    reading: _core.Reading | None
    reservation: _core.Reservation | None
    asked: bool
    decoded: bool
    over: bool
    waited: int
    wall: int
    start: int

    def asks(self) -> None:
        """The consumer asks for more."""
        if self.reading is not None:
            self.reading.asks()

    def came(self) -> None:
        """What was asked for came, or an end."""
        if self.reading is not None:
            self.reading.stop()

    def piece(self, piece: object) -> None:
        """A piece of the body."""
        if type(piece) is bytes and self.reading is not None:
            self.reading.keep(piece)

    def whole(self, body: object, decoded: bool = True) -> None:
        """The body was here with the head: of a mock, a cache, or an SDK that reads it at once."""
        self.decoded = decoded
        self.piece(body)
        self.end("complete")

    def fail(self, error: BaseException) -> None:
        """The attempt ended with an exception, perhaps in the place of a head."""
        if self.reading is None:
            self.waited = perf_counter_ns() - self.start
        self.end("error", error)

    def end(self, how: str, error: BaseException | None = None) -> None:
        """Hands over. Only the first call counts. Never raises."""
        raise NotImplementedError

    def discard(self) -> None:
        """It is not sent: it counts for nothing."""
        self.over = True
        under_way.pop(id(self), None)


class Parts(Notes):
    """Notes of a request and a response as their parts."""

    __slots__ = ("body", "head_of_request", "head_of_response", "method", "status")

    def __init__(
        self,
        trail: _core.Client,
        observer: Observer,
        method: str,
        url: str,
        headers: Iterable[tuple[str | bytes, str | bytes]],
        body: object,
    ) -> None:
        observer.seen.calls += 1
        self.trail = trail
        self.observer = observer
        self.method = method
        self.url = url
        self.head_of_request = headers
        self.body = body
        self.status: int | None = None
        self.head_of_response: Iterable[tuple[str | bytes, str | bytes]] | None = None
        # Mostly there is no OpenTelemetry, and it is a step less.
        self.scope = scope_of_call(trail) if "opentelemetry.trace" in modules else current.get()
        self.reading = self.reservation = None
        self.asked = self.decoded = self.over = False
        self.waited = 0
        self.wall = time_ns()
        self.start = perf_counter_ns()
        under_way[id(self)] = ref(self)

    def answered(self, status: int, headers: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        """The response's head came."""
        self.waited = perf_counter_ns() - self.start
        self.reading = self.trail.reading(self.waited, None, False)
        self.status = status
        self.head_of_response = headers

    def end(self, how: str, error: BaseException | None = None) -> None:
        if self.over:
            return
        self.over = True
        under_way.pop(id(self), None)
        try:
            noted = (
                self.observer.provider, self.scope, self.wall, self.reading, self.waited, how, error, self.decoded,
                self.reservation,
            )  # fmt: skip
            self.trail.record_parts(
                self.method,
                self.url,
                self.head_of_request,
                self.body,
                self.status,
                self.head_of_response,
                noted,
            )
        except Exception:
            self.observer.trouble()
        self.reservation = None
