"""How far another Python thread gets while 10 MB responses are captured: `gil.py`.

The other thread counts. In turns the main thread does nothing, asks a bare client for an answer of 10 MB ten times a
second, and asks an observed one. The answer is read as bytes, for what the SDK does with it is not the observer's.

llmtrail's own thread works on such an answer without the GIL, but on the same processors and their memory. What that
alone takes of the other thread is seen with a bare client while another process, which shares no GIL, works as long
after each answer. Prints a JSON line.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from caller import loopback
from subject import LARGE, clients_of, observed

ROUNDS = int(os.environ.get("ROUNDS", "10"))
WINDOW = 1.0
EVERY = 0.1


class Counter(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count = 0

    def run(self) -> None:
        while True:
            self.count += 1


def asks(client) -> None:
    messages = [{"role": "user", "content": "all"}]
    client.chat.completions.with_raw_response.create(model=LARGE, messages=messages)


# Works for so many nanoseconds of its own CPU a line, on as many bytes as an answer has.
ELSEWHERE = """
import sys, time, zlib
body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"word "}}]}' * (10 << 20 >> 6)
for line in sys.stdin:
    end = time.process_time_ns() + int(line)
    at = 0
    while time.process_time_ns() < end:
        zlib.compress(body[at : at + (64 << 10)], 1)
        at = (at + (64 << 10)) % len(body)
"""


def worker_ns() -> int:
    """The CPU that threads of llmtrail have had so far."""
    tasks = [task for task in Path("/proc/self/task").iterdir() if "llmtrail" in (task / "comm").read_text()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def window(counter: Counter, work) -> float:
    """What the other thread counted a second, while this one does its work every tenth of a second."""
    begun, before = time.perf_counter(), counter.count
    due = begun
    while (now := time.perf_counter()) < begun + WINDOW:
        if now >= due:
            work()
            due += EVERY
        time.sleep(max(0.0, due - time.perf_counter()))
    return (counter.count - before) / (time.perf_counter() - begun)


def main() -> None:
    import httpx2
    import openai

    with loopback("sink") as host:
        bare = openai.OpenAI(api_key="sk-bench", http_client=clients_of(httpx2)[0], max_retries=0)
        with_observer = observed("llmtrail", httpx2, host)[0]
        counter = Counter()
        counter.start()
        asks(with_observer)  # the worker is there from now on
        elsewhere = subprocess.Popen([sys.executable, "-c", ELSEWHERE], stdin=subprocess.PIPE, text=True)
        assert elsewhere.stdin is not None
        to = elsewhere.stdin
        worker = 0

        def asks_beside() -> None:
            asks(bare)
            to.write(f"{worker}\n")
            to.flush()

        work = {
            "alone": lambda: None,
            "bare": lambda: asks(bare),
            "llmtrail": lambda: asks(with_observer),
            "elsewhere": asks_beside,
        }
        counted: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, do in work.items():
                before = worker_ns()
                counted[name].append(window(counter, do))
                if name == "llmtrail":
                    worker = int((worker_ns() - before) / (WINDOW / EVERY))
        middle = {name: statistics.median(each) for name, each in counted.items()}
        shares = {name: middle[name] / middle["alone"] for name in ("bare", "elsewhere", "llmtrail")}
        elsewhere.kill()
        about = {"free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)()}
        print(json.dumps({"gil": shares, "worker_ms": worker / 1e6, **about}), flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
