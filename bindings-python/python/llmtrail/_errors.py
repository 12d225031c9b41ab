"""The errors that this library raises: only for a misuse of its own API, never while a call is observed."""

from __future__ import annotations


class LlmtrailError(Exception):
    """A sentence that says what failed and what to do; `code` is the same in Rust, Python and JavaScript."""

    code: str = "error"


class ConfigError(LlmtrailError):
    """An option, environment variable or price file that cannot be used."""

    code = "config"


class BudgetExceeded(LlmtrailError):
    """A call that would have started beyond a budget; it was not sent.

    The one error of this library that a call can raise, for a budget asks for it.
    """

    code = "budget_exceeded"

    per: str
    """Who shares the budget: `trace`, `session`, `user`, `process` or `day`."""
    id: str | None
    """Which of them: the trace's, session's or person's id, or the day; None for the process."""
    limit_usd: float
    """The limit, in US dollars."""
    spent_usd: float
    """What the calls that ended cost, in US dollars."""
    under_way_usd: float
    """What the calls under way are taken to cost, in US dollars."""


def budget_exceeded(
    message: str, per: str, id: str | None, limit_usd: float, spent_usd: float, under_way_usd: float
) -> BudgetExceeded:
    """The exception for a refusal of the core."""
    error = BudgetExceeded(message)
    error.per, error.id = per, id
    error.limit_usd, error.spent_usd, error.under_way_usd = limit_usd, spent_usd, under_way_usd
    return error


def make(code: str, message: str, cause: str | None) -> LlmtrailError:
    """The exception for an error of the core."""
    error = ConfigError(message) if code == "config" else LlmtrailError(message)
    error.code = code
    if cause is not None and cause not in message:
        error.__cause__ = Exception(cause)
    return error
