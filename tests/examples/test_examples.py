"""The examples as they stand, each as a process of its own: one scope for each request, and the tree from the store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings-python/tests"))

from support import Loopback  # noqa: E402

EXAMPLES = ROOT / "examples"
LLMTRAIL = ROOT / "target/debug/llmtrail"
AXUM = ROOT / "target/debug/examples/axum_app"
PLAIN = {"plain.py": [sys.executable, "plain.py"], "plain.mjs": ["node", "plain.mjs"]}
SERVERS = {
    "fastapi_app.py": [sys.executable, "fastapi_app.py"],
    "flask_app.py": [sys.executable, "flask_app.py"],
    "express_app.mjs": ["node", "express_app.mjs"],
    "next/route.ts": [
        "node",
        str(ROOT / "tests/examples/next_server.mjs"),
        str(EXAMPLES / ".built/next/route.js"),
    ],
    "axum_app.rs": [str(AXUM)],
}
REQUESTS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


def environment(server: Loopback, store: Path) -> dict[str, str]:
    hidden = ("POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY", "POSTHOG_HOST")
    return {
        **{name: value for name, value in os.environ.items() if name not in hidden},
        "OPENAI_BASE_URL": server.url + "/v1",
        "OPENAI_API_KEY": "sk-test",
        "LLMTRAIL_DIR": str(store),
        "LLMTRAIL_FLUSH_INTERVAL": "0.2",
    }


def events(store: Path) -> list[dict[str, Any]]:
    command = [str(LLMTRAIL), "export", "--format", "jsonl", "--dir", str(store)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [json.loads(line) for line in out.stdout.splitlines()]


def check(found: list[dict[str, Any]], people: dict[str, str]) -> None:
    """For each person one trace in the session: a search and a call in it, and nothing else."""
    traces: dict[str, list[dict[str, Any]]] = {}
    for event in found:
        traces.setdefault(event["properties"]["$ai_trace_id"], []).append(event)
    assert len(traces) == len(people)
    assert sorted(of[0]["distinct_id"] for of in traces.values()) == sorted(people)
    for trace_id, of in traces.items():
        assert {event["distinct_id"] for event in of} == {of[0]["distinct_id"]}
        assert {e["properties"]["$ai_session_id"] for e in of} == {people[of[0]["distinct_id"]]}
        by_kind = {event["event"]: event["properties"] for event in of}
        assert sorted(event["event"] for event in of) == ["$ai_generation", "$ai_span", "$ai_trace"]
        assert by_kind["$ai_trace"]["$ai_span_name"] == "ask"
        assert (by_kind["$ai_span"]["$ai_span_name"], by_kind["$ai_span"]["$ai_span_type"]) == (
            "search",
            "retrieval",
        )
        call = by_kind["$ai_generation"]
        assert call["$ai_stream_status"] == "complete"
        for kind in ("$ai_span", "$ai_generation"):
            assert by_kind[kind]["$ai_parent_id"] == trace_id


@pytest.mark.parametrize("example", PLAIN)
def test_a_script(example: str, server: Loopback, tmp_path: Path) -> None:
    done = subprocess.run(
        PLAIN[example],
        cwd=EXAMPLES,
        env=environment(server, tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "calls" in done.stdout
    check(events(tmp_path), {"user-1": "chat-1"})


def test_the_demo_opens_its_events_in_a_browser(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    for name in ("xdg-open", "open"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
        program.chmod(0o755)
    keys = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY")
    env = {name: value for name, value in os.environ.items() if name not in keys}
    env |= {"VIEW": "1", "LLMTRAIL_DIR": str(tmp_path / "store")}
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    said = tmp_path / "said"
    with said.open("w") as out:
        demo = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "demo.py")],
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        for _ in range(1200):
            if opened.exists() or demo.poll() is not None:
                break
            time.sleep(0.1)
        assert opened.exists(), said.read_text()
        address = opened.read_text().strip()
        assert address in said.read_text()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(address, timeout=30) as answer:
            assert "<h1>Overview" in answer.read().decode()
        with browser.open(address.partition("?")[0] + "health?range=all", timeout=30) as answer:
            page = answer.read().decode()
        for language in ("python", "node"):
            assert f">{language}<" in page
    finally:
        # As Ctrl-C in a terminal.
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(30) == 0
    assert "Traceback" not in said.read_text()


@contextmanager
def running(example: str, server: Loopback, store: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        SERVERS[example], cwd=EXAMPLES, env={**environment(server, store), "PORT": port}
    )
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/ask"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("example", SERVERS)
def test_a_server(example: str, server: Loopback, tmp_path: Path) -> None:
    people = {f"user-{n}": f"chat-{n % 5}" for n in range(REQUESTS)}

    def ask(user: str) -> str:
        body = json.dumps({"text": f"Where is the order of {user}?", "chat": people[user]}).encode()
        request = urllib.request.Request(url, data=body, method="POST")
        request.add_header("content-type", "application/json")
        request.add_header("user", user)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    with running(example, server, tmp_path) as url:
        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(ask, people))
        for _ in range(200):
            found = events(tmp_path)
            if len(found) >= 3 * REQUESTS:
                break
            time.sleep(0.1)
    check(events(tmp_path), people)
