"""Real processes in each language, the server with its faults, and the table of what became of the events."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings-python/tests"))

from support import Loopback  # noqa: E402

HERE = Path(__file__).parent
KEY = "phc_a_key_that_nobody_may_see"
UNSET = "unset"
PROGRAMS = {
    "python": [sys.executable, str(HERE / "worker.py")],
    "node": ["node", str(HERE / "worker.mjs")],
    "rust": [str(ROOT / "target/debug/capturer")],
}
ROWS: list[tuple[str, str, int, int, int, float, int]] = []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(holds: Callable[[], object], seconds: float, what: str = "it does not come") -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Worker:
    """A process that captures, and our side of the talk with it."""

    def __init__(self, language: str, host: str, folder: Path, **environment: str) -> None:
        base = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        base |= {"POSTHOG_API_KEY": KEY, "POSTHOG_HOST": host, "LLMTRAIL_DIR": str(folder)}
        base = {name: value for name, value in (base | environment).items() if value is not UNSET}
        self.errors = open(folder / f"stderr-{time.monotonic_ns()}.txt", "w+")  # noqa: SIM115 - closed by `end`
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            PROGRAMS[language], stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=base
        )
        self.peak = 0

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a command. Whatever it is, the books are balanced."""
        assert self.process.stdout is not None
        self.tell(command)
        line = self.process.stdout.readline()
        self.look()
        assert line, f"{command}: the process ended: {self.said()}"
        assert KEY not in line, line
        answer: dict[str, Any] = json.loads(line)
        if "captured" in answer:
            dropped = sum(answer["dropped"].values())
            assert answer["captured"] == answer["delivered"] + answer["pending"] + dropped, answer
        return answer

    def look(self) -> None:
        """Notes the most memory that the process had at once, in MiB."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        found = [line for line in status.splitlines() if line.startswith("VmHWM")]
        self.peak = max(self.peak, int(found[0].split()[1]) // 1024) if found else self.peak

    def resident(self) -> int:
        """The memory that the process has now, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1])

    def wait_until_on_disk(self) -> float:
        """Waits until what was captured is on disk, as `always` promises: 50 ms in which the machine attends to it.

        On a machine that has more to do than it can, a thread waits for a processor, and who makes a file waits for the
        disk. So the time goes on for as long as the worker's thread has something to do and is kept from it; but a
        thread that sleeps, or that had its 50 ms of a processor, has no excuse. Says by how many seconds it was longer.
        """
        begun = time.monotonic()
        used = self._worker()[1]
        idle_since = None
        while True:
            now = time.monotonic()
            waited = now - begun
            busy, ticks = self._worker()
            idle_since = None if busy else idle_since or now
            # It may look for work once in a few milliseconds.
            idle = idle_since is not None and now - idle_since >= 0.01
            if waited >= 0.05 and (idle or ticks - used > 5 or waited > 30):
                return waited - 0.05
            time.sleep(0.002)

    def wait_until_idle(self, within: float = 10.0) -> None:
        """Waits until the worker's thread has nothing to do any more."""
        begun = time.monotonic()
        while self._worker()[0] and time.monotonic() < begun + within:
            time.sleep(0.002)

    def _worker(self) -> tuple[bool, int]:
        """Whether the worker's thread wants a processor or the disk, and the hundredths of a second that it had."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            if name == "llmtrail":
                found.append(rest.split())
        # A thread that has not run yet does not have its name yet.
        busy = not found or any(fields[0] in "RD" for fields in found)
        return busy, sum(int(fields[11]) + int(fields[12]) for fields in found)

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def end(self, command: str | None = None) -> str:
        """Ends it (by a last command, else by the end of its input); what it said names no key."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.look()
        if command:
            self.tell(command)
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        said = self.said()
        self.errors.close()
        assert code == 0, said
        assert KEY not in said, said
        assert "Traceback" not in said, said
        assert "panicked" not in said, said
        return said

    def kill(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.look()
        assert self.process.poll() is None, f"it ended before it was killed: {self.said()}"
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


class Scene:
    """One fault in one language: its server, its folder, its row in the table."""

    def __init__(self, language: str, server: Loopback, folder: Path, fault: str) -> None:
        self.language, self.server, self.folder, self.fault = language, server, folder, fault
        self.begun = time.monotonic()
        self.workers: list[Worker] = []

    def start(self, host: str | None = None, **environment: str) -> Worker:
        worker = Worker(self.language, host or self.server.url, self.folder, **environment)
        self.workers.append(worker)
        return worker

    def set(self, **fault: Any) -> None:
        self.server.ask("/_control/faults", "POST", fault)

    def heal(self) -> None:
        self.server.ask("/_control/faults", "DELETE")

    def requests(self) -> list[dict[str, Any]]:
        """What was asked of the server, but for what asks it for that."""
        requests: list[dict[str, Any]] = self.server.ask("/_control/requests")
        return [request for request in requests if not str(request["path"]).startswith("/_control")]

    def arrived(self) -> Counter[str]:
        return Counter(event["uuid"] for event in self.server.events())

    def kept(self) -> set[str]:
        """The texts of the events that are in the spool."""
        segments = [path for path in self.folder.rglob("*") if path.suffix in (".seg", ".open")]
        found = [re.findall(rb'"text":"([^"]*)"', path.read_bytes()) for path in segments]
        return {text.decode() for texts in found for text in texts}

    def note(self, captured: int, arrived: int, twice: int = 0) -> None:
        """Writes the row."""
        took = time.monotonic() - self.begun
        peak = max((worker.peak for worker in self.workers), default=0)
        ROWS.append((self.fault, self.language, captured, arrived, twice, took, peak))

    def over(self, captured: int, lost: int = 0, twice: int = 0) -> None:
        """Writes the row: so many were captured; all but so many arrived, and so many of them twice."""
        arrived = self.arrived()
        duplicates = sum(arrived.values()) - len(arrived)
        self.note(captured, len(arrived), duplicates)
        assert (len(arrived), duplicates) == (captured - lost, twice)
        left = [path for path in self.folder.rglob("*") if path.suffix in (".seg", ".open")]
        assert not left, left


@pytest.fixture(scope="session")
def server() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture(params=PROGRAMS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene(language: str, server: Loopback, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    server.reset()
    function: Callable[..., None] = request.function
    scene = Scene(
        language, server, tmp_path, (function.__doc__ or function.__name__).splitlines()[0].rstrip(".")
    )
    yield scene
    for worker in scene.workers:
        if worker.process.poll() is None:
            worker.process.kill()
    server.reset()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = []
    if ROWS:
        lines += [
            "",
            "| fault | language | captured | delivered | sent twice | seconds | peak MiB |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {fault} | {language} | {captured} | {delivered} | {twice} | {took:.1f} | {peak} |"
            for fault, language, captured, delivered, twice, took, peak in sorted(ROWS)
        ]
    # What was not tried is said at the end, where nobody overlooks it.
    skipped = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    lines += [
        f"skipped: {count} tests ({reason.removeprefix('Skipped: ')})" for reason, count in skipped.items()
    ]
    for line in lines:
        terminalreporter.write_line(line)
