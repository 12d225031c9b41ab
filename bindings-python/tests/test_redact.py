"""`redact`, `on_generation`, and what of an event's content goes to which sink."""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import llmtrail
from support import Loopback, first, named, stored

SECRET = "canary-7f3a"


def client(loopback: Loopback, folder: Path, **options: Any) -> llmtrail.Client:
    return llmtrail.Client(api_key="phc_test", host=loopback.url, dir=folder, flush_interval=3600, **options)


def test_redact_sees_every_text_and_what_it_says_is_sent(loopback: Loopback, tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    threads = set()

    def redact(text: str, path: str) -> str:
        threads.add(threading.current_thread().name)
        seen[path] = text
        return text.replace(SECRET, "[mine]")

    trail = client(loopback, tmp_path, redact=redact)
    with trail.trace(SECRET, input={"question": SECRET}, properties={"note": SECRET}) as trace:
        trail.capture_generation(
            model="m", input=[{"role": "user", "content": SECRET}], output=SECRET, error=ValueError(SECRET)
        )
        trace.output = [SECRET]
    trail.capture("ordered", "user", {"nested": {"deep": [SECRET]}})
    report = trail.shutdown(20)
    assert (report.delivered, report.dropped) == (4 - 1, {})
    assert threads == {"llmtrail-hooks"}
    text = json.dumps(loopback.events())
    assert SECRET not in text
    assert text.count("[mine]") >= 8
    assert seen["$ai_input[0].content"] == seen["$ai_error"] == seen["note"] == SECRET
    assert seen["nested.deep[0]"] == seen["$ai_span_name"] == seen["$ai_input_state.question"] == SECRET
    assert not any(path.endswith((".role", "_id")) for path in seen)
    generation = named(loopback.events(), "$ai_generation")[0]["properties"]
    assert generation["$ai_input"] == [{"role": "user", "content": "[mine]"}]


@pytest.mark.parametrize(
    ("redact", "says"),
    [
        (lambda text: 1 / 0, "ZeroDivisionError"),
        (lambda text: None, "it gave back NoneType"),
        (lambda text: "\ud800", "UnicodeEncodeError"),
    ],
)
def test_a_text_that_redact_fails_on_is_withheld(
    loopback: Loopback, tmp_path: Path, redact: Any, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    errors: list[llmtrail.LlmtrailError] = []
    trail = client(loopback, tmp_path, redact=redact, on_error=errors.append)
    trail.capture_generation(model="m", input=SECRET, usage={"input_tokens": 3})
    assert trail.flush(20).delivered == 1
    (event,) = loopback.events()
    assert event["properties"]["$ai_input"] == [{"role": "user", "content": "[withheld]"}]
    assert event["properties"]["$ai_input_tokens"] == 3
    assert trail.stats().notes["redact_failed"] >= 1
    trail.shutdown(20)
    assert SECRET not in json.dumps(loopback.events())
    error = first(errors)
    assert error.code == "redact"
    assert says in str(error)
    assert capfd.readouterr().err.count("redact failed") == 1


def test_redact_comes_before_before_send(loopback: Loopback, tmp_path: Path) -> None:
    seen = []

    def before_send(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(event["properties"]["$ai_input"])
        return event

    trail = client(loopback, tmp_path, redact=str.upper, before_send=before_send)
    trail.capture_generation(model="m", input="quiet")
    assert trail.shutdown(20).delivered == 1
    assert seen == [[{"role": "user", "content": "QUIET"}]]


def test_what_redact_has_not_seen_is_neither_sent_nor_on_disk(loopback: Loopback, tmp_path: Path) -> None:
    free = threading.Event()

    def redact(text: str) -> str:
        free.wait(30)
        return text

    trail = client(loopback, tmp_path, redact=redact, spool="always")
    begun = time.monotonic()
    trail.capture_generation(model="m", input=SECRET)
    assert time.monotonic() - begun < 10
    assert trail.shutdown(0.3).dropped == {"shutdown": 1}
    free.set()
    assert loopback.events() == []
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_hooks_are_checked(tmp_path: Path) -> None:
    async def later(text: str) -> str:
        return text

    for name in ("redact", "on_generation"):
        with pytest.raises(llmtrail.ConfigError, match=f"{name}: expected a function, got int"):
            llmtrail.Client(dir=tmp_path, **{name: 1})  # type: ignore[arg-type]
        with pytest.raises(llmtrail.ConfigError, match=f"{name}: .*not async"):
            llmtrail.Client(dir=tmp_path, **{name: later})  # type: ignore[arg-type]


def test_on_generation_is_told_of_every_call(loopback: Loopback, tmp_path: Path) -> None:
    told: list[llmtrail.FinishedCall] = []
    trail = client(loopback, tmp_path, on_generation=told.append, sample_rate=0.0, privacy=True)
    url = loopback.case("openai_chat/plain")
    with (
        trail.wrap(httpx.Client(), provider="openai") as http,
        trail.trace("t", distinct_id="user-1", session_id="s") as trace,
    ):
        http.post(f"{url}/v1/chat/completions", json={"model": "gpt-5-mini", "messages": []})
        trail.capture_embedding(model="m", usage={"input_tokens": 4}, latency=0.25)
        with trail.span("not a call"):
            pass
    trail.flush(20)
    chat, embedding = told
    assert (chat.event, chat.provider, chat.distinct_id, chat.session_id) == (
        "$ai_generation", "openai", "user-1", "s",
    )  # fmt: skip
    assert chat.trace_id == trace.trace_id
    assert chat.http_status == 200
    assert chat.usage
    assert chat.cost_usd == trace.cost_usd
    assert chat.latency is not None
    assert 0 < chat.latency < 10
    assert not chat.is_error
    assert (embedding.event, embedding.usage, embedding.latency) == ("$ai_embedding", {"input_text": 4}, 0.25)
    assert embedding.cost_usd is None
    # Sampling left all of them out.
    assert loopback.events() == []
    trail.shutdown(20)


def test_what_on_generation_raises_is_counted_and_goes_nowhere(loopback: Loopback, tmp_path: Path) -> None:
    def hook(call: llmtrail.FinishedCall) -> None:
        raise SystemExit(call.model)

    trail = client(loopback, tmp_path, on_generation=hook)
    for _ in range(3):
        trail.capture_generation(model="m", input="hi")
    assert trail.flush(20).delivered == 3
    assert trail.stats().notes["on_generation_failed"] == 3
    assert trail.shutdown(20).dropped == {}


def test_a_slow_on_generation_holds_up_neither_the_caller_nor_the_events(
    loopback: Loopback, tmp_path: Path
) -> None:
    free = threading.Event()
    trail = client(loopback, tmp_path, on_generation=lambda call: free.wait(30), flush_at=1)
    begun = time.monotonic()
    for _ in range(5):
        trail.capture_generation(model="m", input="hi")
    assert time.monotonic() - begun < 10
    deadline = time.monotonic() + 20
    while len(loopback.events()) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(loopback.events()) == 5
    free.set()
    assert trail.shutdown(20).delivered == 5


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stricter", ["remote", "store"])
def test_the_store_and_the_server_get_what_each_may(
    loopback: Loopback, tmp_path: Path, stricter: str
) -> None:
    private = stricter == "remote"
    trail = client(
        loopback, tmp_path, local=True, spool="always", privacy=private, store={"privacy": not private}
    )
    with trail.trace("t", input=SECRET):
        trail.capture_generation(model="m", input=SECRET, output=SECRET)
        with trail.options(privacy=True):  # a scope tightens everything
            trail.capture_generation(model="m", input="hidden from all", output="hidden from all")
    assert trail.shutdown(20).delivered == 3
    sent, kept = loopback.events(), stored(tmp_path)
    full, hidden = (kept, sent) if private else (sent, kept)
    assert SECRET not in json.dumps(hidden)
    assert json.dumps(full).count(SECRET) == 3
    assert "hidden from all" not in json.dumps(sent + kept)
    assert {event["uuid"] for event in sent} == {event["uuid"] for event in kept}
    if not private:
        assert SECRET.encode() not in everything(tmp_path)


def test_redact_and_detectors_may_be_for_the_server_alone(loopback: Loopback, tmp_path: Path) -> None:
    trail = client(
        loopback, tmp_path, local=True, detectors=["email"],
        redact=lambda text: text.replace(SECRET, "[mine]"), store={"redact": False, "detectors": False},
    )  # fmt: skip
    trail.capture_generation(model="m", input=f"{SECRET} anna@example.com")
    assert trail.shutdown(20).delivered == 1
    (sent,), (kept,) = loopback.events(), stored(tmp_path)
    assert sent["properties"]["$ai_input"] == [{"role": "user", "content": "[mine] [email-1]"}]
    assert kept["properties"]["$ai_input"] == [{"role": "user", "content": f"{SECRET} anna@example.com"}]


def test_the_store_alone_goes_by_its_own_policy(tmp_path: Path) -> None:
    trail = llmtrail.Client(dir=tmp_path, privacy=True, store={"privacy": False})
    trail.capture_generation(model="m", input=SECRET)
    assert trail.shutdown(20).delivered == 1
    assert SECRET in json.dumps(stored(tmp_path))


def test_before_send_sees_each_form_and_what_it_drops_of_one_goes_nowhere(
    loopback: Loopback, tmp_path: Path
) -> None:
    seen = []

    def hook(event: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(event["properties"]["$ai_input"])
        return (
            None if event["properties"]["$ai_model"] == "no" and event["properties"]["$ai_input"] else event
        )

    trail = client(loopback, tmp_path, local=True, privacy=True, store={"privacy": False}, before_send=hook)
    for model in ("yes", "no"):
        trail.capture_generation(model=model, input=SECRET)
    report = trail.shutdown(20)
    assert (report.delivered, report.dropped) == (1, {"hook": 1})
    assert len(seen) == 4
    assert len(loopback.events()) == len(stored(tmp_path)) == 1
    assert trail.stats().queued_bytes == 0


@pytest.mark.parametrize(
    ("store", "says"),
    [
        (True, "store: expected an object with some of privacy, full_capture, detectors, redact"),
        ({"privacy": 1}, "store: privacy: expected true or false"),
        ({"media": True}, "got one with media"),
        ({"detectors": ["face"]}, "store: detectors: expected a list"),
    ],
)
def test_a_wrong_policy_is_an_error_at_the_door(tmp_path: Path, store: Any, says: str) -> None:
    with pytest.raises(llmtrail.ConfigError, match=says):
        llmtrail.Client(dir=tmp_path, store=store)


def test_the_schema_is_open_to_others(tmp_path: Path) -> None:
    trail = llmtrail.Client(dir=tmp_path, store={"privacy": True})
    trail.capture_generation(model="m", input=SECRET)
    trail.shutdown(20)
    with sqlite3.connect(f"file:{tmp_path / 'llmtrail.db'}?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert SECRET.encode() not in everything(tmp_path)
