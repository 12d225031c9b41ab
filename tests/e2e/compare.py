"""Compares the events of the same calls from two languages: `compare.py A.json B.json`."""

import json
import re
import sys
from pathlib import Path

RULES = json.loads((Path(__file__).parent.parent / "corpus/normalise.json").read_text())
# Costs count here: both languages have the same price table.
LEAVE_OUT = set(RULES["volatile"]) - {"$process_person_profile", "$geoip_disable", "$lib", "$ai_lib"}
# The knobs too: one language may ask the server for a pause that its SDK needs and the other's does not.
SERVER = re.compile(r"http://(127\.0\.0\.1|localhost):\d+(/knobs/[^/\"]+)?")


def normal(event: dict) -> dict:
    """An event without its ids and times and without the port and the knobs of the server it was made against."""
    kept = {key: value for key, value in event["properties"].items() if key not in LEAVE_OUT}
    flat = {"event": event["event"], "distinct_id": event["distinct_id"], **kept}
    return json.loads(SERVER.sub("http://loopback", json.dumps(flat)))


def differences(ours: dict, theirs: dict) -> list[str]:
    """One line for each property of each call that differs."""
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            lines.append(f"{name}: only on the {'second' if name not in ours else 'first'} side")
            continue
        left, right = normal(ours[name]), normal(theirs[name])
        for key in sorted(left.keys() | right.keys()):
            if key not in left or key not in right or left[key] != right[key]:
                show = [
                    json.dumps(side.get(key, "(absent)"), ensure_ascii=False)[:300] for side in (left, right)
                ]
                lines.append(f"{name}: {key}\n    {show[0]}\n    {show[1]}")
    return lines


def common(ours: dict, theirs: dict) -> tuple[dict, dict]:
    """Both without the calls that one side cannot make, and those of SDKs that it does not drive, which are told."""
    calls = json.loads((Path(__file__).parent / "calls.json").read_text())
    sdks = {call["name"]: call["sdk"] for call in calls}
    single = {call["name"] for call in calls if "only" in call}
    driven = [{sdks[name] for name in side} for side in (ours, theirs)]
    for sdk in sorted(driven[0] ^ driven[1]):
        count = sum(sdks[name] == sdk for name in {*ours, *theirs})
        print(
            f"{count} calls of {sdk} left out: only the {'first' if sdk in driven[0] else 'second'} side drives it"
        )
    both = driven[0] & driven[1]
    kept = {name for name in {*ours, *theirs} if sdks[name] in both and name not in single}
    return tuple({name: side[name] for name in side if name in kept} for side in (ours, theirs))


def main() -> int:
    first, second = common(*(json.loads(Path(path).read_text()) for path in sys.argv[1:3]))
    found = differences(first, second)
    print("\n".join(found) if found else f"{len(first)} calls: the events of both languages are equal")
    return 1 if found or not first else 0


if __name__ == "__main__":
    sys.exit(main())
