"""The errors that this library raises: only for a misuse of its own API, never while a call is observed."""

from __future__ import annotations


class LlmtrailError(Exception):
    """A sentence that says what failed and what to do; `code` is the same in Rust, Python and JavaScript."""

    code: str = "error"


class ConfigError(LlmtrailError):
    """An option, environment variable or price file that cannot be used."""

    code = "config"


def make(code: str, message: str, cause: str | None) -> LlmtrailError:
    """The exception for an error of the core."""
    error = ConfigError(message) if code == "config" else LlmtrailError(message)
    error.code = code
    if cause is not None and cause not in message:
        error.__cause__ = Exception(cause)
    return error
