"""Draws where the worker's time goes: `flame.py FOLDER INFERNO OUT`, the folder of the programs, that of the tools.

`throughput.rs` hands over calls of 2 KB as fast as the worker takes them while `perf` looks on; only its thread is
drawn.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER, INFERNO, OUT = map(Path, sys.argv[1:])
os.environ["LOOPBACK"] = str(FOLDER / "sink")

from caller import loopback  # noqa: E402  (it reads the environment)

COUNT = "60000"
WORKER = b"llmtrail;"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, loopback("sink") as host:
        data = f"{folder}/perf.data"
        subprocess.run(
            ["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "--call-graph", "fp", "-o", data,
             str(FOLDER / "throughput"), host, COUNT, "2"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        script = subprocess.run(["perf", "script", "-i", data], capture_output=True, check=True).stdout
    collapsed = subprocess.run(
        [INFERNO / "inferno-collapse-perf"], input=script, capture_output=True, check=True
    )
    stacks = [line for line in collapsed.stdout.splitlines(keepends=True) if line.startswith(WORKER)]
    picture = subprocess.run(
        [INFERNO / "inferno-flamegraph", "--title", "The worker, calls of 2 KB", "--minwidth", "0.4"],
        input=b"".join(stacks), capture_output=True, check=True,
    )  # fmt: skip
    # A picture alone: what would make it a program is not ours.
    OUT.write_bytes(
        re.sub(rb'<script.*?</script>|<!--.*?-->| onload="[^"]*"', b"", picture.stdout, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
