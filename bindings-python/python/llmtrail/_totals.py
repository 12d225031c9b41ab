"""What calls used and cost so far."""

from __future__ import annotations

from ._errors import make

TYPE_CHECKING = False
if TYPE_CHECKING:
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


def totals(trail: _core.Client, ids: dict[str, str | None]) -> Totals:
    """The totals of what has an id, else of the process."""
    given = [(per, id) for per, id in ids.items() if id is not None]
    if len(given) > 1:
        raise make("usage", "totals: give one id, of a person, a session or a trace", None)
    per, id = given[0] if given else ("process", "")
    return Totals(*trail.totals_of(per, str(id), SETTLE))
