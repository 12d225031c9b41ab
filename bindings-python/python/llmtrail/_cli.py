"""The console entry point."""

from __future__ import annotations

import sys

from ._core import cli


def main() -> int:
    """Runs the command line with this process's arguments."""
    # Python's own handler would only see an interrupt once the core returns.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return cli(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
