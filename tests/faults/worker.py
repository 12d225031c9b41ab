"""A program that captures what it is told, as `capturer.rs` does: the one in Python that has to survive the faults."""

import json
import os
import sys
import time
from statistics import median

import llmtrail

captured = 0
client = llmtrail.init()


def capture(count: int, text: str) -> dict:
    """Captures, and says what the median capture took of the caller."""
    global captured
    took = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        properties = {"$ai_model": "gpt-5-mini", "n": captured, "text": text}
        llmtrail.capture("$ai_generation", "user", properties)
        took.append(time.perf_counter_ns() - begun)
        captured += 1
    return {"median_us": median(took) / 1000}


def counts(report: object) -> dict:
    return {name: getattr(report, name) for name in ("captured", "delivered", "pending", "dropped")}


def children(count: int) -> None:
    """Children by a bare fork: each captures, and ends as the finalizers of multiprocessing want it."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    started = [context.Process(target=capture, args=(count, "child"))]
    for child in started:
        child.start()
    for child in started:
        child.join()


for line in sys.stdin:
    command, *rest = line.split()
    number = int(rest[0]) if rest else 0
    begun = time.monotonic()
    answer: dict = {}
    if command == "capture":
        answer = capture(number, rest[1] if len(rest) > 1 else "hello")
    elif command == "flush":
        answer = counts(llmtrail.flush(number / 1000))
    elif command == "shutdown":
        answer = counts(llmtrail.shutdown(number / 1000))
    elif command == "stats":
        stats = llmtrail.stats()
        names = ("spooled", "queued_bytes", "recovered", "last_error", "last_success")
        answer = counts(stats) | {name: getattr(stats, name) for name in names}
    elif command == "repr":
        answer = {
            "repr": [repr(what) for what in (client, client._core, llmtrail.stats(), llmtrail.stats().sinks)]
        }
    elif command == "fork":
        children(number)
    elif command == "exit":
        os._exit(0)
    else:
        sys.exit(f"unknown command: {line}")
    answer["took_ms"] = round((time.monotonic() - begun) * 1000)
    print(json.dumps(answer), flush=True)
