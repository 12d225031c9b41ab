"""Exit and fork: what was captured is sent before the process ends, within a deadline."""

from __future__ import annotations

import atexit
import os
import sys
from _weakref import ref  # the C part alone: `weakref` would cost an import
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import _core
    from ._notes import Notes

DEADLINE = 2.0

# Calls under way, by their ids. At the end of the process they are recorded as they are: nobody will read on.
under_way: dict[int, ref[Notes]] = {}

_clients: list[ref[_core.Client]] = []
# Whether this process has arranged the flush at its end. Read before every capture, so a plain name.
armed = False


def register(client: _core.Client) -> None:
    """Makes sure that a client is flushed at exit, if it still lives then."""
    global _clients
    _clients = [known for known in _clients if known() is not None]
    _clients.append(ref(client))


def arm() -> None:
    """Arranges the flush at exit; called before the first capture in a process."""
    global armed
    armed = True
    # Children of multiprocessing end without atexit; they run its finalizers, none from before their start.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _at_exit, exitpriority=-100)
        util.register_after_fork(_at_exit, _disarm)


def _at_exit() -> None:
    end = monotonic() + DEADLINE
    for call in list(under_way.values()):
        notes = call()
        if notes is not None:
            notes.end("abandoned")
    for known in _clients:
        client = known()
        if client is not None:
            try:
                client.shutdown(max(0.0, end - monotonic()))
            except Exception:  # the process is ending; nobody is left to tell
                continue


def _disarm(_: object = None) -> None:
    global armed
    armed = False
    under_way.clear()  # they are the parent's


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disarm)
