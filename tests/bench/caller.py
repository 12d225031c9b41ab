"""Extra time per call on the caller's thread: llmtrail, a hook that only copies, and PostHog's own wrappers.

Each observer has a process of its own with a bare client beside the observed one (`subject.py`, `subject.mjs`), as an
application has one observer and not three that share its caches, its garbage collector and its GIL. The processes take
turns in blocks of a few rounds, so that what else the machine does meets them all; each call is compared with the bare
one of the same round. All observers deliver to one loopback server. Prints JSON lines.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROUNDS = int(os.environ.get("ROUNDS", "500"))
BLOCK = 25
COPY = "copying hook"

LANGUAGES = {
    "python": {
        "command": [sys.executable, str(HERE / "subject.py")],
        "observers": [COPY, "llmtrail", "posthog.ai"],
        "cases": [
            f"{how}{what}"
            for how in ("", "async, ")
            for what in ("1 KB", "100 KB", "20 chunks", "200 chunks")
        ],
        "imports": {
            "llmtrail": "import llmtrail",
            "posthog": "import posthog",
            "posthog.ai.openai": "import posthog.ai.openai",
        },
        "run": [sys.executable, "-c"],
        "nothing": "pass",
    },
    "node": {
        "command": ["node", str(HERE / "subject.mjs")],
        "observers": [COPY, "llmtrail", "@posthog/ai"],
        "cases": ["1 KB", "100 KB", "20 chunks", "200 chunks"],
        "imports": {"llmtrail": 'require("llmtrail")', "@posthog/ai": 'require("@posthog/ai/openai")'},
        "run": ["node", "-e"],
        "nothing": "0",
    },
}


def asked(languages: dict[str, Any]) -> list[tuple[str, Any]]:
    """Those of the languages that are to be measured: all, or what `LANGUAGES` says."""
    return [(name, languages[name]) for name in os.environ.get("LANGUAGES", ",".join(languages)).split(",")]


class Subject:
    """One observer's process."""

    def __init__(self, command: list[str], observer: str, host: str) -> None:
        self.process = subprocess.Popen(
            [*command, observer, host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
        )

    def rounds(self, case: dict, count: int) -> list[list[int]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**case, "rounds": count}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a subject ended: {self.process.args}")
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measured(subjects: dict[str, Subject], case: str) -> dict[str, dict[str, float]]:
    took: dict[str, list[list[int]]] = {name: [] for name in subjects}
    for _ in range(max(1, ROUNDS // BLOCK)):
        for name in random.sample(list(subjects), len(subjects)):
            took[name] += subjects[name].rounds({"case": case}, BLOCK)
    out = {"bare": {"median_us": statistics.median(r[0] / 1e3 for rounds in took.values() for r in rounds)}}
    for name, rounds in took.items():
        extra = sorted((r[1] - r[0]) / 1e3 for r in rounds)
        out[name] = {
            "median_us": statistics.median(extra),
            "p99_us": extra[int(len(extra) * 0.99)],
            "cpu_us": statistics.median((r[3] - r[2]) / 1e3 for r in rounds),
        }
        if len(rounds[0]) > 4:
            out[name]["call_us"] = statistics.median((r[5] - r[4]) / 1e3 for r in rounds)
    return out


def import_times(run: list[str], nothing: str, statements: dict[str, str]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ("bare", *statements)}
    for _ in range(15):
        for name, statement in {"bare": nothing, **statements}.items():
            before = time.perf_counter()
            subprocess.run([*run, statement], check=True, cwd=HERE)
            times[name].append(time.perf_counter() - before)
    bare = statistics.median(times.pop("bare"))
    return {name: (statistics.median(all_) - bare) * 1e3 for name, all_ in times.items()}


@contextmanager
def loopback(name: str = "loopback") -> Iterator[str]:
    """The address of a loopback server, which all observers deliver to."""
    program = os.environ.get("LOOPBACK", str(ROOT / "target/release" / name))
    server = subprocess.Popen(
        [program, "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    host = server.stdout.readline().strip().removeprefix("listening on ")
    threading.Thread(target=server.stdout.read, daemon=True).start()
    try:
        yield host
    finally:
        server.kill()
        server.wait()


def main() -> None:
    with loopback() as host:
        for language, about in asked(LANGUAGES):
            subjects = {name: Subject(about["command"], name, host) for name in about["observers"]}
            try:
                for case in about["cases"]:
                    result = measured(subjects, case)
                    print(json.dumps({"language": language, "case": case, "result": result}), flush=True)
            finally:
                for subject in subjects.values():
                    subject.end()
            times = import_times(about["run"], about["nothing"], about["imports"])
            print(json.dumps({"language": language, "imports_ms": times}), flush=True)


if __name__ == "__main__":
    main()
