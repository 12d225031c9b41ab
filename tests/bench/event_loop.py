"""For how long Node's event loop is held at most while 10 MB responses come in, and the CPU that each takes.

As in `caller.py`, each observer has a process of its own with a bare client beside the observed one. The answer is read
as bytes, where the SDK does nothing of its own, and as what the SDK makes of it. Prints JSON lines.
"""

from __future__ import annotations

import json
import os
import statistics

from caller import COPY, LANGUAGES, Subject, loopback

ROUNDS = int(os.environ.get("ROUNDS", "40"))
# PostHog's wrapper knows no answer as bytes.
CASES = {"10 MB, bytes": [COPY, "llmtrail"], "10 MB, parsed": [COPY, "llmtrail", "@posthog/ai"]}


def main() -> None:
    command = LANGUAGES["node"]["command"]
    with loopback("sink") as host:
        for case, observers in CASES.items():
            result = {}
            for observer in observers:
                subject = Subject(command, observer, host)
                try:
                    rounds = subject.rounds({"case": case, "holds": True}, ROUNDS)
                finally:
                    subject.end()
                # One bare client is enough: that of the process which llmtrail is in.
                sides = {"bare": 0} if observer == "llmtrail" else {}
                for name, who in {**sides, observer: 1}.items():
                    holds = sorted(took[6 + who] / 1e6 for took in rounds)
                    result[name] = {
                        "median_ms": statistics.median(holds),
                        "most_ms": holds[-1],
                        "cpu_ms": statistics.median(took[2 + who] / 1e6 for took in rounds),
                    }
            print(json.dumps({"event_loop": case, "result": result}), flush=True)


if __name__ == "__main__":
    main()
