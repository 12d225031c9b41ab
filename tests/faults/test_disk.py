"""Faults of the disk and of the clock: what is captured is delivered, from memory if need be."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Scene, free_port

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def test_a_folder_that_is_none(scene: Scene) -> None:
    """The spool's folder cannot be made."""
    (scene.folder / "spool").write_text("not a folder")
    worker = scene.start(LLMTRAIL_SPOOL="always")
    for _ in range(3):
        worker.ask("capture 50")
        worker.ask("flush 20000")
    said = worker.end()
    assert said.count("the spool in") == 1, said
    scene.over(150)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system takes root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(scene: Scene, small_disk: Path) -> None:
    """A disk of 256 KiB that is really full: the rest is in memory, one warning, all delivered."""
    scene.set(status=503)
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_DIR=str(small_disk))
    for _ in range(4):
        worker.ask(f"capture 125 {'x' * 2000}")
        worker.ask("flush 50")
    report = worker.ask("stats")
    assert 0 < report["spooled"] < 250, report
    assert (report["pending"], report["dropped"]) == (500, {})
    assert shutil.disk_usage(small_disk).free < 64 << 10
    scene.heal()
    deadline = time.monotonic() + 60
    while worker.ask("flush 20000")["pending"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert worker.end().count("the spool in") == 1
    assert not list(small_disk.rglob("*.seg")) + list(small_disk.rglob("*.open"))
    scene.over(500)


def test_a_full_disk_that_is_killed(scene: Scene, small_disk: Path) -> None:
    """A full disk and kill -9: what got to the disk arrives whole."""
    scene.set(status=503)
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_DIR=str(small_disk))
    worker.ask(f"capture 300 {'x' * 2000}")
    worker.ask("flush 200")
    spooled = worker.ask("stats")["spooled"]
    worker.kill()
    scene.heal()
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_DIR=str(small_disk))
    assert worker.ask("flush 20000")["dropped"] == {}
    worker.end()
    assert spooled > 50
    scene.over(300, lost=300 - spooled)


def test_a_read_only_disk(scene: Scene, small_disk: Path) -> None:
    """A disk that becomes read-only while the process lives."""
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_DIR=str(small_disk))
    worker.ask("capture 50")
    assert worker.ask("flush 20000")["delivered"] == 50
    # A file system that is written to cannot be made read-only; a bind mount of it can.
    subprocess.run(["mount", "--bind", str(small_disk), str(small_disk)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(small_disk)], check=True)
    try:
        late = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_DIR=str(small_disk))
        late.ask("capture 50")
        late.ask("flush 20000")
        said = late.end()
        assert said.count("the spool in") == 1, said
        worker.ask("capture 50")
        worker.ask("flush 20000")
        worker.end()
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
    scene.over(150)


def records(segment: bytes) -> list[tuple[int, str]]:
    """Where each record of a segment ends, and its event's id: by the format as the documentation gives it."""
    found, at = [], 8
    while at < len(segment):
        (length,) = struct.unpack_from("<I", segment, at)
        found.append((at + 8 + length, json.loads(segment[at + 9 : at + 8 + length])["uuid"]))
        at += 8 + length
    return found


@pytest.mark.parametrize("language", ["python", "node", "rust"])
def test_a_spool_with_random_bytes_changed(scene: Scene) -> None:
    """A random byte of the spool is changed, 1,000 times: what stands before it arrives, nothing else."""
    times = 1000 if os.environ.get("FAULTS_ALL") else 50
    dead = f"http://127.0.0.1:{free_port()}"
    worker = scene.start(http_proxy=dead)
    worker.ask("capture 10")
    worker.ask("shutdown 200")
    worker.end()
    (file,) = [path for path in scene.folder.rglob("*") if path.suffix in (".seg", ".open")]
    written, root = file.read_bytes(), file.parent.parent
    shutil.rmtree(file.parent)
    whole = records(written)
    dice = random.Random(7)
    expected: Counter[str] = Counter()
    damaged = 0
    while damaged < times:
        some = min(100, times - damaged)
        for number in range(some):
            segment = bytearray(written)
            at = dice.randrange(len(segment))
            segment[at] ^= 1 << dice.randrange(8)
            expected.update(uuid for end, uuid in whole if end <= at)
            left = root / f"{0:016x}-{number:016x}"
            left.mkdir(mode=0o700)
            (left / "a-0000000001.seg").write_bytes(segment)
        damaged += some
        worker = scene.start()
        report = worker.ask("flush 30000")
        assert report["pending"] == 0, report
        assert report["dropped"] == {"corrupt": some}, report
        worker.end()
    assert scene.arrived() == expected
    texts = {json.dumps(event["properties"], sort_keys=True) for event in scene.server.events()}
    assert len(texts) <= 10
    scene.note(10 * times, expected.total())


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime: make test-faults installs it")
def test_a_clock_that_is_set(scene: Scene) -> None:
    """The clock is set ten days ahead, and then twenty back, while the process lives."""
    clock = scene.folder / "clock"
    clock.write_text("+0")
    # As it is when somebody sets a clock: the time of the day jumps, what measures how long things take does not.
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    scene.set(status=503)
    worker = scene.start(LLMTRAIL_SPOOL="always", LLMTRAIL_FLUSH_INTERVAL="0.2", **faked)
    for step in ("+0", "+10d", "-10d"):
        clock.write_text(step)
        worker.ask("capture 20")
        worker.ask("flush 300")
    scene.heal()
    deadline = time.monotonic() + 60
    while (report := worker.ask("flush 20000"))["pending"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert report["dropped"] == {}
    worker.end()
    days = {event["timestamp"][:10] for event in scene.server.events()}
    assert len(days) == 3, days
    scene.over(60)
