"""The memory of one process in one state, in MB: `memory_subject.py llmtrail idle|own|queued|dead HOST COUNT`.

Idle is after the first event was delivered; own is what of that is no page of a file, which the system shares and takes
back. In line are events of 2 KB that nobody sends yet. With a dead server it is
the most that there was at once.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time

from delivery_subject import PROPERTIES, memory

LATER = 3600


def llmtrail(host: str, waits: bool):
    import llmtrail

    # Nobody is at the host then.
    wait = {"spool": "off"} if waits else {}
    llmtrail.init(api_key="phc_bench", host=host, dir=tempfile.mkdtemp(), **wait)
    return lambda: llmtrail.capture("$ai_generation", "user-1", dict(PROPERTIES)), lambda: llmtrail.flush(10)


def posthog(host: str, waits: bool):
    from posthog import Posthog

    wait = {"flush_at": 1 << 20, "flush_interval": LATER} if waits else {}
    peer = Posthog("phc_bench", host=host, max_queue_size=1 << 20, **wait)
    return (
        lambda: peer.capture("$ai_generation", distinct_id="user-1", properties=dict(PROPERTIES)),
        peer.flush,
    )


def main() -> None:
    observer, state, host, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if observer == "disabled":
        os.environ["LLMTRAIL_ENABLED"] = "false"
        observer = "llmtrail"
    if observer != "bare":
        capture, flush = {"llmtrail": llmtrail, "posthog": posthog}[observer](host, state == "queued")
        if state in ("idle", "own"):
            capture()
            flush()
        for _ in range(count):
            capture()
    time.sleep(1)
    gc.collect()
    print(memory({"dead": "VmHWM", "own": "RssAnon"}.get(state, "VmRSS")), flush=True)
    # Nothing of it is to be sent now.
    os._exit(0)


if __name__ == "__main__":
    main()
