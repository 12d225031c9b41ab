"""Functions that are frozen and thawed, and may write to one folder only."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import UNSET, Scene
from relay import Relay

PLATFORMS = {"AWS_LAMBDA_FUNCTION_NAME": "answer", "VERCEL": "1", "K_SERVICE": "answer"}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_spool_is_in_the_temporary_folder(scene: Scene, platform: str) -> None:
    """AWS Lambda, Vercel, Cloud Run: the spool is in the temporary folder, and the next instance sends it."""
    scene.fault = f"Serverless ({platform}): the spool is in the temporary folder"
    home = {"HOME": "/proc/nowhere", "XDG_DATA_HOME": "/proc/nowhere", "LLMTRAIL_DIR": UNSET}
    where = home | {"TMPDIR": str(scene.folder), platform: PLATFORMS[platform]}
    scene.set(status=503)
    worker = scene.start(**where)
    worker.ask("capture 50")
    report = worker.ask("shutdown 500")
    assert (report["pending"], report["dropped"]) == (50, {})
    worker.end()
    assert list((scene.folder / "llmtrail/spool").rglob("*.seg"))
    scene.heal()
    worker = scene.start(**where)
    assert worker.ask("flush 20000")["delivered"] == 50
    worker.end()
    scene.over(50)


def test_a_server_that_does_not_answer_is_given_three_seconds(scene: Scene) -> None:
    """Serverless: a server that does not answer is given three seconds."""
    scene.set(delay_ms=30_000, times=1)
    worker = scene.start(AWS_LAMBDA_FUNCTION_NAME="answer")
    worker.ask("capture 50")
    report = worker.ask("flush 9000")
    assert report["delivered"] == 50, report
    assert 2900 < report["took_ms"] < 8500
    worker.end()
    # The first request went all the way, and was answered to nobody.
    scene.over(50, twice=len(scene.server.events()) - 50)


def freeze(process_id: int) -> None:
    os.kill(process_id, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_thaw_after_the_server_closed_the_connection(scene: Scene) -> None:
    """Frozen for longer than the server keeps connections: a fresh one after the thaw."""
    relay = Relay(scene.server.url)
    worker = scene.start(relay.url, AWS_LAMBDA_FUNCTION_NAME="answer")
    for _ in range(3):
        worker.ask("capture 10")
        assert worker.ask("flush 10000")["pending"] == 0
        freeze(worker.process.pid)
        relay.close_connections()
        time.sleep(0.3)
        os.kill(worker.process.pid, signal.SIGCONT)
    worker.ask("capture 10")
    report = worker.ask("flush 10000")
    assert (report["delivered"], report["dropped"]) == (40, {})
    assert worker.end().count("\n") == 1, "nothing to warn of"
    assert relay.connections == 4
    relay.close()
    scene.over(40)


def test_a_thaw_in_the_middle_of_a_request(scene: Scene) -> None:
    """Frozen in the middle of a request, which the server gave up: the same events go over a fresh connection."""
    relay = Relay(scene.server.url, "mute")
    worker = scene.start(relay.url, AWS_LAMBDA_FUNCTION_NAME="answer")
    worker.ask("capture 50")
    worker.ask("flush 50")
    deadline = time.monotonic() + 10
    while not relay.heard and time.monotonic() < deadline:
        time.sleep(0.01)
    freeze(worker.process.pid)
    relay.how = "pass"
    relay.close_connections()
    time.sleep(0.3)
    os.kill(worker.process.pid, signal.SIGCONT)
    report = worker.ask("flush 10000")
    assert (report["delivered"], report["pending"]) == (50, 0)
    assert report["took_ms"] < 3000
    worker.end()
    relay.close()
    scene.over(50)
