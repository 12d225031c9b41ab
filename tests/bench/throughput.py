"""How many observed calls one worker can deliver a second, and their CPU, from their bytes to the server.

`throughput.rs` hands over exchanges as fast as the worker takes them; `sink.rs` takes whatever is posted. Prints JSON
lines.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess

from caller import ROOT, loopback

RUNS = int(os.environ.get("RUNS", "5"))
COUNT = int(os.environ.get("COUNT", "10000"))

# By size in KB: how many there are to one of 2 KB.
SIZES = {2: 4.0, 100: 0.2}


def main() -> None:
    with loopback("sink") as host:
        for size, times in SIZES.items():
            command = [str(ROOT / "target/release/throughput"), host, str(int(COUNT * times)), str(size)]
            runs = [
                json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                for _ in range(RUNS)
            ]
            result = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(json.dumps({"throughput": size, "result": result}), flush=True)


if __name__ == "__main__":
    main()
