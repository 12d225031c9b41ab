"""Exit and fork: what was captured arrives, once, within the deadline."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import Loopback, generations

START = """
import os, sys, time, warnings
import llmtrail
llmtrail.init(api_key="phc_test", host={host!r}, dir={dir!r}, flush_interval=3600)
def capture(count, name):
    for n in range(count):
        llmtrail.capture(name, "user", {{"n": n}})
"""


def run(loopback: Loopback, folder: Path, code: str, host: str | None = None) -> float:
    begun = time.monotonic()
    program = START.format(host=host or loopback.url, dir=str(folder)) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return time.monotonic() - begun


def names(loopback: Loopback) -> dict[str, int]:
    events = loopback.events()
    assert len({event["uuid"] for event in events}) == len(events)
    counts: dict[str, int] = {}
    for event in events:
        counts[event["event"]] = counts.get(event["event"], 0) + 1
    return counts


def test_exit_sends_what_is_left(loopback: Loopback, tmp_path: Path) -> None:
    run(loopback, tmp_path, "capture(250, 'exit')")
    assert names(loopback) == {"exit": 250}


def test_exit_by_an_exception(loopback: Loopback, tmp_path: Path) -> None:
    run(loopback, tmp_path, "capture(3, 'exit')\nsys.exit(0)")
    assert names(loopback) == {"exit": 3}


def test_exit_keeps_its_deadline(loopback: Loopback, tmp_path: Path) -> None:
    loopback.ask("/_control/faults", "POST", {"delay_ms": 30_000})
    try:
        assert run(loopback, tmp_path, "capture(10, 'exit')") < 6
    finally:
        loopback.ask("/_control/faults", "DELETE")


def test_a_client_that_is_let_go_of_holds_up_nobody(loopback: Loopback, tmp_path: Path) -> None:
    """It sends what is left on a thread of its own, which the end of the process waits for."""
    code = """
import threading
ticks, over = [], threading.Event()
def tick():
    while not over.wait(0.005):
        ticks.append(time.perf_counter())
threading.Thread(target=tick).start()
capture(5, "earlier")
time.sleep(0.1)
begun = time.perf_counter()
llmtrail.init(api_key="phc_test", host={url!r}, dir={dir!r})
took = time.perf_counter() - begun
time.sleep(0.1)
over.set()
gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:])]
assert took < 0.4, took
assert max(gaps) < 0.4, max(gaps)
"""
    loopback.ask("/_control/faults", "POST", {"delay_ms": 600, "times": 1})
    try:
        run(loopback, tmp_path, code.format(url=loopback.url, dir=str(tmp_path)))
    finally:
        loopback.ask("/_control/faults", "DELETE")
    assert names(loopback) == {"earlier": 5}


def test_clients_that_are_made_at_once_are_all_flushed_at_exit(loopback: Loopback, tmp_path: Path) -> None:
    code = """
import threading
sys.setswitchinterval(1e-6)
clients, at_once = [], threading.Barrier(8)
def make():
    for _ in range(25):
        at_once.wait()
        client = llmtrail.Client(api_key="phc_test", host={url!r}, dir={dir!r}, flush_interval=3600)
        clients.append(client)
threads = [threading.Thread(target=make) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
from llmtrail import _lifecycle
known = [client() for client in _lifecycle._clients.values()]
assert all(client._core in known for client in clients)
"""
    run(loopback, tmp_path, code.format(url=loopback.url, dir=str(tmp_path)))


STREAM = """
import httpx
capture(1, "before")
http = llmtrail.wrap(httpx.Client(), provider="openai")
message = {{"role": "user", "content": "hello"}}
body = {{"model": "gpt-5-mini", "messages": [message], "stream": True}}
response = http.send(http.build_request("POST", "{url}/chat/completions", json=body), stream=True)
pieces = response.iter_raw()
next(pieces)
"""


def test_a_stream_that_is_open_at_exit_is_recorded(loopback: Loopback, tmp_path: Path) -> None:
    run(loopback, tmp_path, STREAM.format(url=loopback.case("openai_chat/xai_stream")))
    (event,) = generations(loopback.events())
    assert event["properties"]["$ai_stream_status"] == "abandoned"


def test_a_stream_that_is_open_at_a_shutdown_is_recorded_once(loopback: Loopback, tmp_path: Path) -> None:
    rest = "report = llmtrail.shutdown()\nassert report.captured == report.delivered == 2\nlist(pieces)\n"
    run(loopback, tmp_path, STREAM.format(url=loopback.case("openai_chat/xai_stream")) + rest)
    (event,) = generations(loopback.events())
    assert event["properties"]["$ai_stream_status"] == "abandoned"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_leaves_its_parents_open_stream_to_it(loopback: Loopback, tmp_path: Path) -> None:
    code = """
warnings.simplefilter("ignore")
if os.fork() == 0:
    capture(1, "child")
    sys.exit(0)
os.wait()
list(pieces)
"""
    run(loopback, tmp_path, STREAM.format(url=loopback.case("openai_chat/xai_stream")) + code)
    assert names(loopback) == {"before": 1, "child": 1, "$ai_generation": 1}


def test_a_flush_can_be_interrupted(loopback: Loopback, tmp_path: Path) -> None:
    code = """
import signal, threading
for wait in (llmtrail.flush, llmtrail.shutdown):
    capture(1, "late")
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    begun = time.monotonic()
    try:
        wait(8)
        raise SystemExit("it was not interrupted")
    except KeyboardInterrupt:
        assert time.monotonic() - begun < 0.8
"""
    loopback.ask("/_control/faults", "POST", {"delay_ms": 900, "times": 2})
    try:
        run(loopback, tmp_path, code)
    finally:
        loopback.ask("/_control/faults", "DELETE")
    assert names(loopback) == {"late": 2}


FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@FORK
def test_a_forked_child_sends_its_own_and_nothing_twice(loopback: Loopback, tmp_path: Path) -> None:
    code = """
capture(20, "parent")
warnings.simplefilter("ignore")
for child in range(3):
    if os.fork() == 0:
        capture(10, "child")
        sys.exit(0)
for _ in range(3):
    os.wait()
capture(5, "parent")
"""
    run(loopback, tmp_path, code)
    assert names(loopback) == {"parent": 25, "child": 30}


@FORK
def test_a_child_leaves_its_parents_scopes_to_it(loopback: Loopback, tmp_path: Path) -> None:
    code = """
warnings.simplefilter("ignore")
with llmtrail.trace("trace"), llmtrail.span("span"), llmtrail.generation(model="m"):
    child = os.fork() == 0
    with llmtrail.span("child" if child else "parent"):
        pass
if child:
    sys.exit(0)
os.wait()
"""
    run(loopback, tmp_path, code)
    assert names(loopback) == {"$ai_trace": 1, "$ai_generation": 1, "$ai_span": 3}


@FORK
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_children_of_multiprocessing(method: str, loopback: Loopback, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    code = f"""
import multiprocessing
def work(n):
    capture(10, "child")
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    context = multiprocessing.get_context({method!r})
    capture(5, "parent")
    children = [context.Process(target=work, args=(n,)) for n in range(5)]
    for child in children: child.start()
    for child in children: child.join()
    assert all(child.exitcode == 0 for child in children)
"""
    program.write_text(START.format(host=loopback.url, dir=str(tmp_path / "dir")) + code)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert names(loopback) == {"parent": 5, "child": 50}


@FORK
def test_a_fork_while_threads_capture(loopback: Loopback, tmp_path: Path) -> None:
    code = """
import threading
warnings.simplefilter("ignore")
stop = threading.Event()
def busy():
    while not stop.is_set():
        llmtrail.capture("busy", "user")
        time.sleep(0.001)
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads: thread.start()
children = []
for n in range(20):
    child = os.fork()
    if child == 0:
        capture(2, "child")
        os._exit(0 if llmtrail.flush(20).pending == 0 else 1)
    children.append(child)
    time.sleep(0.01)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
for thread in threads: thread.join()
assert codes == [0] * 20, codes
"""
    run(loopback, tmp_path, code)
    assert names(loopback)["child"] == 40


def test_no_key_means_the_local_store_and_one_line(tmp_path: Path) -> None:
    code = "import llmtrail\nfor _ in range(3): llmtrail.capture('e', 'u')\nprint(llmtrail.flush(5))"
    environment = {**os.environ, "LLMTRAIL_DIR": str(tmp_path / "data")}
    environment = {key: value for key, value in environment.items() if not key.startswith("POSTHOG")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "delivered=3" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("llmtrail: ")
    assert str(tmp_path / "data") in line


def test_switched_off_by_the_environment(tmp_path: Path) -> None:
    code = "import llmtrail\nllmtrail.capture('e', 'u')\nprint(llmtrail.flush(5).captured)"
    environment = {**os.environ, "LLMTRAIL_DIR": str(tmp_path / "data"), "LLMTRAIL_ENABLED": "false"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")
    assert not (tmp_path / "data").exists()


def test_the_command_line() -> None:
    command = [sys.executable, "-m", "llmtrail._cli", "--no-such-option"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
