"""Build the price table that the core carries: core/src/price/catalogue.bin.

Sources: openrouter.json (a dated snapshot of OpenRouter's prices), manual.json, corrections.json and
providers.json beside this file, and the installed `genai-prices` package. Same sources, same bytes.

    build_catalogue.py                 write the table
    build_catalogue.py --check         fail when the table on disk is not what the sources give
    build_catalogue.py --cross-check   print where the sources disagree; fail on what nobody has reviewed

With the table it writes tests/prices/first_party.jsonl: what genai-prices says of each model at the provider
that first sells it, for a test that asks the table the same.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from genai_prices.data import providers as genai_providers
from genai_prices.types import (
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "src" / "price" / "catalogue.bin"
FIRST_PARTY_OUTPUT = HERE.parents[1] / "tests" / "prices" / "first_party.jsonl"
FIRST_PARTY = [
    "anthropic",
    "aws",
    "cohere",
    "deepseek",
    "google",
    "groq",
    "mistral",
    "openai",
    "perplexity",
    "x-ai",
]
EPOCH = date(2020, 1, 1)

# The order is the table's: core/src/price/rates.rs has the same list.
RATES = [
    "in", "out", "read", "write", "write_1h", "audio", "audio_read", "image", "think", "audio_out",
    "image_out", "request", "search",
]  # fmt: skip
# USD per this many units, in the source files.
PER = dict.fromkeys(RATES, 1000000) | {"request": 1_000, "search": 1_000}
GENAI_RATES = {
    "input_mtok": "in",
    "output_mtok": "out",
    "cache_read_mtok": "read",
    "cache_write_mtok": "write",
    "cache_write_1h_mtok": "write_1h",
    "input_audio_mtok": "audio",
    "cache_audio_read_mtok": "audio_read",
    "input_image_mtok": "image",
    "output_reasoning_mtok": "think",
    "output_audio_mtok": "audio_out",
    "output_image_mtok": "image_out",
    "requests_kcount": "request",
    "web_searches_kcount": "search",
}
# The order is the table's: core/src/price/catalogue.rs has the same list.
MODES = ["standard", "batch", "flex", "priority", "fast", "ultrafast", "turbo", "highspeed", "free"]
SOURCES = ["openrouter", "manual", "correction"]
OTHER_UNIT = 1 << 15
AT_HOURS = 1 << 7

QUANTIZATION = {"fp4", "fp8", "fp16", "bf16", "int4", "int8", "mxfp4", "nvfp4"}
REGION = re.compile(
    r"^(global|us|eu|europe|apac|jp|au|ca|in|regional"
    r"|(us|eu|ap|ca|sa|me|af|asia|europe|swedencentral)-?(gov-)?[a-z]*-?\w*\d|swedencentral)$"
)


def fold(name: str) -> str:
    """The form in which names are compared; core/src/price/name.rs does the same to what a call says."""
    return re.sub(r"[._:@/ #]", "-", name.lower())


def folded_model(name: str) -> str:
    """A catalogue's model id without its vendor path."""
    return fold(name.rsplit("/", 1)[-1])


DATE8 = re.compile(r"^20[12]\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
MMDD = re.compile(r"^((0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])|2[2-9](0[1-9]|1[0-2]))$")


def neutral_tail(parts: list[str]) -> int:
    """How many trailing segments say nothing about the price: a date, latest, preview, vN, a build number."""
    last = parts[-1]
    two = len(parts) > 1 and parts[-2]
    three = len(parts) > 2 and parts[-3]
    if last in ("latest", "preview", "default"):
        return 1
    if DATE8.match(last) or (MMDD.match(last) and last != "1024") or re.match(r"^00\d$", last):
        return 1
    if (
        three
        and re.match(r"^20[12]\d$", three)
        and re.match(r"^(0[1-9]|1[0-2])$", two)
        and re.match(r"^\d\d$", last)
    ):
        return 3
    month = r"^(0[1-9]|1[0-2])$"
    if two and re.match(month, two) and re.match(r"^([0-3]\d|20[12]\d)$", last):
        return 2
    if two and re.match(r"^v\d+$", two) and re.match(r"^\d$", last):
        return 2
    return 1 if re.match(r"^v\d+$", last) else 0


def stripped(name: str) -> list[str]:
    """The name, then each shorter form that drops a neutral tail."""
    forms = [name]
    parts = name.split("-")
    while (drop := neutral_tail(parts)) and drop < len(parts):
        parts = parts[:-drop]
        forms.append("-".join(parts))
    return forms


def atto(amount: Decimal, per: int) -> int:
    """USD per `per` units as 1e-18 USD per unit, rounded half up where a source has more digits."""
    return int((amount * 10**18 / per).to_integral_value(rounding="ROUND_HALF_UP"))


@dataclass(frozen=True)
class Prices:
    """One set of prices: rates, and rates above a number of input tokens."""

    rates: tuple[tuple[str, int], ...]
    tiers: tuple[tuple[int, tuple[tuple[str, int], ...]], ...] = ()
    other_unit: bool = False

    @staticmethod
    def of(
        rates: dict[str, int], tiers: dict[int, dict[str, int]] | None = None, other_unit: bool = False
    ) -> Prices:
        ordered = sorted((tiers or {}).items())
        return Prices(
            tuple(sorted(rates.items())),
            tuple((n, tuple(sorted(t.items()))) for n, t in ordered if t),
            other_unit,
        )


FREE = Prices.of({"in": 0, "out": 0})


Hours = tuple[int, int]  # minutes of the day in UTC: from, until (not included); may cross midnight


@dataclass(frozen=True)
class Step:
    """Prices from a day on (`None`: always so), perhaps only at some hours. The last that applies counts."""

    start: date | None
    prices: Prices
    source: str
    hours: Hours | None = None


@dataclass
class Row:
    """A model's prices at one provider, region and mode, over time."""

    model: str
    shown_as: str
    timeline: list[Step] = field(default_factory=list)


Key = tuple[str, str, str]  # provider, region, mode


def load(name: str):
    return json.loads((HERE / name).read_text())


PROVIDERS = load("providers.json")
CANONICAL = {fold(a): name for name, p in PROVIDERS.items() for a in [name, *p.get("aliases", [])]}
GENAI_CANONICAL = {p["genai"]: name for name, p in PROVIDERS.items() if "genai" in p}


def split_provider(row: str) -> tuple[str, str, str, bool]:
    """OpenRouter's name of a provider row: provider, region, mode, and whether it names a quantization."""
    mode, quantized, zdr = "standard", False, False
    parts = row.split("-")
    while len(parts) > 1:
        if parts[-1] in QUANTIZATION:
            quantized = True
        elif parts[-1] in MODES:
            mode = parts[-1]
        elif parts[-1] == "zdr":
            zdr = True
        else:
            break
        parts.pop()
    region = ""
    for cut in range(1, len(parts)):
        tail = "-".join(parts[cut:])
        if REGION.match(tail):
            region, parts = tail, parts[:cut]
            break
    if parts[-1] == "zdr":
        zdr, parts = True, parts[:-1]
    name = "-".join(parts)
    if name == "claude-on-aws":
        name, region = "amazon-bedrock", "claude-on-aws"
    if name == "openai" and mode == "fast":
        mode = "priority"  # the name under which OpenAI's API asks for it and reports it
    return CANONICAL.get(name, name), region, mode, quantized or zdr


def prices_of(cells: dict) -> Prices:
    """A row of our own files, in USD per million tokens (per thousand requests and searches)."""

    def rates(values: dict) -> dict[str, int]:
        return {k: atto(Decimal(v), PER[k]) for k, v in values.items() if k != "over"}

    own = rates(cells)
    if own.get("think") == own.get("out"):
        own.pop("think", None)  # reasoning is output, in every tier
    return Prices.of(own, {int(n): rates(t) for n, t in cells.get("over", {}).items()})


def corrected(model: str, shown: str, cells: dict, correction: dict) -> tuple[str, dict, str]:
    """The row as it should be; fails when the source no longer says what was wrong."""
    cells = dict(cells)
    for rate, (wrong, right) in correction["change"].items():
        assert cells.get(rate) == wrong, (
            f"{model} {shown}: {rate} is {cells.get(rate)}, the correction is of {wrong}"
        )
        if right is None:
            del cells[rate]
        else:
            cells[rate] = right
    source = "drop" if correction.get("drop") else "correction" if correction["change"] else "openrouter"
    return correction.get("as", shown), cells, source


def genai_prices(price: ModelPrice) -> Prices:
    rates: dict[str, int] = {}
    tiers: dict[int, dict[str, int]] = defaultdict(dict)
    other = False
    for key, value in price.__dict__.items():
        if value is None:
            continue
        rate = GENAI_RATES.get(key)
        if rate is None:
            other |= key not in ("storage_searches_kcount", "cache_image_read_mtok", "output_citation_mtok")
            continue
        per = PER[rate]
        if isinstance(value, TieredPrices):
            rates[rate] = atto(value.base, per)
            for tier in value.tiers:
                tiers[tier.start][rate] = atto(tier.price, per)
        else:
            rates[rate] = atto(value, per)
    if not price.__dict__:
        return FREE  # how genai-prices says that a model is free
    return Prices.of(rates, tiers, other and "in" not in rates and "out" not in rates)


def minutes(moment: time) -> int:
    assert moment.tzinfo in (None, UTC) or moment.utcoffset() == timedelta(0), moment
    return moment.hour * 60 + moment.minute


def genai_timeline(model: ModelInfo) -> list[Step]:
    if isinstance(model.prices, ModelPrice):
        return [Step(None, genai_prices(model.prices), "manual")]
    out: list[Step] = []
    for conditional in model.prices:
        assert isinstance(conditional, ConditionalPrice)
        start, hours = None, None
        if isinstance(conditional.constraint, StartDateConstraint):
            start = conditional.constraint.start_date
        elif isinstance(conditional.constraint, TimeOfDateConstraint):
            # genai-prices gives its hours no date: they came with the newest dated price before them.
            start = max((s.start for s in out if s.start), default=None)
            hours = (minutes(conditional.constraint.start_time), minutes(conditional.constraint.end_time))
        out.append(Step(start, genai_prices(conditional.prices), "manual", hours))
    if out and out[0].start is not None:
        out[0] = replace(out[0], start=None)  # genai-prices: before its first date the first price applies
    return out


WHEN = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("speed", "fast"): "fast",
}


def genai_modes(model: ModelInfo) -> dict[str, Prices]:
    """The newest prices of each mode. Their start dates are of the look-up, not of a change."""
    newest = datetime(2100, 1, 1, tzinfo=UTC)
    out = {}
    for variant in model.price_variants or []:
        if len(variant.when) == 1 and (mode := WHEN.get(next(iter(variant.when.items())))):
            out[mode] = genai_prices(model.get_prices(newest, variant.when))
    return out


def genai_names(provider, model: ModelInfo) -> set[str]:
    """Every name that can be listed: exact ones, and the fixed part of patterns that names this model."""
    names = {model.id}
    first = re.split(r"[-.:/]", model.id)[0]

    def walk(clause) -> None:
        for child in getattr(clause, "or_", None) or []:
            walk(child)
        if isinstance(clause, ClauseEquals):
            names.add(clause.equals)
            return
        text = getattr(clause, "starts_with", None) or getattr(clause, "contains", None)
        text = text or getattr(clause, "ends_with", None)
        if isinstance(clause, ClauseRegex):
            text = re.sub(r"[-@\[\]]*(\(|\\d|\[|\$|\.).*$", "", clause.regex.lstrip("^").replace("\\.", "."))
        elif not isinstance(clause, (ClauseStartsWith, ClauseContains, ClauseEndsWith)):
            return
        text = (text or "").strip("-:/")
        if text and re.split(r"[-.:/]", text)[0] == first and provider.find_model(text) is model:
            names.add(text)

    walk(model.match)
    return {n for n in names if n}


REGION_PREFIX = re.compile(r"^(us-gov|us|eu|apac|global|regional|jp|au|ca|in)\.")
BEDROCK_VENDORS = [
    "anthropic",
    "amazon",
    "meta",
    "mistral",
    "cohere",
    "ai21",
    "deepseek",
    "openai",
    "qwen",
    "stability",
    "writer",
    "google",
    "minimax",
    "moonshot",
    "moonshotai",
    "nvidia",
    "zai",
    "twelvelabs",
    "luma",
    "xai",
]


def bedrock(name: str) -> tuple[str, str]:
    """A Bedrock id as region prefix and model name."""
    name = name.lower().rsplit("/", 1)[-1]
    region = ""
    if found := REGION_PREFIX.match(name):
        region, name = found.group(1), name[found.end() :]
    vendor, _, rest = name.partition(".")
    if rest and vendor in BEDROCK_VENDORS:
        name = rest
    return region, fold(name)


class Catalogue:
    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, Row]] = defaultdict(dict)  # folded model name -> rows
        self.loose: set[tuple[str, Key]] = (
            set()
        )  # rows of which several variants exist: the cheapest was kept
        self.disagreements: list[dict] = []
        self.primary_rows: dict[
            tuple[str, Key], Row
        ] = {}  # OpenRouter's own, before anything is merged into them

    def build(self) -> None:
        self.openrouter = load("openrouter.json")
        self.snapshot = date.fromisoformat(self.openrouter["date"])
        self.add_openrouter()
        self.add_genai()
        self.join_dated_names()
        self.add_manual()
        self.add_short_names()

    def add_openrouter(self) -> None:
        plain: dict[tuple[str, Key], bool] = {}
        corrections = load("corrections.json")
        for model, cost in self.openrouter["models"].items():
            base, _, mode_of_name = model.partition(":")
            assert mode_of_name in ("", "batch", "free"), model
            name = folded_model(base.lstrip("~"))
            for shown, cells in sorted(cost.items()):
                source = "openrouter"
                for correction in corrections:
                    if model in correction["models"] and any(
                        fnmatchcase(shown, r) for r in correction["rows"]
                    ):
                        shown, cells, source = corrected(model, shown, cells, correction)
                        correction.setdefault("corrected", set()).add(model)
                        break
                if source == "drop":
                    continue
                provider, region, mode, variant = (
                    ("openrouter", "", "standard", False) if shown == "default" else split_provider(shown)
                )
                mode = mode_of_name or mode
                prices = prices_of(cells)
                key = (provider, region, mode)
                old = self.rows[name].get(key)
                if old is not None:
                    if plain[name, key] and variant:
                        continue
                    old_rates, new_rates = dict(old.timeline[0].prices.rates), dict(prices.rates)
                    if not variant and not plain[name, key]:
                        self.loose.discard((name, key))
                    elif old_rates != new_rates:
                        self.loose.add((name, key))
                        if old_rates["in"] + old_rates["out"] <= new_rates["in"] + new_rates["out"]:
                            continue
                plain[name, key] = not variant
                self.rows[name][key] = Row(model, shown, [Step(None, prices, source)])
                self.primary_rows[name, key] = replace(self.rows[name][key])
        for correction in corrections:
            missing = set(correction["models"]) - correction.get("corrected", set())
            assert not missing, f"a correction of what is not there: {missing} {correction['rows']}"

    def add_genai(self) -> None:
        for source in genai_providers:
            provider = GENAI_CANONICAL.get(source.id, fold(source.id))
            # A model that is named by its id must not be taken by another one's alias.
            seen: dict[tuple[str, Key], str] = {}
            plain = [(m.id, m) for m in source.models if "/" not in m.id]
            paths = [(m.id, m) for m in source.models if "/" in m.id]
            aliases = [(n, m) for m in source.models for n in sorted(genai_names(source, m) - {m.id})]
            # OpenRouter's own ids have a path; the others in its list are old. Elsewhere a path is a variant.
            for name, model in (
                [*paths, *plain, *aliases] if source.id == "openrouter" else [*plain, *paths, *aliases]
            ):
                self.add_genai_name(provider, model, name, seen)

    def add_genai_name(self, provider: str, model: ModelInfo, name: str, seen: dict) -> None:
        region, mode_of_name = "", "standard"
        base, _, suffix = name.partition(":")
        if suffix in ("free", "batch"):
            name, mode_of_name = base, suffix
        if provider == "amazon-bedrock":
            region, folded = bedrock(name)
        else:
            folded = folded_model(name)
        for mode, timeline in [
            (mode_of_name, genai_timeline(model)),
            *((m, [Step(None, p, "manual")]) for m, p in sorted(genai_modes(model).items())),
        ]:
            key = (provider, region, mode)
            if (
                seen.get((folded, key), model.id) != model.id
                and name == model.id
                and provider != "openrouter"
            ):
                folded = fold(name)  # `perplexity/sonar` is not `sonar`: it goes by its whole name
            if (folded, key) in seen:
                continue
            seen[folded, key] = model.id
            row = self.rows[folded].get(key)
            if row is None:
                primary = self.primary(provider, model, key) if name != model.id else None
                self.rows[folded][key] = primary or Row(model.id, provider, timeline)
            else:
                row.timeline = self.merge(folded, key, row, timeline)

    def primary(self, provider: str, model: ModelInfo, key: Key) -> Row | None:
        """OpenRouter's row of the model that an alias (`gpt-5-mini-2025-08-07`) stands for.

        Models come before aliases, so it is there already.
        """
        name = bedrock(model.id)[1] if provider == "amazon-bedrock" else folded_model(model.id)
        row = self.rows.get(name, {}).get(key)
        return row if row and any(step.source != "manual" for step in row.timeline) else None

    def join_dated_names(self) -> None:
        """A dated id that costs what OpenRouter's undated row says is that row under another name."""
        for name in sorted(self.rows):
            # `nova-lite-v1:0` is OpenRouter's `nova-lite-v1`; a shorter form drops both.
            forms = [re.sub(r"(-v\d+)-\d$", r"\1", name), *stripped(name)[1:]]
            shorter = [
                s for s in forms if s != name and not re.search("preview|latest|default", name[len(s) :])
            ]
            for key, row in self.rows[name].items():
                short = next((s for s in shorter if (s, key) in self.primary_rows), None)
                if (
                    short is None
                    or (name, key) in self.primary_rows
                    or any(s.source != "manual" for s in row.timeline)
                ):
                    continue
                primary = self.primary_rows[short, key]
                mine, theirs = (dict(r.timeline[-1].prices.rates) for r in (primary, row))
                if {"in", "out"} <= mine.keys() & theirs.keys() and all(
                    mine[r] == theirs[r] for r in mine if r in theirs
                ):
                    self.rows[name][key] = replace(
                        primary, timeline=self.merge(name, key, primary, row.timeline)
                    )

    def merge(self, name: str, key: Key, row: Row, timeline: list) -> list:
        """OpenRouter's price now, with what its row lacks, and the other source's history around it."""
        mine, source = row.timeline[0].prices, row.timeline[0].source
        dated = [s for s in timeline if s.hours is None]
        known = [s for s in dated if s.start is None or s.start <= self.snapshot]
        later = [s for s in timeline if s not in known]
        start, theirs = known[-1].start, known[-1].prices
        rates, other = dict(mine.rates), dict(theirs.rates)
        tiers = {n: dict(t) for n, t in theirs.tiers}
        for rate, value in other.items():
            if rate == "request" and "search" in rates:
                continue  # two readings of one fee
            if rate not in rates:
                rates[rate] = value
            elif rates[rate] != value:
                self.disagreements.append(
                    {
                        "model": name,
                        "row": "/".join(key),
                        "rate": rate,
                        "openrouter": rates[rate],
                        "genai": value,
                    }
                )
                for tier in tiers.values():
                    tier.pop(rate, None)
        for tier in tiers.values():
            # A modality at the text price is at the text price above the threshold too.
            for rate, text in (("audio", "in"), ("image", "in"), ("audio_read", "read")):
                if text in tier and rate in rates and rates[rate] == rates.get(text):
                    tier.setdefault(rate, tier[text])
        merged = Prices.of(rates, tiers)
        # Until a later price is known to differ from the snapshot's, the snapshot stands.
        return [
            *known[:-1],
            Step(start, merged, source),
            *(s for s in later if dict(s.prices.rates) != other),
        ]

    def add_manual(self) -> None:
        for model, cost in load("manual.json").items():
            for provider, cells in cost.items():
                rows, key = self.rows[folded_model(model)], (provider, "", "standard")
                if "instead" in cells:  # of what genai-prices says, with the reason
                    steps = [
                        Step(
                            date.fromisoformat(step["from"]) if "from" in step else None,
                            prices_of(step["prices"]),
                            "correction",
                            tuple(minutes(time.fromisoformat(t)) for t in step["hours"])
                            if "hours" in step
                            else None,
                        )
                        for step in cells["history"]
                    ]
                    rows[key] = Row(model, provider, steps)
                else:
                    rows.setdefault(key, Row(model, provider, [Step(None, prices_of(cells), "manual")]))

    def add_short_names(self) -> None:
        """`claude-sonnet-4` for `claude-sonnet-4-20250514`, where no other price has that name."""
        wanted: dict[str, dict[Key, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for name in sorted(self.rows):
            for before, short in pairwise(stripped(name)):
                if re.search(r"-(v\d+(-\d)?|latest)$", before):
                    break  # two versions are two models, and `-latest` is an alias already
                for key, row in self.rows[name].items():
                    wanted[short][key].append(row)
        for short, keys in wanted.items():
            taken = {key[0] for key in self.rows.get(short, {})}
            for key, rows in keys.items():
                if key[0] in taken or any(r.timeline[-1].prices != rows[0].timeline[-1].prices for r in rows):
                    continue
                self.rows[short][key] = rows[0]


class Pool:
    """Equal things once, numbered in the order of their first use."""

    def __init__(self) -> None:
        self.index: dict = {}

    def add(self, thing) -> int:
        return self.index.setdefault(thing, len(self.index))

    def __iter__(self):
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)


class Heap:
    """Equal byte strings once, known by their place: two bytes each, and no table of offsets."""

    def __init__(self) -> None:
        self.places: dict[bytes, int] = {}
        self.data = b""

    def add(self, item: bytes) -> int:
        if item not in self.places:
            self.places[item] = len(self.data)
            self.data += item
            assert len(self.data) < 1 << 16, "a section has outgrown its two-byte places"
        return self.places[item]

    def __len__(self) -> int:
        return len(self.places)


def name_hash(text: bytes) -> int:
    """As in core/src/price/catalogue.rs."""
    value = len(text)
    for at in range(0, len(text), 8):
        word = int.from_bytes(text[at : at + 8], "little")
        value = ((value ^ word) * 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
        value ^= value >> 32
    return value & 0xFFFF_FFFF


def hash_index(names: list[bytes]) -> list[int]:
    size = 1
    while size < len(names) * 3 // 2:
        size *= 2
    slots = [0] * size
    for number, name in enumerate(names):
        at = name_hash(name) & (size - 1)
        while slots[at]:
            at = (at + 1) & (size - 1)
        slots[at] = number + 1
    return slots


def encode(catalogue: Catalogue) -> tuple[bytes, dict[str, int]]:
    numbers, strings, sets, rows, lists = Pool(), Pool(), Heap(), Heap(), Heap()

    def encoded_rates(rates) -> bytes:
        mask, cells = 0, b""
        for bit, rate in enumerate(RATES):
            if (value := dict(rates).get(rate)) is not None:
                mask |= 1 << bit
                cells += struct.pack("<H", numbers.add(value))
        return struct.pack("<H", mask) + cells

    def encoded_set(prices: Prices) -> bytes:
        body = encoded_rates(prices.rates)
        if prices.other_unit:
            body = struct.pack("<H", struct.unpack("<H", body[:2])[0] | OTHER_UNIT) + body[2:]
        body += bytes([len(prices.tiers)])
        for threshold, rates in prices.tiers:
            body += struct.pack("<I", threshold) + encoded_rates(rates)
        return body

    def encoded_row(row: Row) -> bytes:
        body = struct.pack("<HHB", strings.add(row.model), strings.add(row.shown_as), len(row.timeline))
        for step in row.timeline:
            day = 0 if step.start is None else (step.start - EPOCH).days
            flags = SOURCES.index(step.source) | (AT_HOURS if step.hours else 0)
            body += struct.pack("<HHB", day, sets.add(encoded_set(step.prices)), flags)
            if step.hours:
                body += struct.pack("<HH", *step.hours)
        return body

    in_use = {key[0] for rows_ in catalogue.rows.values() for key in rows_}
    known = sorted(in_use | set(PROVIDERS))
    number = {name: i for i, name in enumerate(known)}
    regions = sorted({key[1] for rows_ in catalogue.rows.values() for key in rows_})

    def entries(name: str, rows_: dict[Key, Row]) -> bytes:
        body = b""
        ordered = sorted(
            rows_.items(), key=lambda item: (number[item[0][0]], MODES.index(item[0][2]), item[0][1])
        )
        for key, row in ordered:
            provider, region, mode = key
            flags = 1 if (name, key) in catalogue.loose else 0
            body += struct.pack(
                "<BBBBH",
                number[provider],
                regions.index(region),
                MODES.index(mode),
                flags,
                rows.add(encoded_row(row)),
            )
        return bytes([len(rows_)]) + body

    lists_of = {name: entries(name, rows_) for name, rows_ in sorted(catalogue.rows.items())}
    # A name from which dropping a neutral tail leads to the very same prices need not be listed.
    names = []
    for name, body in lists_of.items():
        if not any(lists_of.get(short) == body for short in stripped(name)[1:]):
            names.append((name.encode(), lists.add(body)))

    aliases = {fold(n): number[n] for n in known} | {a: number[n] for a, n in CANONICAL.items()}
    alias_names = sorted(aliases)
    makers = {v: number[name] for name, p in PROVIDERS.items() for v in p.get("makes", [])}

    sections: list[bytes] = []

    def section(data: bytes) -> None:
        sections.append(data)

    def blobs(items) -> None:
        """Offsets (one more than items), then the bytes."""
        offsets, at = [], 0
        items = list(items)
        for item in items:
            offsets.append(at)
            at += len(item)
        slots([*offsets, at])
        section(b"".join(items))

    def slots(values: list[int]) -> None:
        section(b"".join(struct.pack("<H", v) for v in values))

    section(b"".join(struct.pack("<Q", n) for n in numbers))
    blobs(s.encode() for s in strings)
    section(sets.data)
    section(rows.data)
    section(lists.data)
    blobs(name for name, _ in names)
    slots([number_ for _, number_ in names])
    slots(hash_index([name for name, _ in names]))
    blobs(n.encode() for n in known)
    section(bytes(1 if PROVIDERS.get(n, {}).get("local") else 0 for n in known))
    blobs(bytes(number[f] for f in PROVIDERS.get(n, {}).get("fallback", [])) for n in known)
    blobs(n.encode() for n in alias_names)
    slots([aliases[n] for n in alias_names])
    slots(hash_index([n.encode() for n in alias_names]))
    blobs(v.encode() for v in sorted(makers))
    section(bytes(makers[v] for v in sorted(makers)))
    blobs(r.encode() for r in regions)
    about = f"openrouter {catalogue.snapshot.isoformat()}, genai-prices {version('genai-prices')}"
    section(about.encode())
    at, offsets = 12 + 4 * len(sections), []
    for data in sections:
        offsets.append(at)
        at += len(data)
    header = b"llmprice" + struct.pack(f"<I{len(sections)}I", len(sections), *offsets)
    stats = {
        "numbers": len(numbers), "strings": len(strings), "sets": len(sets), "rows": len(rows),
        "lists": len(lists), "names": len(names), "providers": len(known), "aliases": len(aliases),
        "all names": len(lists_of), "bytes": at,
    }  # fmt: skip
    return header + b"".join(sections), stats


def first_party() -> str:
    """One line a model: its price per million tokens on a fixed day, standard mode, below any threshold."""
    day = datetime(2026, 11, 1, tzinfo=UTC)
    lines = []
    for source in genai_providers:
        if source.id not in FIRST_PARTY:
            continue
        for model in source.models:
            prices = model.get_prices(day)
            line = {"provider": GENAI_CANONICAL.get(source.id, source.id), "model": model.id}
            if source.id == "aws":
                line["model"] = re.sub(r"^regional\.", "us.", model.id)
            for side, price in (("input", prices.input_mtok), ("output", prices.output_mtok)):
                base = price.base if isinstance(price, TieredPrices) else price
                line[side] = None if base is None else f"{base.normalize():f}"
            if genai_prices(prices) == FREE:
                line["input"] = line["output"] = "0"
            line["tokens"] = not genai_prices(prices).other_unit
            lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    catalogue = Catalogue()
    catalogue.build()
    if "--cross-check" in arguments:
        return cross_check(catalogue)
    data, stats = encode(catalogue)
    outputs = {OUTPUT: data, FIRST_PARTY_OUTPUT: first_party().encode()}
    if "--check" in arguments:
        stale = [
            path for path, content in outputs.items() if not path.exists() or path.read_bytes() != content
        ]
        for path in stale:
            print(f"{path} is not what the sources give: run `make prices`", file=sys.stderr)
        return 1 if stale else 0
    for path, content in outputs.items():
        path.write_bytes(content)
    print(", ".join(f"{k} {v}" for k, v in stats.items()))
    return 0


def cross_check(catalogue: Catalogue) -> int:
    """Print what the two sources say differently, in USD per million tokens (per thousand searches)."""
    reviewed, new = load("reviewed.json"), 0
    used: set[int] = set()
    for item in catalogue.disagreements:
        mark = "NEW"
        for number, review in enumerate(reviewed):
            if all(fnmatchcase(item[key], review[key]) for key in ("row", "model", "rate")):
                mark = review["why"]
                used.add(number)
                break
        new += mark == "NEW"
        scale = PER[item["rate"]]
        ours, theirs = (Decimal(item[key] * scale) / 10**18 for key in ("openrouter", "genai"))
        print(f"{item['model']:40} {item['row']:30} {item['rate']:10} {ours:f} / {theirs:f}  {mark}")
    stale = [r for n, r in enumerate(reviewed) if n not in used]
    for review in stale:
        print(f"reviewed, but the sources agree now: {review}")
    print(f"{len(catalogue.disagreements)} disagreements, {new} not reviewed")
    return 1 if new or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
