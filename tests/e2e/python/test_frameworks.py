"""What stands on top of SDKs: one event for each call that reaches a provider, in the scope of the caller.

A test is a row of the table of what is covered.
"""

import asyncio
import gc
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import drivers
import pytest
from frameworks import FRAMEWORKS, GEMINI, MODELS, QUESTION, Framework
from proof import cost, cover

import llmtrail
from support import Loopback, generations, read_case

# Their own, and what they leave open; LangChain keeps one HTTP client for all models with the same address.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = [
    pytest.param(
        framework,
        asynchronous,
        way,
        id=f"{framework.distribution}-{framework.call}-{'async' if asynchronous else 'sync'}-{way}",
    )
    for framework in FRAMEWORKS
    if drivers.has(framework.package)
    for asynchronous in (False, True)
    if (framework.asynchronous if asynchronous else framework.sync)
    for way in framework.ways
]


@pytest.mark.parametrize(("framework", "asynchronous", "way"), ROWS)
def test_framework(
    framework: Framework,
    asynchronous: bool,
    way: str,
    loopback: Loopback,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    provider = framework.provider
    hosts = {loopback.url.partition("//")[2]: provider} if way == "instrument" else {}
    trail = llmtrail.Client(
        api_key="phc_test", host=loopback.url, dir=tmp_path, flush_interval=60, hosts=hosts
    )
    embeds = "mbed" in framework.call
    asks: Any = framework.asynchronous if asynchronous else framework.sync
    # An address of its own for each test: LangChain keeps its HTTP clients by address.
    row = f"{loopback.url}/knobs/retry-after-ms={1 + request.session.items.index(request.node)}"
    traces: dict[str, str | None] = {}
    gave: dict[str, Any] = {}

    def observed(kind: str) -> Any:
        base, model = row, "text-embedding-3-small" if embeds else MODELS.get(provider, "")
        if not model:
            base, model = loopback.case(GEMINI[kind]), drivers.model_of(read_case(GEMINI[kind]))
        elif kind == "error":
            base += ",status=429,times=99"
        made = framework.make(base, model)
        if way == "instrument":
            trail.instrument()
            return made
        for each in made[:2] if isinstance(made, tuple) else (made,):
            assert trail.wrap(each, provider=provider) is each
        return made

    def scope(kind: str) -> Any:
        return trail.trace("row", distinct_id="user-1", session_id="chat-1", properties={"kind": kind})

    async def go() -> None:
        for kind in (*asks, "error"):
            model = observed(kind)
            async with scope(kind) as trace:
                traces[kind] = trace.trace_id
                if kind != "error":
                    gave[kind] = await asks[kind](model)
                    continue
                with pytest.raises(Exception, match=r"(?i)429|rate limit|exhausted|retr"):
                    await asks["plain"](model)

    try:
        if asynchronous:
            asyncio.run(go())
        else:
            for kind in (*asks, "error"):
                model = observed(kind)
                with scope(kind) as trace:
                    traces[kind] = trace.trace_id
                    if kind != "error":
                        gave[kind] = asks[kind](model)
                        continue
                    with pytest.raises(Exception, match=r"(?i)429|rate limit|exhausted|retr"):
                        asks["plain"](model)
    finally:
        trail.uninstrument()
    gc.collect()  # some leave the response of a stream to be collected
    assert trail.shutdown(20).pending == 0
    assert "observer" not in trail.stats().notes
    events = generations(loopback.events())
    # Attempts of the SDK's own are of the event that says how many.
    attempts = [1 + event["properties"].get("$ai_retries", 0) for event in events]
    assert sum(attempts) == len(loopback.providers())
    kinds: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        properties = event["properties"]
        kinds.setdefault(properties["kind"], []).append(properties)
        assert properties["$ai_trace_id"] == traces[properties["kind"]]
        assert (event["distinct_id"], properties["$ai_session_id"]) == ("user-1", "chat-1")
        assert properties["$ai_provider"] == provider
        if properties["kind"] != "error":
            assert "$ai_is_error" not in properties
            assert properties["$ai_input_tokens"] > 0
    assert set(kinds) == {*asks, "error"}
    assert all(gave.values())
    checks = {"recorded": "ok", "scope": "ok", "tokens": "ok"}
    # An agent asks again with the tool's result; else each thing that is asked is one call.
    assert {kind: len(calls) for kind, calls in kinds.items() if kind != "tool"} == dict.fromkeys(
        kinds.keys() - {"tool"}, 1
    )
    plain = kinds["plain"][0]
    assert QUESTION in json.dumps(plain["$ai_input"])
    case = read_case(GEMINI["plain"]) if provider == "google-ai-studio" else {}
    checks["cost"] = cost(plain, case)
    error = kinds["error"][0]
    assert (error["$ai_is_error"], error["$ai_http_status"]) == (True, 429)
    checks["errors"] = "ok"
    if "tool" in asks:
        assert "weather" in gave["tool"]
        called = json.dumps(kinds["tool"][0]["$ai_output_choices"])
        assert '"weather"' in called or '"get_weather"' in called
    checks["tool_calls"] = "ok" if "tool" in asks else _NO_TOOL[embeds]
    if "stream" in asks:
        streamed = kinds["stream"][0]
        assert (streamed["$ai_stream"], streamed["$ai_stream_status"]) == (True, "complete")
        assert streamed["$ai_output_tokens"] > 0
    checks["stream"] = "ok" if "stream" in asks else "n/a: it has no stream"
    cover(
        {"sdk": framework.distribution, "version": version(framework.distribution)},
        framework.call
        + (", async" if asynchronous else "")
        + (", instrument()" if way == "instrument" else ", wrap"),
        checks,
    )


_NO_TOOL = {
    True: "n/a: the corpus has none for this call",
    False: "n/a: played from cases, which answer once",
}
