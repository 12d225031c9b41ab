"""`before_send` and `on_error`: functions of the application's, run on a thread of their own."""

from __future__ import annotations

import os

from . import _lifecycle
from ._errors import ConfigError, make
from ._json import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any

    from . import _core

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

    __slots__ = ("_before_send", "_on_error", "_pid", "_thread")

    def __init__(self, before_send: Callable[..., Any] | None, on_error: Callable[..., Any] | None) -> None:
        self._before_send, self._on_error = before_send, on_error
        self._pid = 0
        self._thread: threading.Thread | None = None

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
        import threading

        desk = core.hooks()
        if desk is None:
            return
        # A daemon: what waits for a hook that hangs must not keep the process. At the end of the process it is given
        # the time of the shutdown, and a moment to come back (see `_lifecycle`).
        thread = threading.Thread(
            target=_live, args=(desk, self._before_send, self._on_error), name="llmtrail-hooks", daemon=True
        )
        thread.start()
        self._thread = thread
        _lifecycle.threads.append(thread)


def _live(
    desk: _core.Hooks, before_send: Callable[..., Any] | None, on_error: Callable[..., Any] | None
) -> None:
    from functools import partial
    from json import loads

    while True:
        work = desk.take(_LONG)
        if work is None:
            return
        events, notices = work
        for code, message in notices:
            if on_error is not None:
                try:
                    on_error(make(code, message, None))
                except BaseException:  # the application's own; it has nobody to go to
                    continue
        for number, json in events:
            try:
                kept = loads(json) if before_send is None else before_send(loads(json))
                if kept is None:
                    desk.drop(number)
                elif not isinstance(kept, dict):
                    desk.fail(number, f"it gave back {type(kept).__name__}, and not an event or None")
                else:
                    hand_over(partial(desk.send, number), kept)
            except BaseException as error:  # one that ends the thread would end delivery
                desk.fail(number, f"{type(error).__name__}: {error}")
