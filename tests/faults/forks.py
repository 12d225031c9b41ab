"""Forks in the middle of a stream of captures, over and over: `forks.py ROUNDS CHILD PARENT`.

A thread captures all the time, so that locks are held when the process forks. Each round has one child that captures
CHILD events and ends in one of the ways that children have, and PARENT events of the parent. Prints what was captured.
"""

import json
import multiprocessing
import os
import sys
import threading
import time
import warnings

import llmtrail

ROUNDS, CHILD, PARENT = map(int, sys.argv[1:])
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
    try:
        for round_ in range(ROUNDS):
            capture("parent", PARENT)
            if round_ % 3:
                child_by_fork(round_)
            else:
                child_by_multiprocessing()
    finally:
        done = True
        thread.join()
    print(json.dumps({"child": ROUNDS * CHILD, "parent": ROUNDS * PARENT, "streamed": streamed}))
