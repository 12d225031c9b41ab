"""JSON for the core, from any Python value: what JSON cannot hold becomes something readable."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_MAX_DEPTH = 60  # the core reads 128 levels
_MAX_ITEMS = 100_000
_encode: Callable[[Any], str] | None = None


def hand_over(take: Callable[[str], T], value: Any) -> T:
    """Gives a value's JSON to the core; when either side does not take it as it is, that of its tame form."""
    try:
        return take(encode(value))
    except (ValueError, TypeError, RecursionError):
        return take(encode(tame(value)))


def encode(value: Any) -> str:
    """A value's JSON.

    Raises ValueError, TypeError or RecursionError for what `tame` can make fit: NaN, cycles, odd keys, depth.
    """
    global _encode
    if _encode is None:
        # At the first use, for `import llmtrail` is to be cheap.
        from json import JSONEncoder

        encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_readable)
        _encode = encoder.encode
    return _encode(value)


def tame(value: Any) -> Any:
    """A copy that JSON and the core take for certain: finite, shallow, without cycles, UTF-8, 64 bits."""
    above: set[int] = set()
    left = _MAX_ITEMS

    def walk(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        try:
            if value is None or value is True or value is False:
                return value
            if isinstance(value, str):
                return _text(value)
            if isinstance(value, int):
                return int(value) if -(2**63) <= value < 2**64 else _big(value)
            if isinstance(value, float):
                return float(value) if value - value == 0 else _odd_float(value)
            if left <= 0 or depth >= _MAX_DEPTH:
                return "..."
            if id(value) in above:
                return "<cycle>"
            above.add(id(value))
            try:
                if isinstance(value, dict):
                    return {_key(key): walk(item, depth + 1) for key, item in value.items() if left > 0}
                if isinstance(value, (list, tuple)):
                    return [walk(item, depth + 1) for item in value if left > 0]
                return walk(_readable(value), depth + 1)
            finally:
                above.discard(id(value))
        except Exception:
            return _last_word(value)

    return walk(value, 0)


def _readable(value: Any) -> Any:
    """Something that says what a value is, closer to JSON than the value."""
    try:
        kind = type(value)
        if isinstance(value, (set, frozenset)):
            try:
                return sorted(value)
            except TypeError:
                return list(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _bytes(bytes(value))
        if isinstance(value, type) or hasattr(value, "__code__"):
            return f"<{kind.__name__} {value.__qualname__}>"
        if isinstance(value, BaseException):
            return f"{kind.__name__}: {value}"
        if hasattr(kind, "__members__"):  # an enum
            return value.value
        if hasattr(kind, "model_dump"):  # pydantic, and so every answer of the OpenAI and Anthropic SDKs
            return value.model_dump(mode="json", warnings=False)
        if hasattr(kind, "__dataclass_fields__"):
            return {name: getattr(value, name) for name in kind.__dataclass_fields__}
        if hasattr(kind, "isoformat"):  # date, time, datetime
            return value.isoformat()
        if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - a mapping may iterate otherwise
        if hasattr(kind, "tolist") and getattr(value, "size", 0) <= _MAX_ITEMS:  # numpy
            return value.tolist()
        return _text(str(value))
    except Exception:
        return _last_word(value)


def _key(key: Any) -> str:
    try:
        if isinstance(key, str):
            return _text(key)
        return _bytes(key) if isinstance(key, bytes) else _text(str(key))
    except Exception:
        return _last_word(key)


def _text(text: str) -> str:
    try:
        text.encode()
        return str(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("utf-8", "replace").decode()


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"<{len(value)} bytes>"


def _big(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to write very long numbers
        return hex(value)


def _odd_float(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _last_word(value: Any) -> str:
    return f"<{type(value).__name__}>"
