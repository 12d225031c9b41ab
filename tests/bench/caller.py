"""Extra time per call on the caller's thread, in Python: llmtrail and posthog.ai against the bare SDK.

The provider is a transport inside the process that answers at once, so that what is left is the SDK, the observer and
nothing else. The three take turns within each round (A/B/C, the order rotated); a figure is the median over rounds of
(observed call - bare call of the same round). Both observers deliver to the loopback server. Prints JSON lines.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("ROUNDS", "300"))
WARM_UP = 40

USAGE = {"prompt_tokens": 20, "completion_tokens": 200, "total_tokens": 220}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5-mini-2025-08-07", "system_fingerprint": "fp_1"}


def plain_body() -> bytes:
    message = {"role": "assistant", "content": "word " * 200, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def stream_body(asked: bool) -> list[bytes]:
    head = {**HEAD, "object": "chat.completion.chunk"}
    null = {"usage": None} if asked else {}
    deltas: list[tuple[dict, str | None]] = [({"content": "word "}, None)] * 199 + [({}, "stop")]
    chunks = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": f}], **null} for d, f in deltas]
    if asked:
        chunks.append({**head, "choices": [], "usage": USAGE})
    return [f"data: {json.dumps(c)}\n\n".encode() for c in chunks] + [b"data: [DONE]\n\n"]


PLAIN = [plain_body()]
STREAM = {asked: stream_body(asked) for asked in (False, True)}


def client_of(httpx):
    class Chunks(httpx.SyncByteStream):
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def __iter__(self) -> Iterator[bytes]:
            yield from self.chunks

    class Provider(httpx.BaseTransport):
        def handle_request(self, request):
            body = request.content
            if b'"stream":true' in body[-200:]:
                chunks = STREAM[b"include_usage" in body[-200:]]
                return httpx.Response(
                    200, headers={"content-type": "text/event-stream"}, stream=Chunks(chunks)
                )
            return httpx.Response(200, headers={"content-type": "application/json"}, stream=Chunks(PLAIN))

    return httpx.Client(transport=Provider())


def measure(calls: dict[str, Callable[[], None]]) -> dict[str, dict[str, float]]:
    wall: dict[str, list[int]] = {name: [] for name in calls}
    cpu: dict[str, list[int]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(WARM_UP + ROUNDS):
        for at in range(len(names)):
            name = names[(at + turn) % len(names)]
            cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
            calls[name]()
            after, cpu_after = time.perf_counter_ns(), time.thread_time_ns()
            if turn >= WARM_UP:
                wall[name].append(after - before)
                cpu[name].append(cpu_after - cpu_before)
    out = {}
    for name in names[1:]:
        extra = sorted((a - b) / 1e3 for a, b in zip(wall[name], wall[names[0]], strict=True))
        cpus = [(a - b) / 1e3 for a, b in zip(cpu[name], cpu[names[0]], strict=True)]
        out[name] = {
            "median_us": statistics.median(extra),
            "p99_us": extra[int(len(extra) * 0.99)],
            "cpu_us": statistics.median(cpus),
        }
    out["bare"] = {"median_us": statistics.median(wall["bare"]) / 1e3}
    return out


def import_times() -> dict[str, float]:
    statements = {
        "bare": "pass",
        "llmtrail": "import llmtrail",
        "posthog": "import posthog",
        "posthog.ai.openai": "import posthog.ai.openai",
    }
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(15):
        for name, statement in statements.items():
            before = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            times[name].append(time.perf_counter() - before)
    bare = statistics.median(times.pop("bare"))
    return {name: (statistics.median(all_) - bare) * 1e3 for name, all_ in times.items()}


def main() -> None:
    import httpx2
    import openai
    from posthog import Posthog
    from posthog.ai.openai import OpenAI as PostHogOpenAI

    import llmtrail

    loopback = os.environ.get("LOOPBACK", str(ROOT / "target/release/loopback"))
    server = subprocess.Popen(
        [loopback, "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    host = server.stdout.readline().strip().removeprefix("listening on ")
    threading.Thread(target=server.stdout.read, daemon=True).start()

    llmtrail.init(api_key="phc_bench", host=host, dir=tempfile.mkdtemp())
    peer = Posthog("phc_bench", host=host)
    clients = {
        "bare": openai.OpenAI(api_key="sk-bench", http_client=client_of(httpx2)),
        "llmtrail": llmtrail.wrap(openai.OpenAI(api_key="sk-bench", http_client=client_of(httpx2))),
        "posthog.ai": PostHogOpenAI(posthog_client=peer, api_key="sk-bench", http_client=client_of(httpx2)),
    }

    def plain(client, prompt: str) -> Callable[[], None]:
        def call() -> None:
            client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": prompt}])

        return call

    def stream(client, prompt: str) -> Callable[[], None]:
        def call() -> None:
            messages = [{"role": "user", "content": prompt}]
            for _ in client.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True):
                pass

        return call

    for name, make, size in [("1 KB", plain, 1), ("100 KB", plain, 100), ("200 chunks", stream, 1)]:
        prompt = "lorem ip" * (128 * size)
        result = measure({who: make(client, prompt) for who, client in clients.items()})
        print(json.dumps({"language": "python", "case": name, "result": result}), flush=True)
    llmtrail.shutdown(10)
    print(json.dumps({"language": "python", "imports_ms": import_times()}), flush=True)
    server.kill()
    os._exit(0)  # The peer's threads need not be waited for.


if __name__ == "__main__":
    main()
