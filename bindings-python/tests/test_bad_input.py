"""Whatever a server answers: an event that says what is known, never an exception, no other result."""

import gzip
import importlib
import json
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import llmtrail
from support import Loopback, generations

PACKAGES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
URL = "https://api.openai.com/v1/chat/completions"
ASK = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}]}
WHOLE = json.dumps({"choices": [], "model": "gpt-5-mini", "padding": "x" * 5000}).encode()
PACKED = {"content-type": "application/json", "content-encoding": "gzip"}
SSE = {"content-type": "text/event-stream"}

ANSWERS: dict[str, tuple[int, dict[str, str], list[bytes]]] = {
    "not json": (200, {"content-type": "application/json"}, [b"<html>oops"]),
    "empty": (200, {}, []),
    "unknown format": (200, {"content-type": "application/x-odd"}, [b"\x00\x01\x02"]),
    "json of another kind": (200, {"content-type": "application/json"}, [b'[1, null, {"choices": 7}]']),
    "invalid utf-8": (
        200,
        {"content-type": "application/json"},
        [b'{"model": "\xff\xfe", "choices": "\xc3"}'],
    ),
    "truncated gzip": (200, PACKED, [gzip.compress(WHOLE)[:-20]]),
    "no gzip at all": (200, PACKED, [b"plainly not"]),
    "unknown coding": (200, {"content-encoding": "rot13"}, [WHOLE]),
    "30 MB": (
        200,
        {"content-type": "application/json"},
        [b'{"choices": [{"message": {"content": "'] + [b"y" * 10_000_000] * 3 + [b'"}}]}'],
    ),
    "html error": (502, {"content-type": "text/html"}, [b"<html>Bad gateway</html>"]),
    "a stream of nothing": (200, SSE, [b"\n\n", b": hi\n\n", b"data:\n\n"]),
    "a stream of nonsense": (200, SSE, [b"data: {\n\n", b'data: {"choices": [7]}\n\n', b"\xff\n\n"]),
    "very deep": (200, {"content-type": "application/json"}, [b"[" * 200_000]),
}


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_bad_answers(answer: str, name: str, loopback: Loopback, trail: llmtrail.Client) -> None:
    package: ModuleType = importlib.import_module(name)
    status, headers, pieces = ANSWERS[answer]

    def ask(observed: bool) -> Any:
        class Body(package.SyncByteStream):  # type: ignore[name-defined,misc]
            def __iter__(self) -> Iterator[bytes]:
                yield from pieces

        class Transport(package.BaseTransport):  # type: ignore[name-defined,misc]
            def handle_request(self, request: Any) -> Any:
                return package.Response(status, headers=headers, stream=Body())

        with package.Client(transport=Transport()) as client:
            if observed:
                trail.wrap(client)
            try:
                body = {**ASK, "stream": True} if "stream" in answer else ASK
                response = client.post(URL, json=body)
            except package.HTTPError as error:
                return type(error), str(error)
            return response.status_code, response.content

    assert ask(True) == ask(False)
    report = trail.flush(30)
    assert report.delivered == 1, report
    (event,) = generations(loopback.events())
    properties = event["properties"]
    assert properties["$ai_http_status"] == status
    assert properties["$ai_model"]
    assert {"panic", "observer"}.isdisjoint(trail.stats().notes)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"null", b"[" * 100_000, b'{"model": 7, "messages": {"a": 1}}']
)
def test_bad_requests(body: bytes, loopback: Loopback, trail: llmtrail.Client) -> None:
    package = importlib.import_module(PACKAGES[0])
    transport = package.MockTransport(lambda _: package.Response(400, json={"error": {"message": "bad"}}))
    with trail.wrap(package.Client(transport=transport)) as client:
        assert client.post(URL, content=body).status_code == 400
    assert trail.flush(10).delivered == 1
    assert generations(loopback.events())[0]["properties"]["$ai_error"] == "bad"


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 400}, {"status": 401}, {"status": 413}, {"status": 200, "body": "<html>"}],
    ids=str,
)
def test_a_bad_ingestion_reaches_nobody(fault: dict[str, Any], loopback: Loopback, tmp_path: Any) -> None:
    loopback.ask("/_control/faults", "POST", fault)
    try:
        client = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, max_retries=0)
        with client.trace("t"):
            client.capture("e")
        begun = time.monotonic()
        report = client.shutdown(1)
        assert time.monotonic() - begun < 3
        assert report.captured == report.delivered + report.pending + sum(report.dropped.values()) == 2
    finally:
        loopback.ask("/_control/faults", "DELETE")


def test_a_server_that_is_not_there(tmp_path: Any) -> None:
    client = llmtrail.Client(api_key="phc_test", host="http://127.0.0.1:9", dir=tmp_path)
    client.capture("e")
    begun = time.monotonic()
    client.flush(0.2)
    client.shutdown(0.2)
    assert time.monotonic() - begun < 2


def test_a_store_that_cannot_be_written(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    client = llmtrail.Client(dir=blocked / "data")
    for _ in range(3):
        client.capture("e")
        client.flush(1)
    report = client.shutdown(1)
    assert report.captured == 3
    assert report.delivered == 0
    assert "Traceback" not in capfd.readouterr().err
