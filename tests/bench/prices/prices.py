"""Nanoseconds that a price takes in Python: llmtrail, genai-prices and litellm. Prints JSON lines."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

# litellm's list of prices as it was installed, not as it is fetched at each import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import genai_prices
import litellm

import llmtrail

CASES = json.loads((Path(__file__).parent / "cases.json").read_text())
AT = datetime(2026, 11, 17, tzinfo=UTC)
CALLS, ROUNDS = 100, 30


def nanoseconds(ask: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(CALLS):
            ask()
        rounds.append((time.perf_counter_ns() - begin) / CALLS)
    return statistics.median(rounds)


def subjects(case: dict) -> dict[str, Callable[[], object]]:
    """What is asked of each; None is an answer, of a model that is not known."""
    model, provider = case["model"], case["provider"]
    usage = genai_prices.Usage(input_tokens=2000, cache_read_tokens=800, output_tokens=350)
    # Claude's counts leave the cache out of the input.
    tokens = 1200 if provider == "anthropic" else 2000

    def ours() -> object:
        cost = llmtrail.cost(
            model, provider=provider, input_tokens=tokens, cache_read_tokens=800, output_tokens=350
        )
        return cost.total

    def genai() -> object:
        try:
            found = genai_prices.calc_price(
                usage, model_ref=model, provider_id=case["genai"], genai_request_timestamp=AT
            )
        except LookupError:
            return None
        return found.total_price

    def per_token() -> object:
        try:
            return litellm.cost_per_token(
                model=model,
                custom_llm_provider=case["litellm"],
                prompt_tokens=2000,
                completion_tokens=350,
                cache_read_input_tokens=800,
            )
        except Exception:  # it raises one of its own for a model that it does not know
            return None

    return {"llmtrail (Python)": ours, "genai-prices (Python)": genai, "litellm (Python)": per_token}


def main() -> None:
    for case in CASES:
        name = f"{case['provider']} {case['model']}"
        for subject, ask in subjects(case).items():
            if (ask() is not None) != case["known"]:
                raise SystemExit(f"{subject} {name}: {ask()}")
            print(json.dumps({"price": name, "subject": subject, "ns": nanoseconds(ask)}), flush=True)


if __name__ == "__main__":
    main()
