"""What tests share: the loopback server, and clients that send there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/corpus"
RULES = json.loads((CORPUS / "normalise.json").read_text())


class Loopback:
    """The server that plays the providers and PostHog's ingestion, as a process of its own."""

    def __init__(self) -> None:
        program = Path(os.environ.get("LLMTRAIL_LOOPBACK", ROOT / "target/debug/loopback"))
        if not program.exists():
            build = ["cargo", "build", "-q", "-p", "llmtrail-tests", "--bin", "loopback"]
            subprocess.run(build, cwd=ROOT, check=True)
        self.process = subprocess.Popen(
            [str(program), "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line
        self.url = line.split()[-1]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def reset(self) -> None:
        self.ask("/_control", "DELETE")

    def case(self, name: str, knobs: str = "") -> str:
        """The address that plays a case, without the `v1` that OpenAI's SDK wants."""
        return f"{self.url}/{f'knobs/{knobs}/' if knobs else ''}case/{name}"

    def events(self) -> list[dict[str, Any]]:
        """Every event that the ingestion took, in order."""
        answer = self.ask("/_control/events")
        events = answer if isinstance(answer, list) else answer["events"]
        return [event.get("event") if isinstance(event.get("event"), dict) else event for event in events]

    def providers(self) -> list[dict[str, Any]]:
        answer = self.ask("/_control/providers")
        return answer if isinstance(answer, list) else answer["providers"]


def stored(folder: Path) -> list[dict[str, Any]]:
    """The events of a local store, as `llmtrail export` gives them."""
    command = [sys.executable, "-m", "llmtrail._cli", "export", "--format", "jsonl"]
    environment = {**os.environ, "LLMTRAIL_DIR": str(folder)}
    lines = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def first(found: list[T] | Callable[[], list[T]], within: float = 10.0) -> T:
    """The first of what another thread or process finds, waited for."""
    deadline = time.monotonic() + within
    look = found if callable(found) else lambda: found
    while not look() and time.monotonic() < deadline:
        time.sleep(0.01)
    return look()[0]


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def scopes(trail: Any, loopback: Loopback) -> dict[str, dict[str, Any]]:
    """The properties of the events of traces and spans that a client has sent, by name."""
    trail.flush(10)
    events = named(loopback.events(), "$ai_span") + named(loopback.events(), "$ai_trace")
    return {event["properties"]["$ai_span_name"]: event["properties"] for event in events}


def forest(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Events as trees of names, `{root: {child: {}}}`. A call's name is what it asks; every parent is there."""
    nodes: dict[tuple[str, str], dict[str, Any]] = {}
    placed = []
    for properties in (event["properties"] for event in events):
        trace = properties["$ai_trace_id"]
        name = properties.get("$ai_span_name") or properties["$ai_input"][0]["content"]
        own = nodes.setdefault((trace, properties.get("$ai_span_id", trace)), {})
        placed.append((trace, properties.get("$ai_parent_id"), name, own))
    roots: dict[str, Any] = {}
    for trace, parent, name, own in placed:
        around = roots if parent is None else nodes[trace, parent]
        assert name not in around, f"two are called {name}"
        around[name] = own
    return roots


def generations(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of provider calls: generations, embeddings, and spans that are a call (a rerank)."""
    calls = ("$ai_generation", "$ai_embedding")
    return [e for e in events if e["event"] in calls or "$ai_provider" in e["properties"]]


def cases(*formats: str) -> list[str]:
    """The names of the cases of the corpus, `format/case`, without those that nothing reads yet."""
    paths = CORPUS.glob("*/*/case.json")
    found = [path.parent for path in paths if not json.loads(path.read_bytes()).get("pending")]
    return sorted(
        f"{path.parent.name}/{path.name}" for path in found if not formats or path.parent.name in formats
    )


def read_case(name: str) -> dict[str, Any]:
    """A case's `case.json`, with `request` and `response` bytes and the `expected` event."""
    folder = CORPUS / name
    case: dict[str, Any] = json.loads((folder / "case.json").read_bytes())
    form = folder / "request.body"
    case["request"] = (form if form.exists() else folder / "request.json").read_bytes()
    bodies = [path for path in folder.iterdir() if path.name.startswith("response.")]
    case["response"] = bodies[0].read_bytes() if bodies else None
    case["expected"] = json.loads((folder / "expected.json").read_bytes())
    return case
