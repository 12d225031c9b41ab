"""`before_send` and `on_error`: what they change, what they cost, and what happens when they fail."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import llmtrail
from support import Loopback, first


def client(loopback: Loopback, folder: Path, **options: Any) -> llmtrail.Client:
    return llmtrail.Client(api_key="phc_test", host=loopback.url, dir=folder, flush_interval=3600, **options)


def test_an_event_is_changed_kept_or_dropped(loopback: Loopback, tmp_path: Path) -> None:
    threads = set()

    def hook(event: dict[str, Any]) -> dict[str, Any] | None:
        threads.add(threading.current_thread().name)
        if event["properties"].get("secret"):
            return None
        event["properties"]["seen"] = event["event"]
        event["properties"]["odd"] = {1, 2}  # what JSON does not hold
        return event | {"distinct_id": "somebody", "uuid": "mine", "timestamp": "never"}

    trail = client(loopback, tmp_path, before_send=hook)
    uuid = trail.capture("ordered", "user", {"n": 1})
    trail.capture("ordered", "user", {"secret": True})
    trail.capture_generation(model="m", input="hi")
    report = trail.flush(20)
    assert (report.captured, report.delivered, report.dropped) == (3, 2, {"hook": 1})
    generation, ordered = sorted(loopback.events(), key=lambda event: event["event"])
    assert ordered["uuid"] == uuid
    assert ordered["timestamp"].startswith("20")
    assert ordered["distinct_id"] == "somebody"
    assert (ordered["properties"]["seen"], ordered["properties"]["odd"]) == ("ordered", [1, 2])
    assert generation["properties"]["seen"] == "$ai_generation"
    assert threads == {"llmtrail-hooks"}
    assert trail.shutdown(20).pending == 0


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (lambda event: 1 / 0, "ZeroDivisionError"),
        (lambda event: "yes", "it gave back str"),
        (lambda event: {"event": "x"}, "without a distinct_id"),
        (lambda event: sys.exit(1), "SystemExit"),
    ],
)
def test_an_event_that_a_hook_fails_on_is_not_sent(
    loopback: Loopback, tmp_path: Path, hook: Any, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    errors: list[llmtrail.LlmtrailError] = []
    trail = client(loopback, tmp_path, before_send=hook, on_error=errors.append)
    for _ in range(3):
        trail.capture("ordered", "user")
    report = trail.shutdown(20)
    assert (report.delivered, report.dropped) == (0, {"hook": 3})
    assert loopback.events() == []
    error = first(errors)
    assert error.code == "hook"
    assert says in str(error)
    assert capfd.readouterr().err.count("before_send failed") == 1


def test_a_slow_hook_holds_up_neither_the_caller_nor_a_flush(loopback: Loopback, tmp_path: Path) -> None:
    free = threading.Event()

    def hook(event: dict[str, Any]) -> dict[str, Any]:
        free.wait(30)
        return event

    trail = client(loopback, tmp_path, before_send=hook)
    begun = time.monotonic()
    for _ in range(1000):
        trail.capture("ordered", "user")
    assert time.monotonic() - begun < 10
    report = trail.flush(0.3)
    assert (report.pending, report.delivered) == (1000, 0)
    assert time.monotonic() - begun < 20
    free.set()
    assert trail.flush(20).delivered == 1000
    trail.shutdown(5)


def test_what_a_hook_has_not_seen_is_neither_sent_nor_kept(loopback: Loopback, tmp_path: Path) -> None:
    free = threading.Event()
    trail = client(loopback, tmp_path, before_send=lambda event: free.wait(30) and event, spool="always")
    trail.capture("ordered", "user", {"marked": "unseen"})
    report = trail.shutdown(0.3)
    free.set()
    assert (report.pending, report.dropped) == (0, {"shutdown": 1})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"unseen" in path.read_bytes() for path in files)
    assert loopback.events() == []


def test_trouble_is_told(loopback: Loopback, tmp_path: Path) -> None:
    errors: list[llmtrail.LlmtrailError] = []

    def on_error(error: llmtrail.LlmtrailError) -> None:
        errors.append(error)
        raise RuntimeError("of the application's own")

    loopback.ask("/_control/faults", "POST", {"status": 401})
    try:
        trail = client(loopback, tmp_path, on_error=on_error)
        trail.capture("ordered", "user")
        trail.flush(20)
        first(errors)
        trail.shutdown(5)
    finally:
        loopback.ask("/_control/faults", "DELETE")
    assert errors[0].code == "denied"
    assert "refuses events" in str(errors[0])
    assert "phc_test" not in str(errors[0])


def test_a_client_that_is_let_go_of_has_its_events_seen(loopback: Loopback, tmp_path: Path) -> None:
    trail = client(loopback, tmp_path, before_send=lambda event: event | {"distinct_id": "seen"})
    for _ in range(50):
        trail.capture("ordered", "user")
    del trail
    first(lambda: loopback.events()[49:])
    assert [event["distinct_id"] for event in loopback.events()] == ["seen"] * 50


def test_the_threads_of_clients_that_are_gone_are_forgotten(loopback: Loopback, tmp_path: Path) -> None:
    from llmtrail import _lifecycle

    for _ in range(20):
        client(loopback, tmp_path, before_send=lambda event: event).capture("ordered", "user")
    first(lambda: loopback.events()[19:])
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in _lifecycle.threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    client(loopback, tmp_path, before_send=lambda event: event).capture("ordered", "user")
    assert len(_lifecycle.threads) == 1


GREEN = """
import llmtrail
from gevent import sleep, spawn
from time import perf_counter

ticks, seen = [], []

def tick():
    while True:
        ticks.append(perf_counter())
        sleep(0.01)

trail = llmtrail.Client(
    api_key="phc_test", host={host!r}, dir={dir!r}, flush_interval=0.05, before_send=lambda e: seen.append(1) or e
)
spawn(tick)
sleep(0.05)
trail.capture("green", "user")
sleep(1)
gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:])]
assert max(gaps) < 0.5, max(gaps)
assert seen
"""


def test_a_hook_does_not_hold_up_gevents_loop(loopback: Loopback, tmp_path: Path) -> None:
    """There a thread of `threading` is a task of the loop, and one that waits in the core would stop all the others."""
    code = "from gevent import monkey; monkey.patch_all()\n" + GREEN.format(
        host=loopback.url, dir=str(tmp_path)
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert [event["event"] for event in loopback.events()] == ["green"]


@pytest.mark.parametrize("hook", [1, "print"])
def test_a_hook_that_is_none_is_an_error_at_the_door(hook: Any) -> None:
    with pytest.raises(llmtrail.ConfigError, match="before_send: expected a function"):
        llmtrail.Client(before_send=hook)


def test_an_async_hook_is_an_error_at_the_door() -> None:
    async def hook(event: Any) -> Any:
        return event

    with pytest.raises(llmtrail.ConfigError, match="not async"):
        llmtrail.Client(before_send=hook)  # type: ignore[arg-type]


PROGRAM = """
import os, sys, time
import llmtrail
def hook(event):
    event["properties"]["pid"] = os.getpid()
    return event
llmtrail.init(api_key="phc_test", host={host!r}, dir={dir!r}, flush_interval=3600, before_send=hook)
"""


def run(loopback: Loopback, folder: Path, code: str) -> float:
    begun = time.monotonic()
    program = PROGRAM.format(host=loopback.url, dir=str(folder)) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return time.monotonic() - begun


def test_at_exit_the_hook_has_seen_everything(loopback: Loopback, tmp_path: Path) -> None:
    run(loopback, tmp_path, "for n in range(500): llmtrail.capture('a', 'user')")
    assert len(loopback.events()) == 500
    assert all("pid" in event["properties"] for event in loopback.events())


def test_a_hook_that_hangs_does_not_hold_up_the_exit(loopback: Loopback, tmp_path: Path) -> None:
    code = "llmtrail.init(before_send=lambda e: time.sleep(60)); llmtrail.capture('a', 'user')"
    assert run(loopback, tmp_path, code) < 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_each_process_runs_the_hook_itself(loopback: Loopback, tmp_path: Path, method: str) -> None:
    code = f"""
import warnings, multiprocessing
warnings.simplefilter("ignore")
llmtrail.capture("parent", "user")
if {method == "fork"}:
    if os.fork() == 0:
        llmtrail.capture("child", "user")
        sys.exit(0)
    os.wait()
    process = multiprocessing.get_context("fork").Process(target=llmtrail.capture, args=("child", "user"))
else:
    process = multiprocessing.get_context("spawn").Process(target=print)
process.start(); process.join()
llmtrail.capture("parent", "user")
"""
    run(loopback, tmp_path, code)
    pids: dict[str, set[int]] = {}
    for event in loopback.events():
        pids.setdefault(event["event"], set()).add(event["properties"]["pid"])
    assert len(pids["parent"]) == 1
    assert len(pids.get("child", ())) == (2 if method == "fork" else 0)
    assert not pids["parent"] & pids.get("child", set())


def test_errors_of_traces_that_are_left_out_can_be_kept(loopback: Loopback, tmp_path: Path) -> None:
    trail = client(loopback, tmp_path, sample_rate=0, keep_errors=True)
    for failing in (False, True):
        with trail.trace("answer"), trail.span("step"):
            error = {"type": "bad", "message": "no"} if failing else None
            trail.capture_generation(model="m", error=error)
    report = trail.shutdown(20)
    assert report.dropped == {"sampled": 3}
    assert sorted(event["event"] for event in loopback.events()) == [
        "$ai_generation",
        "$ai_span",
        "$ai_trace",
    ]
    assert len({event["properties"]["$ai_trace_id"] for event in loopback.events()}) == 1


def test_every_language_keeps_the_same_traces(loopback: Loopback, tmp_path: Path) -> None:
    trail = client(loopback, tmp_path, sample_rate=0.5)
    for n in range(1, 7):
        with trail.trace("answer", trace_id=f"trace-{n}"):
            pass
    assert trail.shutdown(20).dropped == {"sampled": 5}
    # By the first digits of the ids' SHA-256: 17..., da..., 94..., b3..., 8d..., b8...
    assert [event["properties"]["$ai_trace_id"] for event in loopback.events()] == ["trace-1"]
