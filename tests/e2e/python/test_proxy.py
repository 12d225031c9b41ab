"""LiteLLM's proxy plays the providers: a witness of the wire that is not ours."""

import asyncio
import os
import secrets
import socket
import string
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from proof import cover

import llmtrail
from support import ROOT, Loopback, generations

PROXY = os.environ.get("LITELLM_PROXY", "")
if not PROXY or not hasattr(openai.OpenAI, "responses"):
    pytest.skip(
        "needs LITELLM_PROXY, LiteLLM's program, and a client with Responses", allow_module_level=True
    )

ANSWER = "Your order is on its way."
QUESTION = "Where is my order?"
MESSAGES = [{"role": "user", "content": QUESTION}]
KEY = f"sk-{secrets.token_hex(24)}"
CONFIG = string.Template((ROOT / "tests/e2e/proxy.yaml").read_text())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("proxy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (folder / "config.yaml").write_text(CONFIG.substitute(ANSWER=ANSWER, KEY=KEY, URL=url))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROXY, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**kept, **quiet},
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + 120
        while not _alive(url):
            told = Path(folder / "log").read_text()[-2000:]
            assert process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/liveliness", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


class Asked:
    """The event of a call, and what its caller was told of tokens."""

    def __init__(self, trail: llmtrail.Client, loopback: Loopback) -> None:
        assert trail.flush(10).pending == 0
        assert "observer" not in trail.stats().notes
        (event,) = generations(loopback.events())
        self.name = event["event"]
        self.properties: dict[str, Any] = event["properties"]

    def check(self, of_input: int, of_output: int | None, streamed: bool, model: str) -> None:
        got = self.properties
        assert QUESTION in str(got["$ai_input"])
        assert got["$ai_model"] == model
        assert got["$ai_http_status"] == 200
        assert got["$ai_latency"] > 0
        assert got["$ai_input_tokens"] == of_input > 0
        assert "$ai_usage_inconsistent" not in got
        if of_output is None:
            return
        (choice,) = got["$ai_output_choices"]
        assert (choice["role"], text_of(choice["content"])) == ("assistant", ANSWER)
        assert got["$ai_output_tokens"] == of_output > 0
        assert got["$ai_stream"] is streamed
        assert got.get("$ai_stream_status") == ("complete" if streamed else None)
        assert got["$ai_total_cost_usd"] > 0


BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])


@pytest.fixture
def client(proxy: str, trail: llmtrail.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy}/v1", api_key=KEY, max_retries=0) as client:
        yield trail.wrap(client, provider="openai")


def proven(sdk: Any, call: str, streamed: bool) -> None:
    checks = {"recorded": "ok", "tokens": "ok"}
    if "embeddings" not in call:
        checks["cost"] = "ok"
    if streamed:
        checks["stream"] = "ok"
    name = f"{call}{', stream' if streamed else ''}, from LiteLLM's proxy"
    cover({"sdk": sdk.__name__, "version": sdk.__version__}, name, checks)


@BOTH
def test_chat(streamed: bool, client: openai.OpenAI, trail: llmtrail.Client, loopback: Loopback) -> None:
    asked: dict[str, Any] = {"model": "gpt-5-mini", "messages": MESSAGES}
    if streamed:
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options=options))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        usage = chunks[-1].usage
    else:
        answer = client.chat.completions.create(**asked)
        text, usage = answer.choices[0].message.content, answer.usage
    assert text == ANSWER
    Asked(trail, loopback).check(usage.prompt_tokens, usage.completion_tokens, streamed, "gpt-5-mini")
    proven(openai, "chat.completions.create", streamed)


def test_usage_is_asked_for_and_hidden(
    client: openai.OpenAI, trail: llmtrail.Client, loopback: Loopback
) -> None:
    chunks = list(client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    got = Asked(trail, loopback).properties
    assert got["$ai_output_tokens"] > 0
    assert got["$ai_stream_status"] == "complete"


@BOTH
def test_responses(streamed: bool, client: openai.OpenAI, trail: llmtrail.Client, loopback: Loopback) -> None:
    answer: Any = client.responses.create(model="gpt-5", input=QUESTION, stream=streamed)
    if streamed:
        answer = list(answer)[-1].response
    assert answer.output_text == ANSWER
    usage = answer.usage
    asked = Asked(trail, loopback)
    asked.check(usage.input_tokens, usage.output_tokens, streamed, answer.model)
    assert asked.properties["$ai_response_id"] == answer.id
    proven(openai, "responses.create", streamed)


def test_embeddings(client: openai.OpenAI, trail: llmtrail.Client, loopback: Loopback) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
    assert answer.data[0].embedding == [0.25, -0.5]
    asked = Asked(trail, loopback)
    assert asked.name == "$ai_embedding"
    asked.check(answer.usage.prompt_tokens, None, False, "text-embedding-3-small")
    proven(openai, "embeddings.create", False)


@BOTH
def test_messages(streamed: bool, proxy: str, trail: llmtrail.Client, loopback: Loopback) -> None:
    ask: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": MESSAGES}

    async def go() -> Any:
        async with anthropic.AsyncAnthropic(base_url=proxy, api_key=KEY, max_retries=0) as client:
            trail.wrap(client, provider="anthropic")
            if not streamed:
                return await client.messages.create(**ask)
            async with client.messages.stream(**ask) as stream:
                return await stream.get_final_message()

    message = asyncio.run(go())
    assert message.content[0].text == ANSWER
    usage = message.usage
    asked = Asked(trail, loopback)
    asked.check(usage.input_tokens, usage.output_tokens, streamed, "claude-sonnet-4-5")
    proven(anthropic, "messages.create, async", streamed)


def test_an_error(client: openai.OpenAI, trail: llmtrail.Client, loopback: Loopback) -> None:
    with pytest.raises(openai.APIStatusError) as error:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    got = Asked(trail, loopback).properties
    assert (got["$ai_is_error"], got["$ai_http_status"]) == (True, error.value.status_code)
    assert "no-such-model" in got["$ai_error"]
