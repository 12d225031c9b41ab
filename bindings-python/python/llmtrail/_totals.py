"""What calls used and cost: one of them, and all so far."""

from __future__ import annotations

from ._errors import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import _core

# How long to wait for calls to be decoded.
SETTLE = 1.0


class Totals:
    """Sums over calls."""

    __slots__ = ("calls", "cost_usd", "unpriced", "usage")

    calls: int
    """Generations and embeddings."""
    unpriced: int
    """Those whose cost is not known."""
    cost_usd: float | None
    """The sum of the known costs in US dollars; None when there were calls and no cost is known."""
    usage: dict[str, int]
    """Units by bucket (`input_text`, `cache_read`, `output_text`, ...), those that were reported."""

    def __init__(self, calls: int, unpriced: int, cost_usd: float | None, usage: dict[str, int]) -> None:
        self.calls, self.unpriced, self.cost_usd, self.usage = calls, unpriced, cost_usd, usage

    def __repr__(self) -> str:
        return f"<llmtrail.Totals {self.calls} calls, cost_usd={self.cost_usd}, usage={self.usage}>"


class FinishedCall:
    """A generation or an embedding that is over, as `on_generation` gets it: numbers, names and ids, and no content.

    What is not known is None. Times are seconds.
    """

    event: str
    """`$ai_generation` or `$ai_embedding`."""
    uuid: str
    """The id of the event."""
    timestamp: str
    """When the call began: RFC 3339, UTC."""
    distinct_id: str
    """Whom it was for; the trace's id where nobody said."""
    trace_id: str | None
    session_id: str | None
    span_id: str | None
    parent_id: str | None
    model: str | None
    """The model that answered, else the one that was asked for."""
    provider: str | None
    usage: dict[str, int]
    """Units by bucket (`input_text`, `cache_read`, `output_text`, ...), those that were reported."""
    cost_usd: float | None
    latency: float | None
    """How long the provider was waited for."""
    time_to_first_token: float | None
    stream: bool
    stream_status: str | None
    """`complete`, `abandoned`, `error` or `timeout`, of a stream."""
    stop_reason: str | None
    http_status: int | None
    is_error: bool
    error_type: str | None
    """The provider's type or code of the error."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.__dict__.update(members)

    def __repr__(self) -> str:
        return f"<llmtrail.FinishedCall {self.model} of {self.provider}, cost_usd={self.cost_usd}>"


def totals(trail: _core.Client, ids: dict[str, str | None]) -> Totals:
    """The totals of what has an id, else of the process."""
    given = [(per, id) for per, id in ids.items() if id is not None]
    if len(given) > 1:
        raise make("usage", "totals: give one id, of a person, a session or a trace", None)
    per, id = given[0] if given else ("process", "")
    return Totals(*trail.totals_of(per, str(id), SETTLE))
