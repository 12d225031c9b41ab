"""Faults between a real process and the server: what is captured arrives, or is accounted for; nothing hangs."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from statistics import median

import pytest
from conftest import KEY, Scene, free_port, wait_until

ALL = bool(os.environ.get("FAULTS_ALL"))
long = pytest.mark.skipif(not ALL, reason="takes long: make faults")


@long
def test_ten_seconds_of_503(scene: Scene) -> None:
    """10 s of 503s, the process lives."""
    scene.set(status=503, for_ms=10_000)
    worker = scene.start(LLMTRAIL_FLUSH_INTERVAL="0.5")
    worker.ask("capture 250")
    deadline = time.monotonic() + 90
    while worker.ask("stats")["delivered"] < 250 and time.monotonic() < deadline:
        time.sleep(0.2)
    worker.end()
    scene.over(250)


def test_batches_over_ten_events_are_too_large(scene: Scene) -> None:
    """413 for every batch over 10 events."""
    scene.set(max_events=10)
    worker = scene.start()
    worker.ask("capture 250")
    assert worker.ask("flush 20000")["delivered"] == 250
    worker.end()
    scene.over(250)


def test_one_poison_event(scene: Scene) -> None:
    """One poison event in 250."""
    scene.set(poison="poison")
    worker = scene.start()
    worker.ask("capture 137")
    worker.ask("capture 1 poison")
    worker.ask("capture 112")
    assert worker.ask("flush 20000")["dropped"] == {"rejected": 1}
    worker.end()
    (letters,) = scene.folder.rglob("*.jsonl")
    assert letters.read_text().count('"reason":"rejected"') == 1
    scene.over(250, lost=1)


def test_429_with_retry_after(scene: Scene) -> None:
    """429 with `Retry-After: 1` for 5 s."""
    scene.set(status=429, retry_after=1, for_ms=5000)
    worker = scene.start()
    worker.ask("capture 50")
    deadline = time.monotonic() + 60
    while worker.ask("flush 10000")["pending"] and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.end()
    scene.over(50)


def test_no_route_for_llm_analytics(scene: Scene) -> None:
    """A server without the route for LLM analytics: the other one, asked for once."""
    scene.set(route="ai", absent=True)
    worker = scene.start()
    for _ in range(3):
        worker.ask("capture 50")
        worker.ask("flush 20000")
    assert worker.end().count("\n") == 1, "nothing to warn of"
    paths = [request["path"] for request in scene.requests()]
    assert paths == ["/i/v0/ai/batch/", "/batch/", "/batch/", "/batch/"]
    scene.over(150)


def test_a_refused_key(scene: Scene) -> None:
    """401: the lane stops, the spool is kept, and the next process asks again."""
    scene.set(status=401)
    worker = scene.start()
    worker.ask("capture 50")
    for _ in range(3):
        report = worker.ask("flush 20000")
        assert (report["pending"], report["dropped"]) == (50, {})
        assert report["took_ms"] < 5000
    assert len(scene.requests()) == 1
    worker.ask("shutdown 1000")
    said = worker.end().splitlines()
    assert len(said) == 2, said
    assert f"{scene.server.url} refuses events with the key {KEY[:6]}" in said[1]
    scene.heal()
    worker = scene.start()
    assert worker.ask("flush 20000")["delivered"] == 50
    worker.end()
    scene.over(50)


def test_everything_is_rejected(scene: Scene) -> None:
    """400 for everything, one by one too: parked and kept, until the server is well."""
    scene.set(status=400)
    worker = scene.start()
    worker.ask("capture 250")
    report = worker.ask("flush 20000")
    assert (report["pending"], report["dropped"]) == (250, {})
    assert report["took_ms"] < 5000
    scene.heal()
    worker.ask("flush 20000")
    said = worker.end()
    assert said.count("rejects every event") == 1, said
    assert not list(scene.folder.rglob("*.jsonl")), "nothing of it is a dead letter"
    scene.over(250)


@long
@pytest.mark.parametrize("language", ["python"])
def test_a_half_open_probe(scene: Scene) -> None:
    """Parked after four requests; one batch is tried half a minute later, and then all is sent."""
    scene.set(status=503)
    worker = scene.start(LLMTRAIL_FLUSH_INTERVAL="0.2")
    worker.ask("capture 250")
    wait_until(lambda: len(scene.requests()) >= 4, 30)
    time.sleep(1)
    scene.heal()
    wait_until(lambda: worker.ask("stats")["pending"] == 0, 60)
    at = [request["at_ms"] for request in scene.requests()]
    assert at[4] - at[3] >= 30_000, at
    sent = Counter(event["request"] for event in scene.server.events())
    assert list(sent.values()) == [100, 100, 50]
    worker.end()
    scene.over(250)


def test_refused_then_a_new_process(scene: Scene) -> None:
    """Connection refused, shutdown, then a new process with the server back."""
    # The spool belongs to a server and key; so what is not there is the way to the server, a proxy.
    dead = f"http://127.0.0.1:{free_port()}"
    worker = scene.start(http_proxy=dead)
    worker.ask("capture 50")
    report = worker.ask("shutdown 1000")
    assert (report["pending"], report["dropped"]) == (50, {})
    worker.end()
    worker = scene.start()
    assert worker.ask("flush 20000")["delivered"] == 50
    worker.end()
    scene.over(50)


def test_killed_before_the_first_flush(scene: Scene) -> None:
    """kill -9 before the first flush (`always`), restart."""
    worker = scene.start(LLMTRAIL_SPOOL="always")
    worker.ask("capture 50")
    worker.wait_until_on_disk()
    worker.kill()
    worker = scene.start(LLMTRAIL_SPOOL="always")
    assert worker.ask("flush 20000")["delivered"] == 50
    worker.end()
    scene.over(50)


def test_exit_on_the_spot(scene: Scene) -> None:
    """`process.exit(0)` or `os._exit` right after the call (`always`), restart."""
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_FLUSH_AT="1000")
    worker.ask("capture 250")
    worker.wait_until_on_disk()
    worker.end("exit")
    worker = scene.start(LLMTRAIL_SPOOL="always")
    worker.ask("flush 20000")
    worker.end()
    scene.over(250)


def test_exit_without_shutdown(scene: Scene) -> None:
    """Exit without shutdown, the server takes 0.5 s a request."""
    scene.set(delay_ms=500)
    worker = scene.start()
    worker.ask("capture 1000")
    begun = time.monotonic()
    worker.end()
    assert time.monotonic() - begun < 10
    scene.heal()
    # Whatever did not make it within the deadline is in the spool.
    worker = scene.start()
    worker.ask("flush 20000")
    worker.end()
    scene.over(1000)


@pytest.mark.parametrize("language", ["python"])
def test_a_child_of_multiprocessing(scene: Scene) -> None:
    """A child of a multiprocessing fork captures 50."""
    worker = scene.start()
    worker.ask("capture 20")
    worker.ask("fork 50")
    worker.ask("capture 20")
    worker.ask("shutdown 10000")
    worker.end()
    scene.over(90)


@long
def test_a_burst(scene: Scene) -> None:
    """30,000 in a burst, 50 ms a request."""
    scene.set(delay_ms=50)
    worker = scene.start()
    worker.ask("capture 30000")
    assert worker.ask("flush 60000")["delivered"] == 30_000
    worker.end()
    scene.over(30_000)


def test_reset_before_the_answer(scene: Scene) -> None:
    """Accepted, then reset before the response: sent twice, with the same uuid."""
    scene.set(reset=True, times=1)
    worker = scene.start()
    worker.ask("capture 50")
    assert worker.ask("flush 20000")["delivered"] == 50
    worker.end()
    scene.over(50, twice=50)


def test_a_server_that_never_answers(scene: Scene) -> None:
    """Half-open: the server takes the request and never answers."""
    scene.set(delay_ms=60_000)
    worker = scene.start()
    worker.ask("capture 50")
    report = worker.ask("shutdown 1000")
    assert (report["pending"], report["dropped"]) == (50, {})
    assert report["took_ms"] < 5000
    worker.end()
    scene.heal()
    worker = scene.start()
    worker.ask("flush 20000")
    worker.end()
    scene.over(50)


def test_no_dns(scene: Scene) -> None:
    """No DNS: captured, kept, and nothing hangs."""
    worker = scene.start("http://posthog.invalid")
    worker.ask("capture 50")
    report = worker.ask("shutdown 1000")
    assert (report["pending"], report["dropped"]) == (50, {})
    assert report["took_ms"] < 5000
    worker.end()
    # The name leads somewhere again: here, to a proxy.
    worker = scene.start("http://posthog.invalid", http_proxy=scene.server.url)
    worker.ask("flush 20000")
    worker.end()
    scene.over(50)


def test_two_processes_in_one_folder(scene: Scene) -> None:
    """Two processes in one folder (`always`), one of them killed."""
    dead = f"http://127.0.0.1:{free_port()}"
    first = scene.start(LLMTRAIL_SPOOL="always", http_proxy=dead)
    second = scene.start(LLMTRAIL_SPOOL="always")
    for _ in range(5):
        first.ask("capture 20")
        second.ask("capture 20")
    first.wait_until_on_disk()
    first.kill()
    second.ask("shutdown 20000")
    second.end()
    third = scene.start()
    third.ask("flush 20000")
    third.end()
    scene.over(200)


def test_kill_in_a_loop(scene: Scene) -> None:
    """kill -9 at a random moment, in a loop (`always`)."""
    rounds = int(os.environ.get("KILL_ROUNDS", "200" if ALL else "10"))
    dice = random.Random(11)
    captured: Counter[str] = Counter()
    late: list[float] = []
    for life in range(rounds):
        worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_FLUSH_INTERVAL="0.05")
        for part in range(dice.randrange(1, 4)):
            text, count = f"{life}-{part}.", dice.randrange(1, 40)
            worker.ask(f"capture {count} {text}")
            captured[text] += count
        late.append(worker.wait_until_on_disk())
        time.sleep(dice.random() * 0.1)
        worker.kill()
        # Looked for at once, so that a loss shows whether it never got to the disk or got lost from there.
        kept = scene.kept() | {event["properties"]["text"] for event in scene.server.events()}
        missing = [text for text in captured if text.startswith(f"{life}-") and text not in kept]
        assert not missing, f"{missing} of round {life} got nowhere; the machine was late by {late[-1]:.3f} s"
    print(
        f"in {rounds} rounds the machine was late by {sum(late):.3f} s, in one by {max(late):.3f} s at most"
    )
    worker = scene.start(LLMTRAIL_SPOOL="always")
    report = worker.ask("flush 30000")
    assert (report["pending"], report["dropped"]) == (0, {}), report
    worker.end()
    arrived = scene.arrived()
    uuids = {event["uuid"]: event["properties"]["text"] for event in scene.server.events()}
    assert Counter(uuids.values()) == captured
    # A kill between the server's answer and its being noted sends a batch again, with the same ids.
    scene.over(captured.total(), twice=sum(arrived.values()) - len(arrived))


def test_a_million_events_for_a_dead_server(scene: Scene) -> None:
    """A dead server, 1,000,000 captures of 2 KB."""
    blocks = int(os.environ.get("DEAD_CAPTURES", "1000000" if ALL else "80000")) // 1000
    every = max(blocks // 20, 5)
    block = f"capture 1000 {'x' * 2000}"
    # The same captures, which go nowhere: what is the program's own is not ours. In Node that is 50 MiB of garbage,
    # which V8 collects when it likes to.
    host = scene.start(LLMTRAIL_ENABLED="false")
    for _ in range(blocks):
        host.ask(block)
    host.end()
    worker = scene.start(http_proxy=f"http://127.0.0.1:{free_port()}")
    beside = scene.start()
    ratios: list[float] = []
    for number in range(1, blocks + 1):
        measured = number % every == 0
        if measured:
            # From rest, as the one beside it is: a worker that is at it takes from a caller that shares its processor.
            worker.wait_until_idle()
        dead = worker.ask(block)["median_us"]
        if measured:
            # The same with a server that is well, and with as many processors.
            worker.wait_until_idle()
            ratios.append(dead / beside.ask(block)["median_us"])
            assert beside.ask("flush 60000")["pending"] == 0
    beside.end()
    report = worker.ask("stats")
    assert report["captured"] == blocks * 1000
    assert set(report["dropped"]) <= {"overflow"}, report
    assert median(ratios) < 1.3, ratios
    kept = worker.ask("shutdown 2000")["pending"]
    worker.end()
    # The bound, and 32 MiB for everything else.
    assert worker.peak - host.peak < 64 + 32, (host.peak, worker.peak)
    worker = scene.start()
    assert worker.ask("flush 120000")["delivered"] == kept
    worker.end()
    scene.over((blocks + len(ratios)) * 1000, lost=blocks * 1000 - kept)


@long
@pytest.mark.parametrize("language", ["python"])
def test_a_soak(scene: Scene) -> None:
    """500 calls a second, one request in ten fails, one restart (soak)."""
    minutes = float(os.environ.get("MINUTES", "5"))
    captured, failed = 0, 0
    resident: list[int] = []
    for life in range(2):
        worker = scene.start(LLMTRAIL_FLUSH_INTERVAL="0.5")
        end = time.monotonic() + minutes * 30
        tick = time.monotonic()
        while time.monotonic() < end:
            worker.ask("capture 50")
            captured += 50
            if captured % 500 == 0:
                # About ten requests a second at a hundred events or half a second each: one of them fails.
                scene.set(status=503, times=1)
                failed += 1
            if captured % 5000 == 0:
                resident.append(worker.resident())
            tick += 0.1
            time.sleep(max(0.0, tick - time.monotonic()))
        if life == 1:
            half = resident[len(resident) // 2 :]
            print(f"resident memory: {min(half)} to {max(half)} KiB in the last quarter of the time")
            assert max(half) <= min(half) * 1.05, f"resident memory is not flat: {resident}"
        scene.heal()
        resident.clear()
        worker.ask("shutdown 10000")
        worker.end()
    worker = scene.start()
    worker.ask("flush 30000")
    worker.end()
    assert failed > 0
    scene.over(captured)
