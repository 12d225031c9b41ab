"""Exit and fork: what was captured is sent before the process ends, within a deadline."""

from __future__ import annotations

import atexit
import os
import sys
from _weakref import ref  # the C part alone: `weakref` would cost an import
from itertools import count
from time import monotonic

from ._core import part

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

    from . import _core
    from ._hooks import Bare
    from ._notes import Notes

DEADLINE = 2.0

# Calls under way, by their ids. At the end of their client they are recorded as they are: nobody will read on.
under_way: dict[int, ref[Notes]] = {}

# By number, for threads add to them at once.
_clients: dict[int, ref[_core.Client]] = {}
_number = count()
# Whether this process has arranged the flush at its end. Read before every capture, so a plain name.
armed = False
# Another object whenever it may no longer hold which client an observer's calls go to: a new default client, a fork.
epoch = object()
# Threads of ours that run the application's hooks.
threads: set[threading.Thread | Bare] = set()
# How long they are waited for when there is nothing left for them to do.
_MOMENT = 0.2


def register(client: _core.Client) -> None:
    """Makes sure that a client is flushed at exit, if it still lives then."""
    _clients[next(_number)] = ref(client)
    for number, known in list(_clients.items()):
        if known() is None:
            _clients.pop(number, None)


def turn() -> None:
    """Lets observers ask for their clients anew."""
    global epoch
    epoch = object()


def arm() -> None:
    """Arranges the flush at exit; called before the first capture in a process."""
    global armed
    armed = True
    # Children of multiprocessing end without atexit; they run its finalizers, none from before their start. So do those
    # of billiard, which is Celery's copy of it.
    for name in ("multiprocessing.util", "billiard.util"):
        util = sys.modules.get(name)
        if util is not None:
            util.Finalize(None, _at_exit, exitpriority=-100)
            util.register_after_fork(_at_exit, _disarm)
    # Those of a pool of Celery's end without even that; it has a signal for them.
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(_at_exit, weak=False)


def end_calls(client: _core.Client | None = None) -> None:
    """Records calls under way as they are: those of a client, or all."""
    for call in list(under_way.values()):
        notes = call()
        if notes is not None and (client is None or notes.trail is client):
            notes.end("abandoned")


def _at_exit(**_: object) -> None:
    end = monotonic() + DEADLINE
    end_calls()
    for known in list(_clients.values()):
        client = known()
        if client is not None:
            try:
                client.shutdown(max(0.0, end - monotonic()), False)
            except Exception:  # the process is ending; nobody is left to tell
                continue
    part(max(0.0, end - monotonic()))
    # A thread that comes back from the core while the interpreter is taken down would take the process with it.
    for thread in list(threads):
        thread.join(_MOMENT)


def _disarm(_: object = None) -> None:
    global armed
    armed = False
    turn()
    # They are the parent's, also where a child unwinds what they were begun in.
    for call in list(under_way.values()):
        notes = call()
        if notes is not None:
            notes.over = True
    under_way.clear()
    threads.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disarm)
