"""Fixtures: one loopback server for all tests, a client that sends to it for each."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import llmtrail
from llmtrail import _core
from support import Loopback


@pytest.fixture(scope="session")
def server() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def loopback(server: Loopback) -> Iterator[Loopback]:
    server.reset()
    yield server
    # Clients that the test let go of still send, and not to the next test.
    _core.part(20)


@pytest.fixture
def trail(loopback: Loopback, tmp_path: Path) -> Iterator[llmtrail.Client]:
    client = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, flush_interval=60)
    yield client
    client.shutdown(10)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test writes into the user's own store."""
    for name in ("POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY", "POSTHOG_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLMTRAIL_DIR", str(tmp_path))
