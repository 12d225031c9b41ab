"""`cost` and `set_price`, and the shared cases of tests/prices through them."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

import llmtrail

PRICES = Path(__file__).resolve().parents[2] / "tests" / "prices"
AMOUNTS = {
    "input_cost": "input",
    "output_cost": "output",
    "request_cost": "request",
    "web_search_cost": "web_search",
    "total_cost": "total",
}
# A case without a time happens after every change of prices.
UNDATED = "2100-01-01T12:00:00Z"


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (PRICES / name).read_text().splitlines()]


def ours(client: llmtrail.Client, case: dict, catalogues: dict, reading: str) -> dict:
    """Where the case's cost differs from what it expects."""
    prices = case["prices"]
    if prices == "built-in":
        prices = None
    else:
        prices = (prices or {}).get(reading) or prices or {}
        prices = catalogues[prices["catalogue"]] if "catalogue" in prices else prices.get("set", prices)
    cost = client.cost(
        properties=case["properties"],
        prices=prices,
        at=case["properties"].get("timestamp", UNDATED),
        reasoning_exclusive=False if case["semantics"] == "genai-prices" else None,
    )
    expected = case["expected"].get(reading) or case["expected"]
    has_parts = case["semantics"] == "posthog" or reading == "posthog"
    differences = {}
    for name, attribute in AMOUNTS.items():
        found = getattr(cost, attribute)
        if "error" in expected:
            wanted = None
        elif name not in expected or (expected[name] is None and not has_parts):
            continue
        else:
            wanted = expected[name]
        if found != wanted:
            differences[name] = found
    if "source" in expected and prices is None:
        # Without counts there is no cost, and the answer's source is that of the prices that it shows.
        source = "unknown" if cost.reason == "the provider reported no usage" else cost.source
        assert source == expected["source"], case["id"]
    return differences


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> llmtrail.Client:
    return llmtrail.Client(dir=tmp_path_factory.mktemp("prices"))


def test_the_shared_cases_give_what_they_expect_or_are_listed(client: llmtrail.Client) -> None:
    catalogues = json.loads((PRICES / "catalogues.json").read_text())
    reviewed = json.loads((PRICES / "differences.json").read_text())
    listed = {row: amounts for rule in reviewed["rules"] for row, amounts in rule["rows"].items()}
    cases = lines("cost.jsonl")
    found = {
        case["id"]: ours(client, case, catalogues, reviewed["conflicts"].get(case["id"], ""))
        for case in cases
    }
    assert len(found) == len(cases) > 200
    assert {case: amounts for case, amounts in found.items() if amounts} == listed


def test_the_worked_rows_come_out_exactly(client: llmtrail.Client) -> None:
    cases = lines("worked.jsonl")
    assert {case["id"]: ours(client, case, {}, "") for case in cases} == {case["id"]: {} for case in cases}


def test_the_whole_answer(client: llmtrail.Client) -> None:
    cost = client.cost(
        "gpt-5-mini",
        provider="oai",
        input_tokens=4096,
        output_tokens=128,
        cache_read_tokens=2048,
        at=datetime(2026, 11, 20, tzinfo=timezone.utc),
    )
    assert isinstance(cost, llmtrail.Cost)
    assert (cost.input, cost.output, cost.total) == ("0.0005632", "0.000256", "0.0008192")
    assert cost.total_usd == pytest.approx(0.0008192, abs=1e-15)
    assert (cost.source, cost.model, cost.provider) == ("openrouter", "openai/gpt-5-mini", "openai")
    assert (cost.match, cost.mode, cost.reason, cost.input_over) == ("exact", "standard", None, None)
    assert (cost.prices["input"], cost.prices["cache_read"]) == ("0.25", "0.025")
    line = cost.buckets["cache_read"]
    assert (line.units, line.unit_price, line.amount) == (2048, "0.000000025", "0.0000512")
    assert (cost.catalogue or "").startswith("openrouter 20")
    assert cost.at == "2026-11-20T00:00:00Z"
    assert (cost.assumptions, cost.repaired) == ([], [])
    assert "0.0008192 USD" in repr(cost)


def test_unknown_is_an_answer(client: llmtrail.Client) -> None:
    cost = client.cost("o1-mini-foo", provider="openai", input_tokens=1)
    assert (cost.total, cost.total_usd, cost.source) == (None, None, "unknown")
    assert cost.reason == "no price list has a model of this name"
    assert client.cost("gpt-5-mini").reason == "the provider reported no usage"
    assert client.cost("gpt-5-mini").prices["input"] == "0.25"


def test_both_lifetimes_of_a_cache(client: llmtrail.Client) -> None:
    words = {"provider": "anthropic", "input_tokens": 0, "at": 1_795_000_000}
    assert client.cost("claude-sonnet-4-5", cache_write_1h_tokens=1000, **words).total == "0.006"
    both = client.cost("claude-sonnet-4-5", cache_write_tokens=1500, cache_write_1h_tokens=1000, **words)
    assert {name: line.units for name, line in both.buckets.items() if line.units} == {
        "cache_write_5m": 500,
        "cache_write_1h": 1000,
    }


def test_a_reported_cost_has_the_catalogues_beside_it(client: llmtrail.Client) -> None:
    words = {"provider": "openrouter", "input_tokens": 1000, "output_tokens": 100, "at": 1_795_000_000}
    cost = client.cost("openai/gpt-5-mini", reported_cost=Decimal("0.0004"), **words)
    assert (cost.source, cost.total) == ("reported", "0.0004")
    assert (cost.catalogue_source, cost.catalogue_total, cost.difference) == (
        "openrouter",
        "0.00045",
        "-0.00005",
    )


def test_prices_of_ones_own(tmp_path: Path) -> None:
    client = llmtrail.Client(dir=tmp_path)
    client.set_price("in-house-*", input="0.10", output=Decimal("0.20"), over={1000: {"input": 0.5}})
    client.set_price("gpt-5-mini", provider="openai", multiplier=0.8, valid_from=date(2026, 1, 1))
    assert client.cost("in-house-2", input_tokens=1000, output_tokens=1000).total == "0.0003"
    assert client.cost("in-house-2", input_tokens=2000, output_tokens=0).total == "0.001"
    reduced = client.cost("gpt-5-mini", provider="openai", input_tokens=1000, at="2026-11-20")
    assert (reduced.total, reduced.source) == ("0.0002", "custom")
    earlier = client.cost("gpt-5-mini", provider="openai", input_tokens=1000, at="2025-11-20")
    assert (earlier.total, earlier.source) == ("0.00025", "openrouter")
    # For one question alone, from a list or from a file.
    price = {"model": "gpt-5-mini", "input": "7", "output": "8"}
    assert client.cost("gpt-5-mini", provider="openai", input_tokens=1000, prices=[price]).total == "0.007"
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = "x"\ninput = 1\n')
    assert client.cost("x", input_tokens=1000, prices=file).total == "0.001"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"input_tokens": -1}, "input_tokens: expected a whole number of at least 0, got -1"),
        ({"input_tokens": "many"}, "input_tokens: expected a whole number of at least 0"),
        ({"at": "soon"}, "at: expected a time"),
        ({"model": ""}, "model: expected a string that is not empty"),
        ({"reported_cost": "-1"}, "reported_cost: expected an amount of dollars"),
        ({"properties": 3}, "properties: expected an object of properties, got 3"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(client: llmtrail.Client, words: dict, says: str) -> None:
    with pytest.raises(llmtrail.LlmtrailError, match=says) as caught:
        client.cost(**{"model": "m", **words})
    assert caught.value.code == "usage"


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ("/nowhere/prices.toml", "prices: cannot read /nowhere/prices.toml"),
        ([{"input": 1}], "prices: price 1: this price has no `model`"),
        ([{"model": "m"}], "prices: price 1: this price has neither"),
        ([{"model": "m", "inpt": 1}], "unknown key `inpt`"),
        (7, "prices: expected a path, a list of prices, or an object"),
    ],
)
def test_wrong_prices_are_a_config_error(client: llmtrail.Client, prices: object, says: str) -> None:
    with pytest.raises(llmtrail.ConfigError, match=says):
        client.cost("m", input_tokens=1, prices=prices)  # type: ignore[arg-type]


def test_a_wrong_price_is_a_config_error(client: llmtrail.Client) -> None:
    with pytest.raises(
        llmtrail.ConfigError, match="`input` must be a decimal number of at least 0, not `dear`"
    ):
        client.set_price("m", input="dear")
    with pytest.raises(llmtrail.ConfigError, match="neither a price nor"):
        client.set_price("m")
