"""What each SDK that is installed is proven to give, wrapped and with the whole process observed, sync and async.

A test is a row of the table of what is covered (`tests/e2e/coverage.py`).
"""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import drivers
import pytest
from proof import cost, cover

import llmtrail
from support import Loopback, generations, read_case

# Some SDKs leave the connection of a stream that broke or was left to the collector, with or without us.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# The call, the call that streams, and the cases that show them: plain, stream, tool call, error.
Scenario = tuple[str, str | None, str, str | None, str | None, str]
SCENARIOS: dict[str, list[Scenario]] = {
    "openai": [
        (
            "chat.completions.create", "chat.completions.create", "openai_chat/plain",
            "openai_chat/stream_observer_asked_usage", "openai_chat/tool_calls_parallel", "openai_chat/error_429",
        ),
        (
            "responses.create", "responses.create", "openai_responses/plain_text",
            "openai_responses/stream_complete", "openai_responses/function_calls_two", "openai_responses/error_429",
        ),
        (
            "embeddings.create", None, "openai_embeddings/list_of_strings", None, None,
            "openai_embeddings/error_429",
        ),
    ],
    "anthropic": [
        (
            "messages.create", "messages.create", "anthropic_messages/plain_text",
            "anthropic_messages/stream_text", "anthropic_messages/two_tool_uses", "anthropic_messages/error_429",
        ),
    ],
    "anthropic-bedrock": [
        (
            "messages.create", "messages.create", "bedrock_invoke/plain", "bedrock_invoke/stream_text",
            "bedrock_invoke/stream_tool_use", "bedrock_invoke/error_403_stream",
        ),
    ],
    "anthropic-vertex": [
        (
            "messages.create", "messages.create", "vertex_anthropic/raw_predict",
            "vertex_anthropic/stream_raw_predict", None, "vertex_anthropic/error_429_google",
        ),
    ],
    "google": [
        (
            "models.generate_content", "models.generate_content_stream", "gemini_generate/plain",
            "gemini_generate/stream_text", "gemini_generate/function_calls", "gemini_generate/error_429",
        ),
        ("models.embed_content", None, "gemini_embed/batch", None, None, "gemini_embed/error_400"),
    ],
    "mistral": [
        (
            "chat.complete", "chat.stream", "openai_chat/mistral_thinking",
            "openai_chat/mistral_thinking_stream", None, "openai_chat/mistral_error_422",
        ),
        (
            "fim.complete", "fim.stream", "openai_completions/mistral_fim",
            "openai_completions/mistral_fim_stream", None, "openai_completions/error_404",
        ),
    ],
    "groq": [
        (
            "chat.completions.create", "chat.completions.create", "openai_chat/plain",
            "openai_chat/stream_observer_asked_usage", "openai_chat/tool_calls_parallel", "openai_chat/error_429",
        ),
    ],
    "together": [
        (
            "chat.completions.create", "chat.completions.create", "openai_chat/plain",
            "openai_chat/stream_observer_asked_usage", "openai_chat/tool_calls_parallel", "openai_chat/error_429",
        ),
    ],
    "cohere": [
        (
            "chat", "chat_stream", "cohere_chat/plain", "cohere_chat/stream_text", "cohere_chat/tool_plan",
            "cohere_chat/error_404",
        ),
        ("embed", None, "cohere_embed/texts", None, None, "cohere_embed/error_400"),
        ("rerank", None, "cohere_rerank/plain", None, None, "cohere_rerank/error_400"),
    ],
    "ollama": [
        (
            "chat", "chat", "ollama_chat/plain", "ollama_chat/stream_text", "ollama_chat/tool_calls",
            "ollama_chat/error_404_model",
        ),
        ("embed", None, "ollama_embed/plain", None, None, "ollama_embed/error_404_model"),
    ],
    "bedrock": [
        (
            "converse", "converse_stream", "bedrock_converse/plain", "bedrock_converse/stream_text",
            "bedrock_converse/stream_tool_use", "bedrock_converse/error_429_throttling",
        ),
        (
            "invoke_model", "invoke_model_with_response_stream", "bedrock_invoke/plain",
            "bedrock_invoke/stream_text", "bedrock_invoke/stream_tool_use", "bedrock_invoke/error_model_arn",
        ),
    ],
}  # fmt: skip
TOKENS = (
    "$ai_input_tokens",
    "$ai_output_tokens",
    "$ai_cache_read_input_tokens",
    "$ai_reasoning_tokens",
)
ERROR = ("$ai_http_status", "$ai_error_type", "$ai_error")


def installed(sdk: str, asynchronous: bool) -> bool:
    driver = drivers.DRIVERS[sdk]
    package = "aioboto3" if sdk == "bedrock" and asynchronous else driver.package
    return drivers.has(package) and drivers.has(driver.distribution.replace("google-genai", "google.genai"))


ROWS = [
    pytest.param(
        sdk,
        scenario,
        asynchronous,
        way,
        id=f"{sdk}-{scenario[0]}-{'async' if asynchronous else 'sync'}-{way}",
    )
    for sdk, scenarios in SCENARIOS.items()
    for scenario in scenarios
    for asynchronous in (False, True)
    for way in ("wrap", "instrument")
    if installed(sdk, asynchronous)
]


# By kind: the method, the case, knobs, and after how many items the caller leaves.
Calls = dict[str, tuple[str, str, str, int | None]]


def calls_of(sdk: str, scenario: Scenario) -> Calls:
    """What is called in a scenario."""
    call, streamed, plain, stream, tool, error = scenario

    def method(case: str) -> str:
        asks = "stream" in read_case(case)["url"].rpartition("/")[2].lower()
        request = read_case(case)["request"].replace(b" ", b"")
        return (streamed if asks or b'"stream":true' in request else None) or call

    kinds: Calls = {
        "plain": (call, plain, "", None),
        "error": (method(error), error, "", None),
    }
    if tool:
        kinds["tool"] = (method(tool), tool, "", None)
    if stream and streamed:
        # botocore undoes no content encoding, and AWS uses none.
        kinds["stream"] = (streamed, stream, f"delay-ms=2{'' if sdk == 'bedrock' else ',gzip=1'}", None)
        kinds["left"] = (streamed, stream, "delay-ms=40", 1)
        kinds["cut"] = (streamed, stream, "delay-ms=2,cut=2", None)
    if not drivers.DRIVERS[sdk].no_retries:
        kinds["retried"] = (call, plain, "status=503,times=1,retry-after-ms=5", None)
    return kinds


# What the caller gets is compared in these, with us and without; the server in those before any stream.
COMPARED = ("plain", "error", "tool", "stream", "cut")


class Application:
    """Makes the calls of a scenario, each with a client of its own."""

    def __init__(self, sdk: str, asynchronous: bool, loopback: Loopback) -> None:
        self.driver = drivers.DRIVERS[sdk]
        self.asynchronous = asynchronous
        self.loopback = loopback

    def run(self, calls: Calls, observe: Any, scope: Any) -> dict[str, list[str]]:
        """What the caller got, by kind. `observe` is given each client, `scope` is entered around each call."""
        seen: dict[str, list[str]] = {}

        def case_of(kind: str, name: str) -> dict[str, Any]:
            return {**read_case(name), "retries": int(kind == "retried")}

        async def go() -> None:
            for kind, (method, name, knobs, most) in calls.items():
                case = case_of(kind, name)
                async with self.driver.aopened(self.loopback.case(name, knobs), 20, case) as client:
                    observe(client)
                    with scope(kind):
                        call = {"call": method, "case": name}
                        seen[kind] = await drivers.amake(self.driver, client, call, case, most)

        if self.asynchronous:
            asyncio.run(go())
            return seen
        for kind, (method, name, knobs, most) in calls.items():
            case = case_of(kind, name)
            with self.driver.opened(self.loopback.case(name, knobs), 20, case) as client:
                observe(client)
                with scope(kind):
                    call = {"call": method, "case": name}
                    seen[kind] = drivers.make(self.driver, client, call, case, most)
        return seen

    def wire(self, calls: Calls) -> list[dict[str, Any]]:
        """What the server got of the calls that no usage is asked for in, which come first."""
        count = sum(kind in ("plain", "error", "tool") for kind in calls)
        kept = ("path", "sha256", "header_names")
        return [{name: request[name] for name in kept} for request in self.loopback.providers()[:count]]


@pytest.mark.parametrize(("sdk", "scenario", "asynchronous", "way"), ROWS)
def test_row(
    sdk: str, scenario: Scenario, asynchronous: bool, way: str, loopback: Loopback, tmp_path: Path
) -> None:
    driver = drivers.DRIVERS[sdk]
    unused = driver.client("http://127.0.0.1:9", 1, False, read_case(scenario[2]))
    if not callable(drivers.reach(driver, unused, scenario[0])):
        pytest.skip("this generation has no such call")
    trail = llmtrail.Client(
        api_key="phc_test",
        host=loopback.url,
        dir=tmp_path,
        flush_interval=60,
        hosts={loopback.url.partition("//")[2]: driver.provider} if way == "instrument" else {},
    )
    kinds = calls_of(sdk, scenario)
    application = Application(sdk, asynchronous, loopback)
    compared = {kind: call for kind, call in kinds.items() if kind in COMPARED}
    alone = application.run(compared, lambda client: None, lambda kind: nullcontext())
    wire = application.wire(kinds)
    loopback.reset()
    traces: dict[str, str | None] = {}

    @contextmanager
    def scope(kind: str) -> Iterator[None]:
        whose = {"distinct_id": "user-1", "session_id": "chat-1", "properties": {"kind": kind}}
        with trail.trace("matrix", **whose) as trace:
            traces[kind] = trace.trace_id
            yield

    def observe(client: Any) -> None:
        # A client that was there before the process was observed: the hardest to see.
        if way == "instrument":
            trail.instrument()
        else:
            assert trail.wrap(client, provider=driver.provider) is client

    try:
        seen = application.run(kinds, observe, scope)
    finally:
        trail.uninstrument()
    gc.collect()  # some SDKs leave a stream that was left early to be collected
    assert trail.shutdown(20).pending == 0
    assert "observer" not in trail.stats().notes
    found = generations(loopback.events())
    assert sorted(event["properties"]["kind"] for event in found) == sorted(kinds), seen
    events = {event["properties"]["kind"]: event for event in found}
    for kind, event in events.items():
        properties = event["properties"]
        assert properties["$ai_trace_id"] == traces[kind]
        assert (event["distinct_id"], properties["$ai_session_id"]) == ("user-1", "chat-1")
    checks = {"recorded": "ok", "scope": "ok"}

    def expected(kind: str) -> dict[str, Any]:
        properties: dict[str, Any] = read_case(kinds[kind][1])["expected"]["properties"]
        return properties

    for kind in ("plain", "tool", "stream"):
        if kind in events:
            got, want = events[kind]["properties"], expected(kind)
            assert got.get("$ai_output_choices") == want.get("$ai_output_choices"), kind
            assert [got.get(name) for name in TOKENS] == [want.get(name) for name in TOKENS], kind
    checks["tokens"] = (
        "ok" if any(name in expected("plain") for name in TOKENS) else "n/a: the provider reports none"
    )
    checks["cost"] = cost(events["plain"]["properties"], read_case(scenario[2]))
    got, want = events["error"]["properties"], expected("error")
    assert [got.get(name) for name in ERROR] == [want.get(name) for name in ERROR]
    checks["errors"] = "ok"
    checks["tool_calls"] = "ok" if "tool" in events else "n/a: the corpus has none for this call"
    if "tool" in events:
        assert calls_a_tool(events["tool"]["properties"]["$ai_output_choices"])
    for kind, column, status in (
        ("stream", "stream", "complete"),
        ("left", "stream_left", "abandoned"),
        ("cut", "stream_cut", "error"),
    ):
        if kind in events:
            assert events[kind]["properties"]["$ai_stream_status"] == status, kind
        checks[column] = "ok" if kind in events else "n/a: it has no stream"
    checks["retries"] = driver.no_retries or "ok"
    if "retried" in events:
        retried = events["retried"]["properties"]
        assert (retried["$ai_retries"], retried["$ai_http_status"]) == (1, 200)
        assert seen["retried"] == alone["plain"]
    # The server gets the same bytes and the caller the same items, and the same error where the stream breaks.
    assert len(wire) > 1
    assert application.wire(kinds) == wire
    checks["wire"] = "ok"
    for kind, items in alone.items():
        assert seen[kind] == items, kind
    checks["caller"] = "ok"
    call = (
        scenario[0] + (", async" if asynchronous else "") + (", instrument()" if way == "instrument" else "")
    )
    cover(named(sdk, asynchronous), call, checks)


def calls_a_tool(choices: list[dict[str, Any]]) -> bool:
    parts = [part for choice in choices if isinstance(choice["content"], list) for part in choice["content"]]
    return any(part["type"] == "function" for part in parts)


def named(sdk: str, asynchronous: bool) -> dict[str, str]:
    """An SDK's name and version in the table."""
    name = "aioboto3" if sdk == "bedrock" and asynchronous else drivers.DRIVERS[sdk].distribution
    sibling = f" ({sdk.partition('-')[2].capitalize()})" if sdk.startswith("anthropic-") else ""
    return {"sdk": name + sibling, "version": version(name)}
