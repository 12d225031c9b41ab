"""What JSON cannot hold becomes something readable, never an exception."""

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any

import pytest

import llmtrail
from llmtrail._json import encode, hand_over, tame


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Mapping:
    def keys(self) -> list[str]:
        return ["a"]

    def __getitem__(self, key: str) -> int:
        return 1


def helper() -> None: ...


ODD = [
    (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (decimal.Decimal("1.10"), "1.10"),
    ({3, 1, 2}, [1, 2, 3]),
    (b"text", "text"),
    (b"\xff\xfe", "<2 bytes>"),
    (bytearray(b"x"), "x"),
    (float("nan"), "NaN"),
    (float("-inf"), "-Infinity"),
    (10**30, str(10**30)),
    (helper, "<function helper>"),
    (Point, "<type Point>"),
    (Point(1, {2}), {"x": 1, "y": [2]}),
    (Colour.RED, "red"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (ValueError("bad"), "ValueError: bad"),
    (Broken(), "<Broken>"),
    (Mapping(), {"a": 1}),
    ({(1, 2): 3, None: 4, 5: 6}, {"(1, 2)": 3, "None": 4, "5": 6}),
    ("half \ud83d of a pair", "half ? of a pair"),
    (object, "<type object>"),
    (range(3), "range(0, 3)"),
    (1 + 2j, "(1+2j)"),
]


@pytest.mark.parametrize(("value", "readable"), ODD, ids=lambda value: type(value).__name__)
def test_odd_values_become_readable(value: Any, readable: Any) -> None:
    def take(text: str) -> Any:
        text.encode()
        read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
        if read == {"v": 10**30}:
            raise ValueError("the core takes 64 bits")
        return read

    assert hand_over(take, {"v": value}) == {"v": readable}


def test_cycles_and_depth_end() -> None:
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = loop
    assert tame(loop) == {"a": 1, "self": "<cycle>"}
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert '"..."' in encode(tame(deep))
    wide: Any = [1]
    for _ in range(60):
        wide = [wide, wide]  # 2**60 when written out
    assert len(encode(tame(wide))) < 10_000_000


def test_shared_values_are_no_cycle() -> None:
    shared = {"x": float("nan")}
    assert tame([shared, shared]) == [{"x": "NaN"}, {"x": "NaN"}]


@pytest.mark.parametrize("value", [value for value, _ in ODD], ids=lambda value: type(value).__name__)
def test_the_core_takes_it_everywhere(value: Any, trail: llmtrail.Client) -> None:
    loop: list[Any] = [value]
    loop.append(loop)
    with trail.trace("t", input=value, properties={"p": value}) as trace:
        trace.output = loop
        trace.set(q=value)
    assert trace.trace_id
    trail.capture("event", properties={"p": value, "loop": loop})
    assert "observer" not in trail.stats().notes
