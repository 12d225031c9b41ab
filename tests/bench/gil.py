"""How far another Python thread gets while 10 MB responses are captured: `gil.py`.

The other thread counts. In turns the main thread does nothing, asks a bare client for an answer of 10 MB ten times a
second, and asks an observed one. The answer is read as bytes, for what the SDK does with it is not the observer's.
Prints a JSON line.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time

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
        work = {"alone": lambda: None, "bare": lambda: asks(bare), "llmtrail": lambda: asks(with_observer)}
        counted: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, do in work.items():
                counted[name].append(window(counter, do))
        middle = {name: statistics.median(each) for name, each in counted.items()}
        shares = {name: middle[name] / middle["alone"] for name in ("bare", "llmtrail")}
        about = {"free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)()}
        print(json.dumps({"gil": shares, **about}), flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
