"""Captures and delivers so many generations of 2 KB, by hand, in Python: `delivery_subject.py llmtrail HOST COUNT`."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

INPUT = [{"role": "user", "content": "lorem ip" * 96}]
OUTPUT = [{"role": "assistant", "content": "word " * 150}]
PROPERTIES = {
    "$ai_model": "gpt-5-mini",
    "$ai_provider": "openai",
    "$ai_input": INPUT,
    "$ai_output_choices": OUTPUT,
    "$ai_input_tokens": 200,
    "$ai_output_tokens": 150,
    "$ai_latency": 1.25,
    "$ai_trace_id": "trace-1",
}


def llmtrail(host: str) -> tuple[Callable[[], object], Callable[[], object]]:
    import llmtrail

    llmtrail.init(api_key="phc_bench", host=host, dir=tempfile.mkdtemp(), max_memory=512 << 20)

    def capture() -> None:
        llmtrail.capture_generation(
            model="gpt-5-mini",
            provider="openai",
            input=INPUT,
            output=OUTPUT,
            usage={"input_tokens": 200, "output_tokens": 150},
            latency=1.25,
            trace_id="trace-1",
            distinct_id="user-1",
        )

    return capture, lambda: llmtrail.flush(120)


def posthog(host: str) -> tuple[Callable[[], object], Callable[[], object]]:
    from posthog import Posthog

    peer = Posthog("phc_bench", host=host, max_queue_size=1 << 20)

    def capture() -> None:
        peer.capture("$ai_generation", distinct_id="user-1", properties=dict(PROPERTIES))

    return capture, peer.shutdown


def memory(what: str) -> float:
    """The memory that is resident, in MB (`VmRSS`), or the most that was (`VmHWM`). Not by `getrusage`, which keeps
    what the parent had at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def main() -> None:
    observer, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    capture, flush = {"llmtrail": llmtrail, "posthog": posthog}[observer](host)
    took = []
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        before = time.perf_counter_ns()
        capture()
        took.append(time.perf_counter_ns() - before)
    flush()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    out = {
        "capture_us": statistics.median(took) / 1e3,
        "capture_p99_us": statistics.quantiles(took, n=100)[98] / 1e3,
        "wall_s": wall,
        "cpu_us": cpu / count * 1e6,
        "memory_mb": memory("VmHWM"),
    }
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
