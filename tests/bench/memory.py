"""What an observer holds in memory: idle, with 10,000 generations in line, and with a server that is dead.

Each is a process of its own (`memory_subject` in each language); the median of a few. Prints JSON lines.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys

from caller import HERE, ROOT, asked, loopback

RUNS = int(os.environ.get("RUNS", "5"))
DEAD = os.environ.get("DEAD", "100000")

LANGUAGES = {
    "python": ([sys.executable, str(HERE / "memory_subject.py")], ["llmtrail", "posthog"]),
    "node": (["node", "--expose-gc", str(HERE / "memory_subject.mjs")], ["llmtrail", "posthog-node"]),
    "rust": ([str(ROOT / "target/release/memory")], ["llmtrail"]),
}
QUEUED = "10000"


def dead_host() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def main() -> None:
    with loopback() as host:
        for language, (command, observers) in asked(LANGUAGES):

            def megabytes(*arguments: str, command: list[str] = command) -> float:
                runs = [
                    subprocess.run(
                        [*command, *arguments], capture_output=True, text=True, cwd=HERE, check=True
                    )
                    for _ in range(RUNS)
                ]
                return statistics.median(float(run.stdout) for run in runs)

            bare, bare_own = (megabytes("bare", state, host, "0") for state in ("idle", "own"))
            for observer in observers:
                idle = megabytes(observer, "idle", host, "0")
                result = {
                    "idle": idle - bare,
                    "own": megabytes(observer, "own", host, "0") - bare_own,
                    "queued": megabytes(observer, "queued", dead_host(), QUEUED) - idle,
                }
                if observer == "llmtrail":
                    # The same captures that go nowhere: what the program makes of them itself is not ours.
                    alone = megabytes("disabled", "dead", host, DEAD)
                    result["dead"] = megabytes(observer, "dead", dead_host(), DEAD) - alone
                about = {"language": language, "observer": observer, "memory_mb": result, "dead": int(DEAD)}
                print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
