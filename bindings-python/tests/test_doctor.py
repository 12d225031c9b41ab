"""`doctor`: which SDKs there are, what is observed, where events go, whether the key is taken, what was dropped."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

import llmtrail
from support import Loopback

SECRET = "phc_a_very_secret_key"


def ask(client: Any, model: str = "gpt-5-mini") -> None:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])


def sdk(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(sdk for sdk in found["sdks"] if sdk["name"] == name)


def test_a_wrapped_client_and_its_calls_are_told(
    loopback: Loopback, trail: llmtrail.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    class Mine(OpenAI):
        """A class of this test alone: what is counted is of the whole process."""

    client = trail.wrap(Mine(base_url=f"{loopback.url}/v1", api_key="sk-test", max_retries=0))
    name = f"{Mine.__module__}.{Mine.__qualname__}"
    seen = {one["what"]: one for one in trail.doctor(show=False)["observed"]}
    assert seen[name] == {"what": name, "how": "wrapped", "calls": 0}
    ask(client)
    ask(client)
    trail.flush()
    found = trail.doctor()
    seen = {one["what"]: one["calls"] for one in found["observed"]}
    assert seen[name] == 2
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["delivery"] | {"last_success": ""} == {
        "captured": 2, "delivered": 2, "pending": 0, "dropped": {}, "notes": {}, "last_error": None, "last_success": "",
    }  # fmt: skip
    text = capsys.readouterr().out
    assert f"{name}: wrapped, 2 calls" in text
    assert "2 captured, 2 delivered" in text


def test_the_installed_sdks_are_told_with_what_was_tested(trail: llmtrail.Client) -> None:
    trail.wrap(OpenAI(api_key="sk-test"))
    found = sdk(trail.doctor(show=False), "openai")
    assert found["version"] == metadata.version("openai")
    assert found["observed"] == "wrapped"
    # Written by the end-to-end tests, which run with the newest and the oldest version.
    assert found["tested"] == "yes"
    assert found["tested_versions"]["oldest"] == "1.40.0"


def test_an_observed_process_is_told(loopback: Loopback, trail: llmtrail.Client) -> None:
    before = {one["what"] for one in trail.doctor(show=False)["observed"] if one["how"] == "instrumented"}
    assert before == set()
    trail.instrument()
    try:
        ask(OpenAI(base_url=f"{loopback.url}/v1", api_key="sk-test", max_retries=0))
        found = trail.doctor(show=False)
    finally:
        trail.uninstrument()
    seen = {one["what"]: one["calls"] for one in found["observed"] if one["how"] == "instrumented"}
    assert seen["httpx"] == 1 or seen.get("httpx2") == 1, seen
    assert sdk(found, "openai")["observed"] in ("instrumented", "wrapped")


def test_the_server_says_whether_it_takes_the_key(loopback: Loopback, tmp_path: Path) -> None:
    good = llmtrail.Client(api_key=SECRET, host=loopback.url, dir=tmp_path).doctor(show=False)
    assert good["ok"]
    assert good["places"][0]["accepts_key"] is True
    bad = llmtrail.Client(api_key="phc_no-such", host=loopback.url, dir=tmp_path).doctor(show=False)
    assert not bad["ok"]
    assert bad["places"][0]["accepts_key"] is False
    assert "Project API key invalid" in bad["problems"][0]
    # Asking is no event, and the key is shown by its first letters.
    assert loopback.events() == []
    assert good["places"][0]["key"] == "phc_a_..."
    assert SECRET not in json.dumps(good)


def test_a_server_that_is_silent_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    with httpx.Client() as _, _silent() as host:
        found = llmtrail.Client(api_key=SECRET, host=host, dir=tmp_path).doctor(show=False, timeout=0.3)
    assert found["places"][0]["accepts_key"] is None
    assert "no answer in time" in found["problems"][0]


class _silent:
    """A server that takes connections and never answers."""

    def __enter__(self) -> str:
        import socket

        self.socket = socket.create_server(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_what_was_dropped_is_a_problem(loopback: Loopback, trail: llmtrail.Client) -> None:
    trail.capture("order")
    trail.shutdown()
    trail.capture("order")
    found = trail.doctor(show=False)
    assert not found["ok"]
    assert found["delivery"]["dropped"] == {"shutdown": 1}
    assert "shutdown" in found["problems"][0]


def run(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    script = Path(sys.executable).with_name("llmtrail")
    return subprocess.run(
        [script, "doctor", *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_it_by_its_exit_code(loopback: Loopback, tmp_path: Path) -> None:
    ran = run("--json", POSTHOG_API_KEY=SECRET, POSTHOG_HOST=loopback.url)
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["ok"], found["language"], found["observed"]) == (0, True, "python", None)
    assert sdk(found, "openai")["version"] == metadata.version("openai")
    assert SECRET not in ran.stdout
    ran = run(POSTHOG_API_KEY="phc_no-such", POSTHOG_HOST=loopback.url)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "does not take the key phc_no" in ran.stdout
    # Without a key events go to the store.
    (tmp_path / "not-a-folder").write_text("x")
    ran = run(LLMTRAIL_DIR=str(tmp_path / "not-a-folder"))
    assert ran.returncode == 1
    assert "is not a folder" in ran.stdout
