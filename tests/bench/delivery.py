"""Captures by hand and their delivery: llmtrail beside `posthog` and `posthog-node`, and llmtrail in Rust.

Each run is a process of its own that captures generations of 2 KB as fast as it can and waits until all are delivered
to a loopback server. The observers take turns. Prints JSON lines.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import urllib.request

from caller import HERE, ROOT, loopback

COUNT = int(os.environ.get("COUNT", "10000"))
RUNS = int(os.environ.get("RUNS", "5"))

LANGUAGES = {
    "python": ([sys.executable, str(HERE / "delivery_subject.py")], ["llmtrail", "posthog"]),
    "node": (["node", str(HERE / "delivery_subject.mjs")], ["llmtrail", "posthog-node"]),
    "rust": ([str(ROOT / "target/release/bench")], ["llmtrail"]),
}


def stored(host: str) -> int:
    """How many events the server took; it forgets them."""
    with urllib.request.urlopen(f"{host}/_control/events", timeout=60) as answer:
        events = json.load(answer)
    urllib.request.urlopen(urllib.request.Request(f"{host}/_control", method="DELETE"), timeout=60).close()
    return len(events if isinstance(events, list) else events["events"])


def main() -> None:
    with loopback() as host:
        for language, (command, observers) in LANGUAGES.items():
            runs: dict[str, list[dict]] = {name: [] for name in observers}
            for _ in range(RUNS):
                for name in random.sample(observers, len(observers)):
                    done = subprocess.run(
                        [*command, name, host, str(COUNT)],
                        capture_output=True, text=True, cwd=HERE, check=True,
                    )  # fmt: skip
                    arrived = stored(host)
                    runs[name].append({**json.loads(done.stdout), "lost": COUNT - arrived})
            result = {
                name: {key: statistics.median(run[key] for run in each) for key in each[0]}
                for name, each in runs.items()
            }
            print(json.dumps({"language": language, "delivery": result, "count": COUNT}), flush=True)


if __name__ == "__main__":
    main()
