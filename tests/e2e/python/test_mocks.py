"""The mocks of each HTTP library keep working with us, and what they answer is recorded."""

import asyncio
from typing import Any

import pytest

import llmtrail
from support import Loopback, generations

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
URL = "https://api.openai.com/v1/chat/completions"
MESSAGE = {"role": "assistant", "content": "mocked"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
WAYS = pytest.mark.parametrize("way", ["wrap", "instrument"])


@pytest.fixture
def observe(trail: llmtrail.Client) -> Any:
    def begin(client: Any, way: str) -> Any:
        if way == "instrument":
            trail.instrument()
            return client
        return trail.wrap(client)

    yield begin
    trail.uninstrument()


def check(trail: llmtrail.Client, loopback: Loopback, count: int) -> None:
    trail.flush(10)
    assert "observer" not in trail.stats().notes
    events = [event["properties"] for event in generations(loopback.events())]
    assert [event["$ai_output_tokens"] for event in events] == [3] * count
    assert all(event["$ai_output_choices"] == [MESSAGE] for event in events)
    assert loopback.providers() == []


@WAYS
@pytest.mark.parametrize("package", ["httpx", "httpx2"])
def test_mock_transport(
    package: str, way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    httpx = pytest.importorskip(package)
    asked = []

    def answer(request: Any) -> Any:
        asked.append(request.read())
        return httpx.Response(200, json=ANSWER)

    with observe(httpx.Client(transport=httpx.MockTransport(answer)), way) as client:
        assert client.post(URL, json=CHAT).json() == ANSWER

    async def go() -> None:
        async with observe(httpx.AsyncClient(transport=httpx.MockTransport(answer)), way) as client:
            assert (await client.post(URL, json=CHAT)).json() == ANSWER

    asyncio.run(go())
    assert len(asked) == 2
    check(trail, loopback, 2)


@WAYS
def test_respx(way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    respx = pytest.importorskip("respx")
    import httpx

    early = observe(httpx.Client(), way)
    with respx.mock(assert_all_called=True) as mock:
        route = mock.post(URL).mock(return_value=httpx.Response(200, json=ANSWER))
        assert early.post(URL, json=CHAT).json() == ANSWER
        with observe(httpx.Client(), way) as late:
            assert late.post(URL, json=CHAT).json() == ANSWER

        async def go() -> None:
            async with observe(httpx.AsyncClient(), way) as client:
                assert (await client.post(URL, json=CHAT)).json() == ANSWER

        asyncio.run(go())
        assert route.call_count == 3
    early.close()
    check(trail, loopback, 3)


@WAYS
def test_responses(way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    responses = pytest.importorskip("responses")
    import requests

    with responses.RequestsMock() as mock, observe(requests.Session(), way) as session:
        mock.post(URL, json=ANSWER)
        assert session.post(URL, json=CHAT).json() == ANSWER
        assert len(mock.calls) == 1
    check(trail, loopback, 1)


@WAYS
def test_aioresponses(way: str, observe: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    mocks = pytest.importorskip("aioresponses")
    import aiohttp

    async def alone() -> None:
        with mocks.aioresponses() as mock:
            mock.post(URL, payload=ANSWER)
            async with aiohttp.ClientSession() as session, session.post(URL, json=CHAT):
                pass

    try:
        asyncio.run(alone())
    except TypeError as error:
        pytest.skip(f"aioresponses does not go with this aiohttp, with us or without: {error}")

    async def go() -> None:
        with mocks.aioresponses() as mock:
            mock.post(URL, payload=ANSWER)
            async with (
                observe(aiohttp.ClientSession(), way) as session,
                session.post(URL, json=CHAT) as answer,
            ):
                assert await answer.json() == ANSWER
            mock.assert_called_once()

    asyncio.run(go())
    check(trail, loopback, 1)
