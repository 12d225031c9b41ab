"""What the SDKs offer around a plain call is recorded like the plain call."""

import asyncio
import gc
import importlib
import json
import sys
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
import sdk
from support import Loopback, generations, named

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
CLAUDE = {"model": "claude-opus-4-6", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}


def only(trail: llmtrail.Client, loopback: Loopback) -> dict[str, Any]:
    trail.flush(10)
    (event,) = generations(loopback.events())
    properties: dict[str, Any] = event["properties"]
    assert "observer" not in trail.stats().notes
    return properties


@pytest.fixture
def client(trail: llmtrail.Client, loopback: Loopback) -> Any:
    client = sdk.client("openai", loopback.url)
    assert trail.wrap(client, provider="openai") is client
    yield client
    client.close()


@pytest.fixture
def claude(trail: llmtrail.Client, loopback: Loopback) -> Any:
    client = sdk.client("anthropic", loopback.url)
    assert trail.wrap(client, provider="anthropic") is client
    yield client
    client.close()


def test_plain(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    answer = client.chat.completions.create(**CHAT)
    properties = only(trail, loopback)
    assert type(answer).__name__ == "ChatCompletion"
    assert properties["$ai_output_choices"][0]["content"] == answer.choices[0].message.content
    assert properties["$ai_input_tokens"] == answer.usage.prompt_tokens
    assert properties["$ai_total_cost_usd"] > 0
    assert properties["$ai_latency"] > 0


def test_a_stream_gets_its_usage_and_the_caller_no_extra_chunk(
    client: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    properties = only(trail, loopback)
    assert properties["$ai_output_tokens"] > 0
    assert properties["$ai_time_to_first_token"] > 0
    assert "stream_options" not in properties["$ai_model_parameters"]


def test_usage_that_the_caller_asked_for_comes(
    client: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage is not None
    assert only(trail, loopback)["$ai_output_tokens"] == chunks[-1].usage.completion_tokens


def test_raw_responses(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    raw = client.chat.completions.with_raw_response.create(**CHAT)
    assert json.loads(raw.text if isinstance(raw.text, str) else raw.http_response.text)["choices"]
    assert raw.parse().choices
    assert only(trail, loopback)["$ai_output_tokens"] > 0


def test_streaming_responses(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    with client.chat.completions.with_streaming_response.create(**CHAT) as response:
        assert b"choices" in b"".join(response.iter_bytes())
    assert only(trail, loopback)["$ai_output_tokens"] > 0


def test_a_streaming_response_that_is_never_read(
    client: Any, trail: llmtrail.Client, loopback: Loopback
) -> None:
    with client.chat.completions.with_streaming_response.create(**CHAT, stream=True):
        pass
    assert only(trail, loopback)["$ai_stream_status"] == "abandoned"


def test_parse(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    chat = client.chat.completions
    parse = getattr(chat, "parse", None) or client.beta.chat.completions.parse
    assert parse(**CHAT).choices[0].message.content
    assert only(trail, loopback)["$ai_output_tokens"] > 0


def test_stream_helper(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    chat = client.chat.completions
    stream = getattr(chat, "stream", None) or client.beta.chat.completions.stream
    with stream(**CHAT) as events:
        text = events.get_final_completion().choices[0].message.content
    properties = only(trail, loopback)
    assert properties["$ai_output_choices"][0]["content"] == text
    assert properties["$ai_output_tokens"] > 0


def test_anthropic_stream_helper(claude: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    with claude.messages.stream(**CLAUDE) as stream:
        text = "".join(stream.text_stream)
    properties = only(trail, loopback)
    assert properties["$ai_output_choices"][0]["content"] == [{"type": "text", "text": text}]
    assert properties["$ai_stream_status"] == "complete"
    assert properties["$ai_provider"] == "anthropic"


def test_anthropic_raw_and_options(claude: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    raw = claude.with_options(timeout=30).messages.with_raw_response.create(**CLAUDE)
    assert raw.parse().content
    assert only(trail, loopback)["$ai_output_tokens"] > 0


def test_copies_by_with_options_are_observed(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    for copy in (client.with_options(timeout=30), client.copy(max_retries=1)):
        assert type(copy) is type(client)
        copy.chat.completions.create(**CHAT)
    trail.flush(10)
    assert len(generations(loopback.events())) == 2


def test_an_observed_twin_leaves_the_client_alone(trail: llmtrail.Client, loopback: Loopback) -> None:
    client = sdk.client("openai", loopback.url)
    twin = trail.wrap(client, provider="openai", copy=True)
    assert twin is not client
    assert type(twin) is type(client)
    client.chat.completions.create(**CHAT)
    twin.chat.completions.create(**CHAT)
    only(trail, loopback)
    del twin
    gc.collect()
    # The connections were shared, and dropping the twin did not close them.
    client.chat.completions.create(**CHAT)
    connections = {request["connection"] for request in loopback.providers()}
    assert len(connections) == 1
    client.close()


def test_azure(trail: llmtrail.Client, loopback: Loopback) -> None:
    client = openai.AzureOpenAI(
        api_key="k", api_version="2025-01-01", azure_endpoint=loopback.url, max_retries=0
    )
    trail.wrap(client, provider="azure")
    client.chat.completions.create(**CHAT)
    client.close()
    properties = only(trail, loopback)
    assert properties["$ai_provider"] == "azure"
    assert properties["$ai_request_url"].endswith("/openai/deployments/gpt-5-mini/chat/completions")


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_async_twins(kind: str, trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        client = sdk.client(kind, loopback.url, True)
        assert trail.wrap(client, provider=kind) is client
        create = client.chat.completions.create if kind == "openai" else client.messages.create
        ask = CHAT if kind == "openai" else CLAUDE
        async with trail.trace("plain"):
            await create(**ask)
        with trail.trace("stream"):
            async for _ in await create(**ask, stream=True):
                pass
        with trail.trace("stopped"):
            stream = await create(**ask, stream=True)
            async for _ in stream:
                break
            await stream.close()
        await client.close()

    asyncio.run(go())
    trail.flush(10)
    events = loopback.events()
    names = {
        event["properties"]["$ai_trace_id"]: event["properties"]["$ai_trace_name"]
        for event in named(events, "$ai_trace")
    }
    status = {
        names[event["properties"]["$ai_trace_id"]]: event["properties"].get("$ai_stream_status")
        for event in generations(events)
    }
    assert status.keys() == {"plain", "stream", "stopped"}
    assert (status["plain"], status["stream"]) == (None, "complete")
    # The whole answer may have been in the one piece that was read.
    assert status["stopped"] in ("abandoned", "complete")


def test_a_cancelled_task(trail: llmtrail.Client, loopback: Loopback) -> None:
    async def go() -> None:
        client = trail.wrap(sdk.client("openai", f"{loopback.url}/knobs/head-delay-ms=5000", True))
        task = asyncio.create_task(client.chat.completions.create(**CHAT))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.close()

    asyncio.run(go())
    properties = only(trail, loopback)
    assert "$ai_http_status" not in properties


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_retries_of_the_sdk_are_one_call(
    asynchronous: bool, trail: llmtrail.Client, loopback: Loopback
) -> None:
    base = f"{loopback.url}/knobs/status=503,times=2,retry-after-ms=20"

    async def go() -> None:
        client = trail.wrap(sdk.client("openai", base, True, max_retries=2), provider="openai")
        await client.chat.completions.create(**CHAT)
        await client.close()

    if asynchronous:
        asyncio.run(go())
    else:
        client = trail.wrap(sdk.client("openai", base, max_retries=2), provider="openai")
        client.chat.completions.create(**CHAT)
        client.close()
    properties = only(trail, loopback)
    assert properties["$ai_retries"] == 2
    assert properties["$ai_http_status"] == 200


def test_retries_that_all_fail(trail: llmtrail.Client, loopback: Loopback) -> None:
    base = f"{loopback.url}/knobs/status=529,retry-after-ms=20"
    client = trail.wrap(sdk.client("anthropic", base, max_retries=2), provider="anthropic")
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**CLAUDE, stream=True)
    client.close()
    properties = only(trail, loopback)
    assert properties["$ai_retries"] == 2
    assert properties["$ai_http_status"] == 529
    assert properties["$ai_is_error"] is True


def package_of(client: Any) -> Any:
    base = next(kind for kind in type(client._client).__mro__ if kind.__module__.startswith("httpx"))
    return importlib.import_module(base.__module__.partition(".")[0])


def test_a_users_own_http_client_still_does_the_work(trail: llmtrail.Client, loopback: Loopback) -> None:
    probe = sdk.client("openai", loopback.url)
    package = package_of(probe)
    probe.close()
    worked: list[str] = []

    class Transport(package.HTTPTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            worked.append("transport")
            return super().handle_request(request)

    http = package.Client(
        transport=Transport(),
        event_hooks={
            "request": [lambda _: worked.append("asked")],
            "response": [lambda _: worked.append("answered")],
        },
    )
    client = sdk.client("openai", loopback.url, http_client=http)
    trail.wrap(client)
    assert client._client is http
    assert type(http._transport) is Transport
    client.chat.completions.create(**CHAT)
    assert worked == ["asked", "transport", "answered"]
    client.close()
    only(trail, loopback)


def test_a_proxy_mount_still_does_the_work(trail: llmtrail.Client, loopback: Loopback) -> None:
    probe = sdk.client("openai", loopback.url)
    package = package_of(probe)
    probe.close()
    # Loopback serves as the proxy: it answers absolute addresses too.
    http = package.Client(mounts={"http://llm.example": package.HTTPTransport(proxy=loopback.url)})
    client = trail.wrap(sdk.client("openai", "http://llm.example", http_client=http), provider="openai")
    answered = True
    try:
        client.chat.completions.create(**CHAT)
    except openai.APIStatusError:
        answered = False
    client.close()
    properties = only(trail, loopback)
    assert properties["$ai_request_url"] == "http://llm.example/v1/chat/completions"
    assert properties.get("$ai_is_error", False) is not answered


def test_respx_style_patches_of_the_class_still_work(
    trail: llmtrail.Client, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = trail.wrap(sdk.client("openai", "https://api.openai.com"))
    package = package_of(client)
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-5-mini", "choices": []}
    monkeypatch.setattr(
        package.HTTPTransport, "handle_request", lambda self, request: package.Response(200, json=body)
    )
    assert client.chat.completions.create(**CHAT).choices == []
    client.close()
    assert only(trail, loopback)["$ai_provider"] == "openai"


def test_other_endpoints_are_left_alone(client: Any, trail: llmtrail.Client, loopback: Loopback) -> None:
    with pytest.raises(openai.APIStatusError):
        client.models.list()
    assert trail.flush(10).captured == 0


def test_the_costs_of_a_trace_are_known_at_once(client: Any, trail: llmtrail.Client) -> None:
    with trail.trace("answer") as trace:
        with trail.span("one") as span:
            client.chat.completions.create(**CHAT)
        one = span.cost_usd
        list(client.chat.completions.create(**CHAT, stream=True))
    assert one is not None
    assert trace.cost_usd is not None
    assert trace.cost_usd > one > 0
    assert trace.usage["output_text"] > span.usage["output_text"] > 0


def test_the_modules_functions_use_the_default_client(
    loopback: Loopback, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmtrail._client import _default

    monkeypatch.setattr(_default, "_clients", {})
    client = llmtrail.wrap(sdk.client("openai", loopback.url))
    llmtrail.init(api_key="phc_test", host=loopback.url, dir=tmp_path)  # after wrap: it counts all the same
    with llmtrail.session("s"), llmtrail.options(properties={"plan": "pro"}), llmtrail.trace("t") as trace:
        client.chat.completions.create(**CHAT)
    llmtrail.capture("done", "user", {"n": 1})
    assert llmtrail.flush(10).delivered == 3
    (event,) = generations(loopback.events())
    assert event["properties"]["plan"] == "pro"
    assert event["properties"]["$ai_session_id"] == "s"
    assert event["properties"]["$ai_trace_id"] == trace.trace_id
    assert llmtrail.stats().captured == 3
    assert llmtrail.shutdown(10).pending == 0
    client.close()


def test_both_http_packages_side_by_side(trail: llmtrail.Client, loopback: Loopback) -> None:
    count = 0
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name):
            with trail.wrap(importlib.import_module(name).Client(), provider="openai") as http:
                http.post(f"{loopback.url}/v1/chat/completions", json=CHAT).raise_for_status()
                count += 1
    trail.flush(10)
    assert len(generations(loopback.events())) == count
    assert "llmtrail._httpx" in sys.modules
