"""What the reqwest middleware adds to a call in Rust: `middleware.rs` beside a server that takes the events."""

from __future__ import annotations

import json
import os
import subprocess

from caller import ROOT, loopback

ROUNDS = os.environ.get("ROUNDS", "2000")


def main() -> None:
    with loopback("sink") as host:
        done = subprocess.run(
            [str(ROOT / "target/release/middleware"), host, ROUNDS],
            capture_output=True,
            text=True,
            check=True,
        )
    for line in done.stdout.splitlines():
        print(json.dumps({"middleware": json.loads(line)}), flush=True)


if __name__ == "__main__":
    main()
