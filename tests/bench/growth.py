"""How what llmtrail takes grows: over the size of a body, the turns of a conversation, and the calls that run at once.

On the caller's thread beside a bare client, as in `caller.py`; and what the worker takes, by `throughput.rs`. Prints
JSON lines, one for each curve.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess

from caller import LANGUAGES, ROOT, Subject, loopback

ROUNDS = int(os.environ.get("ROUNDS", "40"))
STEPS = {
    "kb": [1, 10, 100, 1000, 10_000],
    "turns": [1, 10, 100, 1000, 10_000],
    "together": [1, 10, 100, 1000],
}


def caller(subject: Subject, axis: str, step: int) -> float:
    """Extra microseconds on the caller's thread for one call."""
    rounds = subject.rounds({axis: step}, max(5, ROUNDS // (1 + step // 200)))
    extra = statistics.median((took[1] - took[0]) / 1e3 for took in rounds)
    return extra / (step if axis == "together" else 1)


def worker(host: str, axis: str, step: int) -> float:
    """Microseconds of CPU for one call, from its bytes to the server."""
    count = max(ROUNDS, ROUNDS * 500 // step)
    size, turns = (step, 1) if axis == "kb" else (max(1, step // 8), step)
    command = [str(ROOT / "target/release/throughput"), host, str(count), str(size), str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["cpu_us"]


def main() -> None:
    with loopback("sink") as host:
        for axis, steps in STEPS.items():
            for language, about in LANGUAGES.items():
                subject = Subject(about["command"], "llmtrail", host)
                try:
                    curve = [(step, caller(subject, axis, step)) for step in steps]
                finally:
                    subject.end()
                print(
                    json.dumps({"growth": axis, "of": f"{language}, on the caller", "curve": curve}),
                    flush=True,
                )
            if axis != "together":
                curve = [(step, worker(host, axis, step)) for step in steps]
                print(json.dumps({"growth": axis, "of": "the worker's CPU", "curve": curve}), flush=True)


if __name__ == "__main__":
    main()
