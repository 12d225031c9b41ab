"""Forks in the middle of streams, over and over: `forks.py ROUNDS CHILD PARENT PROVIDER`.

A thread captures all the time, so that locks are held when the process forks. Each round has one child that captures
CHILD events and ends in one of the ways that children have, and PARENT events of the parent, which forks in the middle
of a streamed answer that it reads to its end. Prints what was captured.
"""

import json
import multiprocessing
import os
import sys
import threading
import time
import warnings

import httpx

import llmtrail

ROUNDS, CHILD, PARENT = map(int, sys.argv[1:4])
PROVIDER = sys.argv[4]
# What this program does is what the warning warns of.
warnings.simplefilter("ignore", DeprecationWarning)
done = False
streamed = 0


def capture(name: str, count: int) -> None:
    for n in range(count):
        llmtrail.capture(name, "user", {"n": n, "text": "x" * 200})


def stream() -> None:
    global streamed
    while not done:
        capture("streamed", 1)
        streamed += 1
        time.sleep(0.002)


def child_by_fork(round_: int) -> None:
    pid = os.fork()
    if pid == 0:
        capture("child", CHILD)
        if round_ % 2:
            sys.exit(0)
        llmtrail.flush(10)
        os._exit(0)
    deadline = time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            sys.exit(f"round {round_}: the child hangs")
        time.sleep(0.002)


def child_by_multiprocessing() -> None:
    process = multiprocessing.get_context("fork").Process(target=capture, args=("child", CHILD))
    process.start()
    process.join(30)
    if process.exitcode != 0:
        sys.exit(f"a child of multiprocessing ended with {process.exitcode}")


if __name__ == "__main__":
    thread = threading.Thread(target=stream)
    thread.start()
    client = llmtrail.wrap(httpx.Client())
    asked = {"model": "gpt-5-mini", "stream": True, "messages": [{"role": "user", "content": "Where is it?"}]}
    try:
        for round_ in range(ROUNDS):
            capture("parent", PARENT)
            with client.stream("POST", f"{PROVIDER}/v1/chat/completions", json=asked) as answer:
                pieces = answer.iter_raw()
                read = [next(pieces), next(pieces)]
                if round_ % 3:
                    child_by_fork(round_)
                else:
                    child_by_multiprocessing()
                read += pieces
            if b"[DONE]" not in b"".join(read):
                sys.exit(f"round {round_}: the answer was cut off: {read}")
    finally:
        done = True
        thread.join()
    report = llmtrail.flush(10)
    balance = report.delivered + report.pending + sum(report.dropped.values())
    if report.captured != balance:
        sys.exit(f"the books are not balanced: {report}")
    print(
        json.dumps(
            {
                "child": ROUNDS * CHILD,
                "parent": ROUNDS * PARENT,
                "streamed": streamed,
                "$ai_generation": ROUNDS,
            }
        )
    )
