"""Calls through the real SDKs, sync and async, whichever generation is installed."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import anthropic
import openai
from drivers import DRIVERS, has, play, reach

from support import ROOT, Loopback, read_case


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


@cache
def _knows(sdk: str, method: str, case: str) -> bool:
    driver = DRIVERS[sdk]
    if not has(driver.package):
        return False
    unused = driver.client("http://127.0.0.1:9", 1, False, read_case(case))
    return callable(reach(driver, unused, method))


def _any_case(sdk: str, method: str) -> str:
    return next(call["case"] for call in LISTED if (call["sdk"], call["call"]) == (sdk, method))


LISTED: list[dict[str, Any]] = [
    call
    for call in json.loads((ROOT / "tests/e2e/calls.json").read_text())
    if call.get("only", "python") == "python"
]


CALLS: list[dict[str, Any]] = [
    call for call in LISTED if _knows(call["sdk"], call["call"], _any_case(call["sdk"], call["call"]))
]


def make(loopback: Loopback, call: dict[str, Any], trail: Any = None) -> list[str]:
    """Makes one call as `tests/e2e/README.md` says, observed if there is a trail; what the caller saw."""
    return play(DRIVERS[call["sdk"]], loopback.case(call["case"]), call, trail)
