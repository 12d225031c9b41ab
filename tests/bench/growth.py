"""How what llmtrail takes grows: over the size of a body, the turns of a conversation, and the calls that run at once.

On the caller's thread beside a bare client, as in `caller.py`; and what the worker takes, by `throughput.rs`. Prints
JSON lines, one for each curve.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess

from caller import LANGUAGES, ROOT, Subject, asked, loopback

ROUNDS = int(os.environ.get("ROUNDS", "40"))
STEPS = {
    "kb": [1, 10, 100, 1000, 10_000],
    "turns": [1, 10, 100, 1000, 10_000],
    "together": [1, 10, 100, 1000],
}


def caller(subject: Subject, axis: str, step: int) -> float:
    """Extra microseconds on the caller's thread for one call."""
    rounds = subject.rounds({axis: step}, max(5, ROUNDS // (1 + step // 200)))
    # The lower quartiles: a call of 10 MB takes a tenth of a second, in which a machine does other things too.
    bare, observed = (statistics.quantiles([took[who] / 1e3 for took in rounds], n=4)[0] for who in (0, 1))
    return (observed - bare) / (step if axis == "together" else 1)


def worker(host: str, axis: str, step: int) -> float:
    """Microseconds of CPU for one call, from its bytes to the server."""
    # About as much work for each step; the kernel counts hundredths of a second.
    count = min(ROUNDS * 500, max(ROUNDS // 4, ROUNDS * 2000 // step))
    # A turn has an eighth of a KB, beside what each call has.
    size, turns = (step, 1) if axis == "kb" else (2 + step // 8, step)
    command = [str(ROOT / "target/release/throughput"), host, str(count), str(size), str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["cpu_us"]


def main() -> None:
    with loopback("sink") as host:
        for axis, steps in STEPS.items():
            for language, about in asked(LANGUAGES):
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
