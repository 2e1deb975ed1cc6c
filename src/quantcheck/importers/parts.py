"""What an importer makes of one file: parts that become cells, and what is known of how they were measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantcheck.importers.fields import Wrong
from quantcheck.stats import PERCENTILE_SUPPORT, supported_percentile
from quantcheck.store import Table

__all__ = ["LOAD_KEYS", "Distribution", "Part", "Read", "load_part"]

LOAD_KEYS = ("output_throughput", "request_throughput", "input_throughput", "goodput", "ttft", "tpot", "itl",
             "chunk_gap", "e2e")
"""What a load cell may say: each is in the result's `metrics`, or in `missing` with its reason."""

Work = dict[str, str | float | None]


@dataclass(frozen=True)
class Part:
    """One cell to be. `work`: what must be alike for its figures to be compared, by name; None: not told.

    `result` is a cell's, without what `work` says. `tables`: raw samples, where the file has them.
    """

    kind: str
    subject: str
    result: dict[str, Any]
    work: Work
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """One file, read. `version`: the tool's, None: not told. `engine`, `engine_version`: as far as the tool tells.

    `groups`: of lm-eval, tasks that are made of others. `notes`: what was left out, one sentence each.
    """

    tool: str
    version: str | None
    parts: list[Part]
    engine: str | None = None
    engine_version: str | None = None
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Distribution:
    """What a tool says of one latency over requests: median in s, percentiles in s by name (`p90`)."""

    median: float
    percentiles: Mapping[str, float] = field(default_factory=dict)


def load_part(
    tool: str, point: str, *, rates: Mapping[str, float | str], latencies: Mapping[str, Distribution | str],
    outcomes: Mapping[str, int], work: Work, concurrency: int | None = None, rate: float | None = None,
    duration_s: float | None = None, prompt_tokens: float | None = None, output_tokens: float | None = None,
    **further: Any,
) -> Part:
    """A load cell. `rates` (per s) and `latencies` by metric; a sentence in place of a figure says why there is none.

    `outcomes`: requests by how they ended. `prompt_tokens`, `output_tokens`: means per request. Percentiles that the
    number of requests cannot support are left out. Raises `Wrong` for a figure below 0.
    """
    ok = outcomes.get("ok", 0)
    metrics: dict[str, float] = {}
    missing: dict[str, str] = {}
    percentiles: dict[str, dict[str, float]] = {}
    for key in LOAD_KEYS:
        found = rates.get(key, latencies.get(key, f"imported from {tool}: not in its results"))
        if isinstance(found, str):
            missing[key] = found
            continue
        value = found.median if isinstance(found, Distribution) else found
        if value < 0 or not math.isfinite(value):
            raise Wrong(f"{key} of {point} comes to {value:g}, which no measurement gives")
        if value == 0:
            missing[key] = f"{tool} tells 0, which is no figure"
            continue
        metrics[key] = value
        if isinstance(found, Distribution):
            percentiles[key] = {name: told for name, told in found.percentiles.items()
                                if name in PERCENTILE_SUPPORT and supported_percentile(name, ok)}
    if not metrics:
        raise Wrong(f"{point} has no figure: {sum(outcomes.values())} requests, {ok} of them ended well")
    result = {
        "requests": sum(outcomes.values()), "outcomes": dict(outcomes), "concurrency": concurrency, "rate": rate,
        "window_s": duration_s, "metrics": metrics, "missing": missing, "percentiles": percentiles,
        "percentiles_refused": {name: f"needs {need} requests, has {ok}" for name, need in PERCENTILE_SUPPORT.items()
                                if not supported_percentile(name, ok)},
        "prompt_tokens_mean": prompt_tokens, "output_tokens_mean": output_tokens, **further,
    }  # fmt: skip
    return Part("load", point, result, work)
