"""Faults of the network and of what stands in it: nothing is lost, nothing hangs, and nobody else gets the key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import KEY, PROGRAMS, Scene, Worker, free_port
from relay import Authority, Relay


@pytest.fixture
def relay(scene: Scene) -> Iterator[Relay]:
    relay = Relay(scene.server.url)
    yield relay
    relay.close()


def in_vain(worker: Worker, count: int = 50, found: int = 0) -> str:
    """Captures that cannot be delivered now: they are kept, as are those that were found, and the end comes within its
    deadline. Says the trouble."""
    worker.ask(f"capture {count}")
    worker.ask("flush 1500")
    trouble = str(worker.ask("stats")["last_error"])
    report = worker.ask("shutdown 1000")
    assert (report["pending"], report["dropped"]) == (count + found, {})
    assert report["took_ms"] < 5000
    worker.end()
    return trouble


HOLDING = {
    "mute": "Half-open: connected, and never a byte comes back",
    "drip": "Slow-loris: the answer never ends",
}


@pytest.mark.parametrize("how", HOLDING)
def test_a_server_that_holds_the_line(scene: Scene, relay: Relay, how: str) -> None:
    """Slow-loris: the answer never ends; half-open: there is never one."""
    scene.fault = HOLDING[how]
    relay.how = how
    in_vain(scene.start(relay.url))
    assert relay.connections >= 1
    relay.how = "pass"
    worker = scene.start(relay.url)
    worker.ask("flush 20000")
    worker.end()
    scene.over(50)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_certificates(scene: Scene, relay: Relay, authority: Authority) -> None:
    """TLS: expired, of another host, of an unknown authority; then a good one."""
    trusted = {"SSL_CERT_FILE": str(authority.root)}
    relay.tls = authority.context("localhost", days=1, before=10)
    assert "expired" in in_vain(scene.start(relay.url, **trusted)).lower()
    relay.tls = authority.context("example.org")
    assert "not valid for" in in_vain(scene.start(relay.url, **trusted), found=50).lower()
    relay.tls = authority.context("localhost")
    assert (
        "unknownissuer"
        in in_vain(scene.start(relay.url, SSL_CERT_FILE="", SSL_CERT_DIR=""), 10, found=100).lower()
    )
    assert not scene.server.events()
    worker = scene.start(relay.url, **trusted)
    assert worker.ask("flush 20000")["delivered"] == 110
    worker.end()
    scene.over(110)


# The core decides, once for all languages.
@pytest.mark.parametrize(
    ("language", "status"),
    [("python", 301), ("python", 302), ("python", 308), *((one, 307) for one in PROGRAMS)],
)
def test_a_redirect(scene: Scene, relay: Relay, status: int) -> None:
    """A redirect to another host: not followed, so that the key stays here."""
    scene.fault = f"A redirect ({status}) to another host: not followed, so that the key stays here"
    elsewhere = Relay(scene.server.url, "mute")
    head = f"HTTP/1.1 {status} Moved\r\nlocation: http://localhost:{elsewhere.port}/batch/\r\ncontent-length: 0\r\n\r\n"
    relay.how = head.encode()
    assert "redirect" in in_vain(scene.start(relay.url))
    assert relay.connections >= 1
    assert (elsewhere.connections, elsewhere.heard) == (0, b"")
    elsewhere.close()
    relay.how = "pass"
    worker = scene.start(relay.url)
    worker.ask("flush 20000")
    worker.end()
    scene.over(50)


def test_proxies(scene: Scene) -> None:
    """Proxies from the environment, and what NO_PROXY says of them."""
    dead = f"http://127.0.0.1:{free_port()}"
    host = "http://posthog.invalid"
    for environment in ({"http_proxy": scene.server.url}, {"ALL_PROXY": scene.server.url}):
        worker = scene.start(host, **environment)
        worker.ask("capture 20")
        assert worker.ask("flush 20000")["pending"] == 0
        worker.end()
    for name in ("no_proxy", "NO_PROXY"):
        worker = scene.start(http_proxy=dead, **{name: "example.org,127.0.0.1"})
        worker.ask("capture 20")
        assert worker.ask("flush 20000")["delivered"] == 20
        worker.end()
    scene.over(80)


def test_the_key_is_nowhere(scene: Scene, relay: Relay) -> None:
    """The key: in no log, error, repr, event or file, whatever goes wrong and however much is said of it."""
    scene.set(status=401, body=f"no project has the key {KEY}", times=1)
    worker = scene.start(LLMTRAIL_DEBUG="true", LLMTRAIL_SPOOL="always")
    worker.ask("capture 50")
    worker.ask("flush 5000")
    assert KEY[:6] in str(worker.ask("stats")["last_error"])
    worker.ask("repr")
    worker.ask("shutdown 1000")
    worker.end()
    scene.heal()
    worker = scene.start(LLMTRAIL_DEBUG="true")
    worker.ask("flush 20000")
    worker.end()
    scene.over(50)
    # `Worker` looks for it in all that a process says and answers.
    for path in (path for path in scene.folder.rglob("*") if path.is_file()):
        assert KEY.encode() not in path.read_bytes(), path
    for request in scene.server.ask("/_control/requests"):
        assert KEY not in str(request["path"]) + str(request.get("headers", "")), request
    for event in scene.server.events():
        assert KEY not in str(event)
