"""What `doctor` tells the core of this process: which SDKs are installed, and what is observed."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def doctor(client: _core.Client, show: bool, timeout: float) -> dict[str, Any]:
    """Has the core look at everything; prints it when asked to."""
    text, found = client.doctor(json.dumps(host(observed())), timeout)
    if show:
        print(text)
    return json.loads(found)  # type: ignore[no-any-return]


def host(seen: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Runtime and SDKs; what is observed where this is the application's process."""
    return {
        "runtime": f"{platform.python_implementation()} {platform.python_version()}",
        "sdks": [{"name": name, "version": version} for name, version in _installed()],
        "observed": seen,
    }


def observed() -> list[dict[str, Any]]:
    """The classes of wrapped clients, and the HTTP libraries of an observed process."""
    # What has not been imported has observed nothing.
    notes, instrument = (sys.modules.get(f"llmtrail.{name}") for name in ("_notes", "_instrument"))
    wrapped = [] if notes is None else list(notes.wrapped.values())
    hooked = [] if instrument is None else instrument.hooked()
    if instrument is not None and not hooked and instrument.begun():
        # No HTTP library is imported yet.
        return [*_rows(wrapped, "wrapped"), {"what": "the process", "how": "instrumented", "calls": 0}]
    return [*_rows(wrapped, "wrapped"), *_rows(hooked, "instrumented")]


def _rows(seen: list[Any], how: str) -> list[dict[str, Any]]:
    return [{"what": one.what, "how": how, "calls": one.calls} for one in seen]


def _installed() -> list[tuple[str, str]]:
    found = []
    for name in _core.known_sdks():
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
