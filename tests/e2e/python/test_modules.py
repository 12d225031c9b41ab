"""A module that sends by a client of its own is wrapped like one: ollama's, which reads its address when imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers import has

from support import Loopback, generations

PROGRAM = """
import llmtrail, ollama
trail = llmtrail.Client(api_key="phc_test", host={host!r}, dir={folder!r}, flush_interval=60)
assert trail.wrap(ollama, provider="ollama") is ollama
with trail.trace("t", distinct_id="user-1"):
    answer = ollama.chat(model="llama3.2:1b", messages=[{{"role": "user", "content": "hello"}}])
print(answer["message"]["content"])
trail.flush(10)
"""


@pytest.mark.skipif(not has("ollama"), reason="not installed")
def test_ollama(loopback: Loopback, tmp_path: Path) -> None:
    program = PROGRAM.format(host=loopback.url, folder=str(tmp_path))
    address = {"OLLAMA_HOST": loopback.case("ollama_chat/plain")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **address},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (event,) = generations(loopback.events())
    properties = event["properties"]
    assert event["distinct_id"] == "user-1"
    assert properties["$ai_provider"] == "ollama"
    assert properties["$ai_output_choices"][0]["content"] == done.stdout.strip()
    assert len(loopback.providers()) == 1
