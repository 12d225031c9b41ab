"""What a call costs: the question in Python's words, and the answer."""

from __future__ import annotations

from . import _core
from ._json import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class CostLine:
    """One bucket's part of a cost.

    Attributes:
        units: tokens, requests or searches.
        unit_price: the price of one in US dollars, as an exact decimal string.
        amount: units times price, as an exact decimal string.
    """

    __slots__ = ("amount", "unit_price", "units")

    units: int
    unit_price: str
    amount: str

    def __init__(self, line: Mapping[str, Any]) -> None:
        self.units, self.unit_price, self.amount = line["units"], line["unit_price"], line["amount"]

    def __repr__(self) -> str:
        return f"CostLine({self.units} x {self.unit_price} = {self.amount})"


class Cost:
    """What a call costs, and how that is known. Amounts are US dollars, as exact decimal strings.

    Attributes:
        total: the whole call; None when it is not known, and `reason` says why.
        total_usd: the same as a float.
        input: all input tokens. Like `output`, `request` and `web_search` None when not known.
        output: all output tokens.
        request: the price per request.
        web_search: searches that the provider ran.
        source: `reported`, `custom`, `local`, `correction`, `openrouter`, `manual` or `unknown`; of a question
            without counts, where `prices` are from.
        model: the model as the price list names it.
        provider: the price list's row.
        match: `exact`, `shortened` (a date or the like was dropped), `pattern` or `given`.
        mode: `standard`, `batch`, `flex`, `priority`, ...
        input_over: the number of input tokens above which these prices hold, in a higher tier.
        catalogue: the price lists and their dates.
        at: the time whose prices these are (RFC 3339).
        prices: the prices that the call goes by, in USD per million tokens, per request, per search.
        over: other prices by the number of input tokens above which they hold.
        buckets: units, unit price and amount of each kind of token, request and search.
        assumptions: what had to be assumed, in sentences.
        repaired: what had to be mended in the counts, in sentences.
        reason: why there is no price.
        catalogue_source: beside a reported cost, where the catalogue's figure is from.
        catalogue_total: beside a reported cost, what the catalogue says.
        difference: the reported cost less the catalogue's.
    """

    __slots__ = (
        "assumptions",
        "at",
        "buckets",
        "catalogue",
        "catalogue_source",
        "catalogue_total",
        "difference",
        "input",
        "input_over",
        "match",
        "mode",
        "model",
        "output",
        "over",
        "prices",
        "provider",
        "reason",
        "repaired",
        "request",
        "source",
        "total",
        "total_usd",
        "web_search",
    )

    total: str | None
    total_usd: float | None
    input: str | None
    output: str | None
    request: str | None
    web_search: str | None
    source: str
    model: str | None
    provider: str | None
    match: str | None
    mode: str | None
    input_over: int | None
    catalogue: str | None
    at: str | None
    prices: dict[str, str]
    over: dict[str, dict[str, str]]
    buckets: dict[str, CostLine]
    assumptions: list[str]
    repaired: list[str]
    reason: str | None
    catalogue_source: str | None
    catalogue_total: str | None
    difference: str | None

    def __init__(self, answer: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, answer[name])
        self.buckets = {name: CostLine(line) for name, line in answer["buckets"].items()}

    def __repr__(self) -> str:
        if self.total is None:
            return f"<llmtrail.Cost unknown: {self.reason}>"
        return f"<llmtrail.Cost {self.total} USD, {self.source}: {self.model} at {self.provider}>"


def ask(core: _core.Client, words: Mapping[str, Any]) -> Cost:
    """The answer of the core."""
    import json

    given = {word: value for word, value in words.items() if value is not None}
    at, prices = given.get("at"), given.get("prices")
    if at is not None and hasattr(at, "timestamp"):
        given["at"] = at.timestamp()
    if prices is not None and hasattr(prices, "__fspath__"):
        given["prices"] = prices.__fspath__()
    return Cost(json.loads(hand_over(lambda question: _core.cost(core, question), given)))


def set_price(core: _core.Client, words: Mapping[str, Any]) -> None:
    """Hands a price to the core."""
    given = {word: value for word, value in words.items() if value is not None}
    hand_over(lambda price: _core.set_price(core, price), given)
