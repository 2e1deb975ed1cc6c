"""Speed rows: every metric at every load as a ratio from paired blocks, percentiles, and memory."""

from typing import Any

import numpy as np

from quantcheck.metrics import metric
from quantcheck.report.cells import CellIndex
from quantcheck.report.quality import figure, unlike_hashes
from quantcheck.report.summary import Figure, LoadRow, MemoryRow, PercentileRow, SpeedRow, SpeedSummary
from quantcheck.stats import (
    PERCENTILE_SUPPORT,
    Ratio,
    block_log_ratios,
    geometric_mean,
    judge_speed,
    speed_ratio,
    supported_percentile,
    t_interval,
)

__all__ = ["SPEED_METRICS", "THROUGHPUT", "load_row", "memory_row", "ratio_figure", "speed_rows", "speed_summary"]

THROUGHPUT = "output_throughput"
"""The metric that sums up a load in one figure."""

UNPAIRED = "no block holds both this variant and the baseline"

SPEED_METRICS = (THROUGHPUT, "request_throughput", "ttft", "tpot", "itl", "e2e")


def ratio_figure(ratio: Ratio) -> Figure:
    """A speed ratio as a figure."""
    return Figure(value=ratio.estimate, low=ratio.low, high=ratio.high, reason=ratio.reason)


def speed_rows(index: CellIndex, variant: str) -> list[SpeedRow]:
    """A row per load and metric for one variant; the baseline's own rows have no ratio."""
    return [_speed_row(index, variant, load, key) for load in index.loads for key in SPEED_METRICS]


def _speed_row(index: CellIndex, variant: str, load: str, key: str) -> SpeedRow:
    values = index.metric_by_block(variant, load, key)
    fields: dict[str, Any] = {"load": load, "metric": key, "variant": variant, "blocks": len(values)}
    if not values:
        why = "not in the stored cells" if index.load(variant, load) else index.missing(variant, load)
        gone = Figure(reason=why)
        return SpeedRow(**fields, value=gone, ratio=gone, spread=None, word=None, reason=why)
    logs = np.log(np.array(list(values.values())))
    fields["value"] = figure(t_interval(logs).map_exp())
    if variant == index.baseline:
        return SpeedRow(**fields, ratio=Figure(reason="is the baseline"), spread=None, word=None)
    unlike = _unlike_work(index, variant, load)
    if unlike:
        return SpeedRow(
            **fields, ratio=Figure(reason=unlike), spread=None, word="not comparable", reason=unlike
        )
    ratio = speed_ratio(index.metric_by_block(index.baseline, load, key), values)
    if ratio is None:
        return SpeedRow(**fields, ratio=Figure(reason=UNPAIRED), spread=None, word=None, reason=UNPAIRED)
    fields["blocks"] = ratio.blocks
    verdict = judge_speed(
        ratio,
        higher_is_better=metric(key).better == "higher",
        margin=index.experiment.policy.margin.throughput_ratio,
        floor=_floor(index, variant, load, key),
    )
    return SpeedRow(
        **fields,
        ratio=ratio_figure(ratio),
        spread=ratio.spread,
        word=verdict.word,
        more_blocks=verdict.more_blocks,
        reason=verdict.reason,
    )


def _floor(index: CellIndex, variant: str, load: str, key: str) -> float | None:
    """Log ratio of the baseline against itself; None when not measured, or when `variant` is that itself."""
    if variant == index.again:
        return None
    base, again = (index.metric_by_block(name, load, key) for name in (index.baseline, index.again))
    logs = block_log_ratios(base, again)
    return float(np.mean(list(logs.values()))) if logs else None


def _unlike_work(index: CellIndex, variant: str, load: str) -> str | None:
    ours, theirs = index.load(index.baseline, load), index.load(variant, load)
    found = (unlike_hashes(ours[block], theirs[block]) for block in ours.keys() & theirs.keys())
    return next((reason for reason in found if reason), None)


def speed_summary(index: CellIndex, variant: str) -> SpeedSummary:
    """Output throughput over all loads that compare: the geometric mean of the ratios, and its word."""
    if not index.loads:
        return _no_speed("no load in the experiment")
    if variant == index.baseline:
        return _no_speed("is the baseline")
    logs = []
    for load in index.loads:
        if _unlike_work(index, variant, load) is None:
            base, ours = (index.metric_by_block(v, load, THROUGHPUT) for v in (index.baseline, variant))
            logs.append(block_log_ratios(base, ours))
    logs = [log for log in logs if log]
    ratio = geometric_mean(logs)
    if ratio is None:
        if logs:
            return _no_speed("no block holds all loads")
        measured = any(index.load(variant, load) for load in index.loads)
        return _no_speed(UNPAIRED if measured else index.missing(variant, index.loads[0]))
    floors = [f for load in index.loads if (f := _floor(index, variant, load, THROUGHPUT)) is not None]
    verdict = judge_speed(
        ratio,
        higher_is_better=True,
        margin=index.experiment.policy.margin.throughput_ratio,
        floor=float(np.mean(floors)) if floors else None,
    )
    return SpeedSummary(
        ratio=ratio_figure(ratio),
        loads=len(logs),
        blocks=ratio.blocks,
        word=verdict.word,
        more_blocks=verdict.more_blocks,
        reason=verdict.reason,
    )


def _no_speed(reason: str) -> SpeedSummary:
    return SpeedSummary(ratio=Figure(reason=reason), loads=0, blocks=0, word=None, reason=reason)


def load_row(index: CellIndex, variant: str, load: str) -> LoadRow:
    """Requests, failures and percentiles of one variant at one load, all blocks together."""
    cells = list(index.load(variant, load).values())
    samples: dict[str, list[Any]] = {"ttft": [], "tpot": [], "e2e": []}
    requests = failed = 0
    for cell in cells:
        result, table = cell.record["result"], cell.table("requests")
        requests += int(result["requests"])
        failed += int(result["requests"]) - int(result["outcomes"].get("ok", 0))
        ok = np.asarray(table["outcome"]).astype(str) == "ok"
        if "phase" in table:  # warm-up and tail requests keep the streams busy, they are not measured
            ok &= np.asarray(table["phase"]).astype(str) == "measured"
        # Nor are those that were cut as warm: they came before the window's begin, which is 0.
        began = np.asarray(table["last_s"] if result.get("rate") is None else table["due_s"], dtype=np.float64)
        ok &= began >= 0
        sent, first, last = (np.asarray(table[k], dtype=np.float64)[ok] for k in ("sent_s", "first_s", "last_s"))
        gaps = np.asarray(table["output_tokens"])[ok] - 1
        samples["ttft"].append(first - sent)
        samples["e2e"].append(last - sent)
        samples["tpot"].append((last - first)[gaps > 0] / gaps[gaps > 0])
    rows = []
    for key, parts in samples.items():
        values = np.concatenate(parts) if parts else np.array([])
        for name in ("p90", "p95", "p99"):
            value = _percentile(values, name) if parts else Figure(reason=index.missing(variant, load))
            rows.append(PercentileRow(metric=key, percentile=name, value=value))
    return LoadRow(
        load=load, variant=variant, blocks=len(cells), requests=requests, failed=failed, percentiles=rows
    )


def _percentile(values: Any, name: str) -> Figure:
    if not supported_percentile(name, len(values)):
        return Figure(reason=f"{len(values)} requests; {name} needs {PERCENTILE_SUPPORT[name]}")
    return Figure(value=float(np.quantile(values, float(name[1:]) / 100)))


def memory_row(index: CellIndex, variant: str, recipe_bytes: int | None) -> MemoryRow:
    """Largest memory figures over the variant's load cells; weights from the recipe when no load ran."""
    results = [cell.record["result"] for cell in index.load_cells(variant)]
    none = index.missing(variant, index.loads[0]) if index.loads else "no load in the experiment"

    def largest(key: str) -> Figure:
        found = [m[key] for r in results if (m := r.get("memory", {})).get(key)]  # 0 bytes is no size
        if found:
            return Figure(value=float(max(found)))
        return Figure(reason="the engine does not tell" if results else none)

    weights = largest("weights_bytes")
    if weights.value is None and recipe_bytes:
        weights = Figure(value=float(recipe_bytes))
    ready = [r["ready_s"] for r in results if r.get("ready_s") is not None]
    return MemoryRow(
        variant=variant,
        weights_bytes=weights,
        rss_bytes=largest("rss_bytes"),
        pss_bytes=largest("pss_bytes"),
        kv_cache_bytes=largest("kv_cache_bytes"),
        ready_s=Figure(value=float(np.median(ready))) if ready else Figure(reason=none),
    )
