"""The console entry point."""

from __future__ import annotations

import sys

from ._core import cli


def main() -> int:
    """Runs the command line with this process's arguments."""
    # Python's own handler would only see an interrupt once the core returns.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    host = None
    if "doctor" in sys.argv[1:2]:
        import json

        from ._doctor import host as told

        host = json.dumps(told(None))
    return cli(sys.argv[1:], host)


if __name__ == "__main__":
    sys.exit(main())
