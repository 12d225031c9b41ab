"""A marked secret in every field of every path: in privacy mode none of it leaves, and of media only placeholders."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import llmtrail
from support import ROOT, Loopback, stored

CANARY = json.loads((ROOT / "tests/scenarios/canary.json").read_bytes())
SECRET: str = CANARY["secret"]
PAYLOAD: str = CANARY["payload"]
IMAGE = f"data:image/png;base64,{PAYLOAD}"
PATHS: dict[str, dict[str, Any]] = CANARY["paths"]
FUNCTION = PATHS["chat"]["request"]["tools"][0]["function"]


def play(trail: llmtrail.Client, path: str) -> None:
    url, ask, status, answer = (PATHS[path][name] for name in ("url", "request", "status", "response"))

    def handler(request: httpx.Request) -> httpx.Response:
        if status == 0:
            raise httpx.ConnectError(f"{SECRET} refused {url}?key={SECRET}")
        headers = {"x-canary": SECRET, "set-cookie": SECRET}
        if isinstance(answer, str):
            kind = "text/event-stream" if answer.startswith("data:") else "text/html"
            return httpx.Response(status, text=answer, headers={**headers, "content-type": kind})
        return httpx.Response(status, json=answer, headers=headers)

    headers = {"authorization": f"Bearer {SECRET}", "x-api-key": SECRET, "cookie": SECRET, "x-note": SECRET}
    with trail.wrap(httpx.Client(transport=httpx.MockTransport(handler))) as client:
        try:
            address = url.replace("https://", f"https://{SECRET}:{SECRET}@")
            client.post(f"{address}?key={SECRET}&x={SECRET}", json=ask, headers=headers)
        except httpx.ConnectError:
            assert status == 0


def by_hand(trail: llmtrail.Client) -> None:
    for _ in range(2):
        trail.capture_generation(
            model="m", input=SECRET, output=[SECRET, IMAGE], tools=[FUNCTION], parameters={"stop": SECRET},
            base_url=f"https://{SECRET}@host/v1?key={SECRET}", error=ValueError(f"{SECRET} {IMAGE}"),
        )  # fmt: skip
        trail.capture_embedding(model="m", input=[SECRET, IMAGE])
        trail.capture_span("s", input={SECRET: SECRET}, output=IMAGE, error=SECRET)
        trail.capture_trace("t", input=SECRET, output={"image": IMAGE})
    with trail.span("s", input=IMAGE) as span:
        span.output = {"nested": [SECRET, IMAGE]}
    with pytest.raises(ValueError, match=SECRET), trail.trace("t", input=SECRET):
        raise ValueError(SECRET)


def everything(trail: llmtrail.Client, folder: Path) -> str:
    """What left: the events, and every file."""
    trail.shutdown(20)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
def test_nothing_leaves_in_privacy_mode(loopback: Loopback, tmp_path: Path, path: str) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, privacy=True, spool="always")
    with trail.trace("t", input=SECRET):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    events = loopback.events()
    assert len(events) >= 2
    for event in events:
        assert SECRET not in json.dumps(event), path
        assert PAYLOAD[:32] not in json.dumps(event), path
    assert SECRET not in files
    assert PAYLOAD[:32] not in files


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
def test_of_media_only_placeholders_leave(loopback: Loopback, tmp_path: Path, path: str) -> None:
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, spool="always")
    with trail.trace("t"):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    events = json.dumps(loopback.events())
    assert PAYLOAD[:32] not in events, path
    assert PAYLOAD[:32] not in files, path
    if path != "embeddings":
        assert "[redacted " in events, path
    # Credentials are in headers and addresses, which are not content.
    for leak in (f"Bearer {SECRET}", f"key={SECRET}", f"{SECRET}@", f"sk-{SECRET}"):
        assert leak not in events, (path, leak)


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
def test_with_redact_only_what_it_said_leaves(loopback: Loopback, tmp_path: Path, path: str) -> None:
    def redact(text: str) -> str:
        return text.replace(SECRET, "[mine]")

    trail = llmtrail.Client(
        api_key="phc_test", host=loopback.url, dir=tmp_path, spool="always", local=True, redact=redact
    )
    with trail.trace("t", input=SECRET):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    events = loopback.events()
    texts = json.dumps([without_names(event) for event in events])
    assert SECRET not in texts, path
    assert "[mine]" in texts
    # The store packs what it keeps, and what is packed is found by nobody: so it is asked for.
    assert PAYLOAD[:32] not in files
    kept = [without_names(event) for event in stored(tmp_path)]
    assert len(kept) == len(events)
    assert SECRET not in json.dumps(kept), path


@pytest.mark.parametrize("path", [*PATHS, "by hand"])
@pytest.mark.parametrize("private", ["server", "store"])
def test_each_sink_gets_what_it_may(loopback: Loopback, tmp_path: Path, path: str, private: str) -> None:
    remote = private == "server"
    trail = llmtrail.Client(
        api_key="phc_test", host=loopback.url, dir=tmp_path, spool="always", local=True,
        privacy=remote, store={"privacy": not remote},
    )  # fmt: skip
    with trail.trace("t", input=SECRET):
        by_hand(trail) if path == "by hand" else play(trail, path)
    files = everything(trail, tmp_path)
    sent, kept = loopback.events(), stored(tmp_path)
    less, full = (sent, kept) if remote else (kept, sent)
    assert SECRET not in json.dumps(less), path
    assert SECRET in json.dumps(full), path
    if not remote:
        assert SECRET not in files


def without_names(value: Any) -> Any:
    """The value without the names of members, about which `redact` is not asked."""
    if isinstance(value, dict):
        return [without_names(member) for member in value.values()]
    return [without_names(item) for item in value] if isinstance(value, list) else value


# Where an exception may hide something besides its message.
HIDDEN = [
    f"{SECRET}-{place}" for place in ("local", "argument", "cause", "context", "note", "member", "line")
]


def failing(key: str) -> None:
    """Raises an error with a secret in its message and others wherever a traceback shows or an error keeps them."""
    password = HIDDEN[0]
    try:
        raise KeyError(HIDDEN[3]) if password == key else LookupError(HIDDEN[2])
    except LookupError as cause:
        error = ValueError(SECRET)
        error.__context__ = KeyError(HIDDEN[3])
        error.password = HIDDEN[5]  # type: ignore[attr-defined]
        if hasattr(error, "add_note"):
            error.add_note(HIDDEN[4])
        exec(compile("raise error from cause", HIDDEN[6], "exec"), {"error": error, "cause": cause})


def fail_everywhere(trail: llmtrail.Client) -> None:
    def refused(_: httpx.Request) -> httpx.Response:
        failing(HIDDEN[1])
        raise AssertionError

    async def later() -> None:
        failing(HIDDEN[1])

    def numbers() -> Iterator[int]:
        yield 1
        failing(HIDDEN[1])

    def timed() -> None:
        with trail.generation(model="m", input=SECRET):
            failing(HIDDEN[1])

    def called() -> None:
        with trail.wrap(httpx.Client(transport=httpx.MockTransport(refused))) as client:
            client.post("https://api.openai.com/v1/chat/completions", json=PATHS["chat"]["request"])

    decorated: list[Callable[[], Any]] = [
        trail.span("function")(lambda: failing(HIDDEN[1])),
        lambda: asyncio.run(trail.span("coroutine")(later)()),
        lambda: list(trail.span("generator")(numbers)()),
        trail.span("timed")(timed),
        trail.span("called")(called),
    ]
    for work in decorated:
        with pytest.raises(ValueError, match=SECRET) as caught:
            work()
        trail.capture_generation(model="m", error=caught.value)
        trail.capture_span("by hand", error=caught.value)
        span = trail.span("ended").start()
        span.end(caught.value)


@pytest.mark.parametrize("private", [True, False])
def test_of_an_exception_nothing_leaves_but_type_and_message(
    loopback: Loopback, tmp_path: Path, capfd: pytest.CaptureFixture[str], private: bool
) -> None:
    trail = llmtrail.Client(
        api_key="phc_test",
        host=loopback.url,
        dir=tmp_path,
        spool="always",
        local=True,
        privacy=private,
        debug=True,
    )
    fail_everywhere(trail)
    files = everything(trail, tmp_path)
    kept = stored(tmp_path)
    events = loopback.events()
    assert len(kept) == len(events) == 5 * 4 + 2
    kinds = [event["properties"]["$ai_error_type"] for event in events]
    assert sorted(set(kinds), key=kinds.count) == ["connection_error", "ValueError"]
    everywhere = json.dumps([events, kept]) + files + capfd.readouterr().err
    for secret in HIDDEN:
        assert secret not in everywhere
    assert (SECRET in everywhere) is not private


def test_personal_data_of_each_kind_is_found(loopback: Loopback, tmp_path: Path) -> None:
    found = "anna@example.com, +49 30 901820, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 203.0.113.7"
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, local=True, detectors=True)
    trail.capture_generation(model="m", input=found, output=found, error=ValueError(found))
    trail.shutdown(20)
    # Ids are random, and by chance one has the digits of a card in it.
    ids = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    everywhere = re.sub(ids, "id", json.dumps([loopback.events(), stored(tmp_path)]))
    for value in ("anna@", "30 901820", "1111 1111", "DE89", "203.0.113.7"):
        assert value not in everywhere
    for kind in ("email", "phone", "card", "iban", "ip"):
        assert f"[{kind}-" in everywhere
