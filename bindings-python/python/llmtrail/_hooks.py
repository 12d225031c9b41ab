"""The application's functions (`redact`, `before_send`, `on_generation`, `on_error`), run on a thread of their own."""

from __future__ import annotations

import os
import sys

from . import _lifecycle
from ._errors import ConfigError, make
from ._json import hand_over
from ._totals import FinishedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, TypedDict

    from . import _core

    class Policy(TypedDict, total=False):
        """What of an event's content a sink gets, where that is different from what everybody gets."""

        privacy: bool | None
        full_capture: bool | None
        detectors: bool | Sequence[Literal["email", "phone", "card", "iban", "ip"]] | None
        redact: bool | None


_LONG = 3600.0


def checked(name: str, hook: Any) -> Any:
    """The hook, if it is one."""
    if hook is None:
        return None
    if not callable(hook):
        raise ConfigError(f"{name}: expected a function, got {type(hook).__name__}")
    code = getattr(hook, "__code__", None)
    if code is not None and code.co_flags & 0x80:  # inspect.CO_COROUTINE
        raise ConfigError(
            f"{name}: expected a function that is not async: it runs on a thread without an event loop"
        )
    return hook


class Hooks:
    """The hooks of one client, and their thread in this process."""

    __slots__ = ("_functions", "_pid", "_takes_path")

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        self._functions = {name: checked(name, function) for name, function in functions.items()}
        self._takes_path = "redact" in functions and _takes_two(functions["redact"])
        self._pid = 0

    def names(self) -> list[str]:
        return list(self._functions)

    def ensure(self, core: _core.Client) -> None:
        """Starts the thread, unless this process has it. Called before each capture, so what is usual comes first."""
        pid = os.getpid()
        if self._pid == pid:
            return
        self._pid = pid
        try:
            self._start(core)
        except Exception:  # no thread can be started now, as at the very end of a process
            self._pid = 0

    def _start(self, core: _core.Client) -> None:
        desk = core.hooks()
        if desk is None:
            return
        # A daemon: what waits for a hook that hangs must not keep the process. At the end of the process it is given
        # the time of the shutdown, and a moment to come back (see `_lifecycle`).
        _lifecycle.threads.add(_started(desk, self._functions, self._takes_path))
        for known in list(_lifecycle.threads):
            if not known.is_alive():
                _lifecycle.threads.discard(known)


def _started(*args: Any) -> threading.Thread | Bare:
    """The thread that runs hooks, which is one of the system's in any case."""
    import threading

    module = _unpatched()
    if module is not None:
        return Bare(module, args)
    thread = threading.Thread(target=_live, args=args, name="llmtrail-hooks", daemon=True)
    thread.start()
    return thread


class Bare:
    """A thread of the system's where `threading` starts tasks of a library's loop in their place: who waits in the core
    there would hold up that loop, and with it the whole program."""

    __slots__ = ("_lives",)

    def __init__(self, module: Any, args: tuple[Any, ...]) -> None:
        lives = self._lives = module.allocate_lock()
        lives.acquire()

        def run() -> None:
            try:
                _live(*args)
            finally:
                lives.release()

        module.start_new_thread(run, ())

    def is_alive(self) -> bool:
        return bool(self._lives.locked())

    def join(self, timeout: float) -> None:
        if self._lives.acquire(timeout=timeout):
            self._lives.release()


def _unpatched() -> Any:
    """`_thread` as it was before gevent or eventlet put their own functions into it; None: it is as it was."""
    import _thread
    from types import BuiltinFunctionType, SimpleNamespace

    if type(_thread.start_new_thread) is BuiltinFunctionType:
        return None
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("_thread"):
        names = ("start_new_thread", "allocate_lock")
        return SimpleNamespace(**{name: gevent.get_original("_thread", name) for name in names})
    eventlet = sys.modules.get("eventlet.patcher")
    return None if eventlet is None else eventlet.original("_thread")


def _takes_two(redact: Callable[..., Any]) -> bool:
    """Whether it wants the path of a text too."""
    from inspect import Parameter, signature

    try:
        parameters = signature(redact).parameters.values()
    except (TypeError, ValueError):  # one that is written in C and does not tell
        return False
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is Parameter.empty for p in parameters) > 1


def _live(desk: _core.Hooks, hooks: dict[str, Callable[..., Any]], takes_path: bool) -> None:
    from json import loads

    while True:
        work = desk.take(_LONG)
        if work is None:
            return
        texts, events, calls, notices = work
        for code, message in notices:
            _told(hooks.get("on_error"), make(code, message, None))
        for number, pairs in texts:
            _redact(desk, number, pairs, hooks["redact"], takes_path)
        for number, json in events:
            _judge(desk, number, json, hooks.get("before_send"))
        for call in calls:
            desk.told(1, 0 if _told(hooks.get("on_generation"), FinishedCall(loads(call))) else 1)


# What hooks raise must not end their thread, for that would end delivery: hence `BaseException`.


def _told(hook: Callable[..., Any] | None, what: object) -> bool:
    try:
        if hook is not None:
            hook(what)
    except BaseException:  # the application's own; it has nobody to go to
        return False
    return True


def _redact(
    desk: _core.Hooks,
    number: int,
    pairs: list[tuple[str, str]],
    redact: Callable[..., Any],
    takes_path: bool,
) -> None:
    made: list[str | None] = []
    why = None
    for text, path in pairs:
        try:
            said = redact(text, path) if takes_path else redact(text)
            if not isinstance(said, str):
                raise TypeError(f"it gave back {type(said).__name__}, and not a text")
            said.encode()  # what UTF-8 does not hold cannot be sent
            made.append(said)
        except BaseException as error:
            made.append(None)
            why = _show(error)
    desk.redacted(number, made, why)


def _judge(desk: _core.Hooks, number: int, json: bytes, before_send: Callable[..., Any] | None) -> None:
    from functools import partial
    from json import loads

    try:
        kept = loads(json) if before_send is None else before_send(loads(json))
        if kept is None:
            desk.drop(number)
        elif not isinstance(kept, dict):
            desk.fail(number, f"it gave back {type(kept).__name__}, and not an event or None")
        else:
            hand_over(partial(desk.send, number), kept)
    except BaseException as error:
        desk.fail(number, _show(error))


def _show(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # one that cannot be shown
        return type(error).__name__
