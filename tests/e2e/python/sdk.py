"""Calls through the real SDKs, sync and async, whichever generation is installed."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from typing import Any

import anthropic
import openai

from support import ROOT, Loopback, read_case

# Their time limits are the test's: these cases go silent.
TIMEOUT = 0.5


def client(sdk: str, base_url: str, asynchronous: bool = False, **options: Any) -> Any:
    """A client of an SDK for an address without the `v1`."""
    options = {"api_key": "sk-test-key", "max_retries": 0, "timeout": 20, **options}
    if sdk == "openai":
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        return kind(base_url=f"{base_url}/v1", **options)
    return (anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic)(base_url=base_url, **options)


def method(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


def _knows(call: dict[str, Any]) -> bool:
    unused = client(call["sdk"], "http://127.0.0.1:9")
    try:
        return callable(method(unused, call["call"]))
    except AttributeError:  # an older generation
        return False
    finally:
        unused.close()


DRIVEN = ("openai", "anthropic")
CALLS: list[dict[str, Any]] = [
    call
    for call in json.loads((ROOT / "tests/e2e/calls.json").read_text())
    if call["sdk"] in DRIVEN and _knows(call)
]


def arguments(call: dict[str, Any], function: Any) -> dict[str, Any]:
    """The case's request as keyword arguments; what this SDK does not know is extra body."""
    import inspect

    kwargs = json.loads(read_case(call["case"])["request"])
    known = inspect.signature(function).parameters
    extra = {key: kwargs.pop(key) for key in list(kwargs) if key not in known}
    return {**kwargs, **({"extra_body": extra} if extra else {})}


def make(loopback: Loopback, call: dict[str, Any], trail: Any = None) -> list[str]:
    """Makes one call as `tests/e2e/README.md` says, observed if there is a trail; what the caller saw."""
    case = read_case(call["case"])
    seen: list[str] = []
    recorded = (case["response"] or b"").count(b"data:") if case.get("end") == "abandoned" else None
    limit = TIMEOUT if case.get("end") == "timeout" else 20
    provider = case.get("provider") or call["sdk"]
    sdk = client(call["sdk"], loopback.case(call["case"]), timeout=limit)
    scope: Any = nullcontext()
    if trail is not None:
        assert trail.wrap(sdk, provider=provider) is sdk
        scope = trail.trace("e2e", properties={"case": call["name"]}, distinct_id="e2e")
    function = method(sdk, call["call"])
    with scope:
        try:
            answer = function(**arguments(call, function))
            if not hasattr(answer, "response"):
                seen.append(show(answer))
            else:
                for item in answer:
                    seen.append(show(item))
                    if len(seen) == recorded:
                        break
                answer.close()
        except Exception as error:
            seen.append(f"{type(error).__qualname__}: {error}")
            # Errors hold their response; a stream that broke is closed by whoever reads it.
            with suppress(Exception):
                error.response.close()  # type: ignore[attr-defined]
    sdk.close()
    return seen


def show(item: Any) -> str:
    return item if isinstance(item, str) else str(item.model_dump_json(warnings=False))
