"""What `wrap` hooks, and what it leaves as it was."""

import asyncio
import gc
import hashlib
import importlib
import json
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import llmtrail
from support import Loopback, generations

PACKAGES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
BODY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
URL = "https://api.openai.com/v1/chat/completions"
ASK = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def last(trail: llmtrail.Client, loopback: Loopback) -> dict[str, Any]:
    trail.flush(10)
    (event,) = generations(loopback.events())
    properties: dict[str, Any] = event["properties"]
    return properties


@pytest.mark.parametrize("thing", [42, None, "client", object(), int, {}, lambda: None])
def test_what_cannot_be_observed_is_a_type_error(thing: Any, trail: llmtrail.Client) -> None:
    for copy in (False, True):
        with pytest.raises(TypeError, match="Supported: openai: OpenAI"):
            trail.wrap(thing, copy=copy)


def test_a_class_is_not_a_client(package: ModuleType, trail: llmtrail.Client) -> None:
    with pytest.raises(TypeError, match="the class Client"):
        trail.wrap(package.Client)


def test_a_client_of_unknown_shape_is_refused(package: ModuleType, trail: llmtrail.Client) -> None:
    class Elsewhere(package.Client):  # type: ignore[name-defined,misc]
        def _transport_for_url(self, url: Any) -> Any:
            return package.HTTPTransport()

    with Elsewhere() as client, pytest.raises(TypeError, match="shape is unknown"):
        trail.wrap(client)
    client = package.Client()
    mounts = client.__dict__.pop("_mounts")
    with pytest.raises(TypeError, match="unknown place"):
        trail.wrap(client)
    client._mounts = mounts
    client.close()


def test_nothing_changes_but_one_method(package: ModuleType, trail: llmtrail.Client) -> None:
    with package.Client() as client:
        kinds = type(client), type(client._transport)
        before = dict(client.__dict__)
        assert trail.wrap(client) is client
        hook = client._transport.handle_request
        assert trail.wrap(client) is client
        assert client._transport.handle_request is hook
        assert (type(client), type(client._transport)) == kinds
        assert client.__dict__ == before


def test_mocks_have_their_content_at_once(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    transport = package.MockTransport(lambda request: package.Response(200, json=BODY))
    with trail.wrap(package.Client(transport=transport)) as client:
        answer = client.post(URL, json=ASK)
        assert answer.json() == BODY
        assert answer.is_stream_consumed
    assert last(trail, loopback)["$ai_output_tokens"] == 2


def test_async_mocks_too(package: ModuleType, trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        transport = package.MockTransport(lambda request: package.Response(200, json=BODY))
        async with trail.wrap(package.AsyncClient(transport=transport)) as client:
            assert (await client.post(URL, json=ASK)).json() == BODY

    asyncio.run(go())
    assert last(trail, loopback)["$ai_output_tokens"] == 2


def test_other_requests_pass_untouched(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    seen: list[Any] = []
    stream = package.ByteStream(b"{}")

    def handle(request: Any) -> Any:
        seen.append(request)
        return package.Response(200, stream=stream)

    class Transport(package.BaseTransport):  # type: ignore[name-defined,misc]
        handle_request = staticmethod(handle)

    with trail.wrap(package.Client(transport=Transport())) as client:
        request = client.build_request("GET", "https://api.openai.com/v1/models")
        response = client._transport.handle_request(request)
        assert seen == [request]
        assert response.stream is stream
    assert trail.flush(1).captured == 0


def test_a_request_body_that_is_a_stream_is_not_consumed(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"model":'
        yield b'"gpt-5-mini"}'

    def handle(request: Any) -> Any:
        assert request.read() == b'{"model":"gpt-5-mini"}'
        return package.Response(200, json=BODY)

    with trail.wrap(package.Client(transport=package.MockTransport(handle))) as client:
        client.post(URL, content=body())
    properties = last(trail, loopback)
    assert properties["$ai_model"] == "gpt-5-mini"
    assert properties["$ai_output_tokens"] == 2


def test_mounts_and_proxies_are_observed(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    mounted = package.MockTransport(lambda request: package.Response(200, json=BODY))
    with trail.wrap(package.Client(mounts={"https://api.openai.com": mounted, "all://x": None})) as client:
        client.post(URL, json=ASK)
    assert last(trail, loopback)["$ai_http_status"] == 200


def test_a_copy_leaves_the_client_alone(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    closed = []

    class Transport(package.MockTransport):  # type: ignore[name-defined,misc]
        def close(self) -> None:
            closed.append(self)

    transport = Transport(lambda request: package.Response(200, json=BODY))
    client = package.Client(transport=transport)
    twin = trail.wrap(client, copy=True)
    assert twin is not client
    assert isinstance(twin, package.Client)
    assert "handle_request" not in transport.__dict__
    client.post(URL, json=ASK)
    twin.post(URL, json=ASK)
    twin.close()
    assert not closed
    assert last(trail, loopback)["$ai_output_tokens"] == 2
    client.close()
    assert closed == [transport]


def test_errors_go_on_unchanged(package: ModuleType, trail: llmtrail.Client, loopback: Loopback) -> None:
    error = package.ReadTimeout("The read operation timed out")

    def handle(request: Any) -> Any:
        raise error

    with trail.wrap(package.Client(transport=package.MockTransport(handle))) as client:
        with pytest.raises(package.ReadTimeout) as caught:
            client.post(URL, json=ASK)
        assert caught.value is error
    properties = last(trail, loopback)
    assert properties["$ai_error_type"] == "timeout"
    assert "$ai_http_status" not in properties


def test_the_cause_of_a_vague_error_is_told(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    def handle(request: Any) -> Any:
        try:
            raise OSError("All attempts failed") from ConnectionRefusedError(111, "Connection refused")
        except OSError as cause:
            raise package.ConnectError("All attempts failed") from cause

    with trail.wrap(package.Client(transport=package.MockTransport(handle))) as client:
        with pytest.raises(package.ConnectError):
            client.post(URL, json=ASK)
    assert last(trail, loopback)["$ai_error_type"] == "connection_refused"


def test_what_the_client_drops_is_freed_at_once(package: ModuleType, trail: llmtrail.Client) -> None:
    client = trail.wrap(package.Client())
    alive = weakref.ref(client._transport)
    gc.disable()
    try:
        client.close()
        del client
        assert alive() is None
    finally:
        gc.enable()


def test_what_was_handed_over_is_let_go(package: ModuleType, trail: llmtrail.Client) -> None:
    handle = lambda _: package.Response(200, stream=stream_of(package, [b"{}"]))  # noqa: E731

    def is_freed(client: Any) -> bool:
        with client:
            response = client.post(URL, json=ASK)
            alive = weakref.ref(response)
            gc.disable()
            try:
                del response
                return alive() is None
            finally:
                gc.enable()

    bare = is_freed(package.Client(transport=package.MockTransport(handle)))
    assert is_freed(trail.wrap(package.Client(transport=package.MockTransport(handle)))) == bare


def test_our_own_trouble_is_counted_and_the_call_goes_on(
    package: ModuleType, trail: llmtrail.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("llmtrail._httpx.time_ns", broken)
    transport = package.MockTransport(lambda request: package.Response(200, json=BODY))
    with trail.wrap(package.Client(transport=transport)) as client:
        assert client.post(URL, json=ASK).json() == BODY
    assert trail.stats().notes == {"observer": 1}


class Pieces:
    """A body in pieces, sync and async, that may break."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self.pieces, self.error, self.closed = pieces, error, 0
        self.extra = "kept"

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.error:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def stream_of(package: ModuleType, *args: Any) -> Any:
    return type("Stream", (Pieces, package.SyncByteStream, package.AsyncByteStream), {})(*args)


SSE = [
    b'data: {"id":"1","model":"gpt-5","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"id":"1","model":"gpt-5-mini","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": False}}
ASKING = {**ASK, "stream": True}
HEADERS = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("how", ["read", "abandon", "leave", "close", "break", "drop"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_every_end_of_a_stream_is_recorded(
    how: str, asynchronous: bool, package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    error = package.ReadError("broken") if how == "break" else None
    body = stream_of(package, SSE[:1] if error else SSE, error)
    seen: list[bytes] = []

    async def handle(request: Any) -> Any:
        return package.Response(200, headers=HEADERS, stream=body)

    async def go() -> None:
        async with trail.wrap(package.AsyncClient(transport=package.MockTransport(handle))) as client:
            response = await client.send(client.build_request("POST", URL, json=STREAM), stream=True)
            assert response.stream._stream.extra == "kept"
            if how in ("read", "break", "abandon"):
                try:
                    async for piece in response.aiter_raw():
                        seen.append(piece)
                        if how == "abandon":
                            break
                except package.ReadError as caught:
                    assert caught is error
            if how in ("leave", "close", "abandon", "break"):
                await response.aclose()
            del response

    def go_sync() -> None:
        transport = package.MockTransport(lambda _: package.Response(200, headers=HEADERS, stream=body))
        with trail.wrap(package.Client(transport=transport)) as client:
            response = client.send(client.build_request("POST", URL, json=STREAM), stream=True)
            assert response.stream._stream.extra == "kept"
            if how in ("read", "break", "abandon"):
                try:
                    for piece in response.iter_raw():
                        seen.append(piece)
                        if how == "abandon":
                            break
                except package.ReadError as caught:
                    assert caught is error
            if how in ("leave", "close", "abandon", "break"):
                response.close()
            del response

    if asynchronous:
        asyncio.run(go())
    else:
        go_sync()
    gc.collect()
    assert all(piece is sent for piece, sent in zip(seen, body.pieces, strict=False))
    assert body.closed == (0 if how == "drop" else 1)
    properties = last(trail, loopback)
    expected = {"read": "complete", "break": "error"}.get(how, "abandoned")
    assert properties["$ai_stream_status"] == expected
    assert len(seen) == {"read": 3, "break": 1, "abandon": 1}.get(how, 0)


def test_an_answer_that_takes_more_than_all_events_may_is_let_go_of_before_its_end(
    package: ModuleType, loopback: Loopback, tmp_path: Path
) -> None:
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 100_000 + b'"}}]}\n\n'
    headers = {"content-type": "text/event-stream"}
    transport = package.MockTransport(
        lambda _: package.Response(200, headers=headers, content=(piece for _ in range(100)))
    )
    trail = llmtrail.Client(api_key="phc_test", host=loopback.url, dir=tmp_path, max_memory=4 << 20)
    dropped = []
    with (
        trail.wrap(package.Client(transport=transport)) as client,
        client.stream("POST", URL, json=ASK) as answer,
    ):
        for seen in answer.iter_raw():
            assert seen == piece
            dropped.append(trail.stats().dropped)
    assert (len(dropped), dropped[40], dropped[-1]) == (100, {}, {"overflow": 1})
    report = trail.shutdown(20)
    assert (report.captured, report.delivered, report.dropped) == (1, 0, {"overflow": 1})


def test_import_is_light() -> None:
    import subprocess

    heavy = {"asyncio", "typing", "inspect", "json", "re", "httpx", "httpx2", "functools", "weakref", "enum"}
    new = "import sys; old = set(sys.modules); import llmtrail; new = set(sys.modules) - old"
    code = f"{new}; print(sorted(new & {heavy}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("how", ["read", "leave"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_stream_that_is_its_own_iterator(
    asynchronous: bool, how: str, package: ModuleType, trail: llmtrail.Client
) -> None:
    """It begins once, and is closed when it would be without us; what its closing raises hides no error."""

    class Own(package.SyncByteStream, package.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.said: list[str] = []
            self.left = 2

        def __iter__(self) -> Any:
            self.said.append("begins")
            return self

        __aiter__ = __iter__

        def __next__(self) -> bytes:
            if not self.left:
                raise package.ReadError("broken")
            self.left -= 1
            return SSE[0]

        async def __anext__(self) -> bytes:
            return self.__next__()

        def close(self) -> None:
            self.said.append("closed")
            if how == "read" and self.said.count("closed") == 1:
                raise OSError("closing fails")

        async def aclose(self) -> None:
            self.close()

    def seen(client: Any, body: Any) -> list[str]:
        response = client.send(client.build_request("POST", URL, json=STREAM), stream=True)
        pieces = response.iter_raw()
        try:
            next(pieces)
            if how == "leave":
                pieces.close()
            list(pieces)
        except Exception as error:
            body.said.append(repr(error))
        return body.said  # type: ignore[no-any-return]

    async def seen_later(client: Any, body: Any) -> list[str]:
        response = await client.send(client.build_request("POST", URL, json=STREAM), stream=True)
        pieces = response.aiter_raw()
        try:
            await pieces.__anext__()
            if how == "leave":
                await pieces.aclose()
            async for _ in pieces:
                pass
        except Exception as error:
            body.said.append(repr(error))
        return body.said  # type: ignore[no-any-return]

    def once(watch: Any) -> list[str]:
        body = Own()
        if not asynchronous:
            transport = package.MockTransport(lambda _: package.Response(200, headers=HEADERS, stream=body))
            return seen(watch(package.Client(transport=transport)), body)

        async def handle(request: Any) -> Any:
            return package.Response(200, headers=HEADERS, stream=body)

        return asyncio.run(
            seen_later(watch(package.AsyncClient(transport=package.MockTransport(handle))), body)
        )

    bare, observed = once(lambda client: client), once(trail.wrap)
    # httpx2 itself asks an asynchronous one twice to begin.
    assert [*dict.fromkeys(observed)] == [*dict.fromkeys(bare)]
    assert observed.count("begins") == 1


@pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
def test_a_body_that_is_signed_is_sent_as_it_is(
    signed: bool, package: ModuleType, trail: llmtrail.Client
) -> None:
    """What an `auth` of the application's has signed is not ours to change."""
    sent: list[bytes] = []

    class Sign(package.Auth):  # type: ignore[name-defined,misc]
        requires_request_body = True

        def auth_flow(self, request: Any) -> Iterator[Any]:
            if signed:
                request.headers["X-Gateway-Signature"] = hashlib.sha256(b"key" + request.content).hexdigest()
            yield request

    def answer(request: Any) -> Any:
        sent.append(request.read())
        if signed:
            assert request.headers["x-gateway-signature"] == hashlib.sha256(b"key" + sent[-1]).hexdigest()
        return package.Response(200, headers=HEADERS, content=b"data: [DONE]\n\n")

    with trail.wrap(package.Client(auth=Sign(), transport=package.MockTransport(answer))) as client:
        client.post(URL, json=ASKING)
    assert (b"include_usage" in sent[0]) is not signed


def test_a_body_in_chunks_gets_no_length(package: ModuleType, trail: llmtrail.Client) -> None:
    """A request must not say both; a hook that reads the body of a streamed one leaves it chunked."""
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        return package.Response(200, headers=HEADERS, content=b"data: [DONE]\n\n")

    hooks = {"request": [lambda request: request.read()]}
    transport = package.MockTransport(answer)
    with trail.wrap(package.Client(event_hooks=hooks, transport=transport)) as client:
        client.post(URL, content=iter([json.dumps(ASKING).encode()]))
    assert sent[0].headers["transfer-encoding"] == "chunked"
    assert "content-length" not in sent[0].headers
    assert b"include_usage" in sent[0].read()


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_is_followed_is_one_call(
    status: int, package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    there = "https://eu.api.openai.com/v1/chat/completions"

    def answer(request: Any) -> Any:
        if str(request.url) == there:
            return package.Response(200, json=BODY)
        return package.Response(status, headers={"location": there})

    with trail.wrap(package.Client(follow_redirects=True, transport=package.MockTransport(answer))) as client:
        assert client.post(URL, json=ASK).json() == BODY
    event = last(trail, loopback)
    assert (event["$ai_request_url"], event["$ai_http_status"]) == (there, 200)
    assert "$ai_retries" not in event


def test_a_redirect_that_is_not_followed_is_the_answer(
    package: ModuleType, trail: llmtrail.Client, loopback: Loopback
) -> None:
    transport = package.MockTransport(lambda _: package.Response(307, headers={"location": "/v2"}))
    with trail.wrap(package.Client(transport=transport)) as client:
        assert client.post(URL, json=ASK).status_code == 307
    assert last(trail, loopback)["$ai_http_status"] == 307
