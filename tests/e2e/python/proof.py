"""What the tests that make the table of what is covered share."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def cost(properties: dict[str, Any], case: dict[str, Any]) -> str:
    """A cost is the sum of its parts, and the one that was worked out by hand where there is one."""
    details = properties.get("$ai_cost_details") or {}
    if "$ai_total_cost_usd" not in properties:
        assert details.get("reason") or "$ai_input_tokens" not in properties
        return f"n/a: {details.get('reason', 'no tokens')}"
    total = sum(float(part["amount"]) for part in details["buckets"].values())
    assert float(details["total"]) == pytest.approx(total, abs=1e-15)
    assert properties["$ai_total_cost_usd"] == float(details["total"])
    if case.get("cost"):
        assert details["total"] == case["cost"]["total"]
    return "ok"


def cover(sdk: dict[str, str], call: str, checks: dict[str, str]) -> None:
    """Adds a row to the table of what is covered, if one is wanted. `sdk`: its name and version."""
    file = os.environ.get("LLMTRAIL_COVERAGE")
    if file:
        with Path(file).open("a") as out:
            out.write(json.dumps({"language": "python", **sdk, "call": call, "checks": checks}) + "\n")
