"""Speed rows: every metric at every load as a ratio from paired blocks, percentiles, and memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcheck.errors import StoreError
from quantcheck.metrics import metric
from quantcheck.report.blocks import THROUGHPUT, figures_by_block, left_out, log_ratios, mean_noise, noise_of
from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.not_measured import YOUR_SERVERS
from quantcheck.report.pairs import unlike_hashes
from quantcheck.report.quality import figure
from quantcheck.report.records import cell_names
from quantcheck.report.requests import token_gaps
from quantcheck.report.summary import (
    Figure,
    LoadRow,
    MeanSpeedRow,
    MemoryRow,
    PercentileRow,
    SpeedRow,
    SpeedSummary,
    SpeedWord,
)
from quantcheck.stats import (
    PERCENTILE_SUPPORT,
    Ratio,
    SpeedVerdict,
    geometric_mean,
    judge_speed,
    ratio_interval,
    supported_percentile,
    t_interval,
)

__all__ = [
    "SPEED_METRICS",
    "THROUGHPUT",
    "load_row",
    "mean_row",
    "mean_rows",
    "memory_row",
    "ratio_figure",
    "speed_metrics",
    "speed_row",
    "speed_rows",
    "speed_summary",
]

UNPAIRED = "no block holds both this variant and the baseline"

SPEED_METRICS = (THROUGHPUT, "request_throughput", "ttft", "tpot", "itl", "e2e")
"""What is compared at every load."""


def ratio_figure(ratio: Ratio) -> Figure:
    """A speed ratio as a figure."""
    return Figure(value=ratio.estimate, low=ratio.low, high=ratio.high, reason=ratio.reason)


def speed_metrics(index: CellIndex) -> list[str]:
    """What is compared at every load: goodput only with an SLO, the phases apart where the engine times them."""
    split = ["prefill_throughput", "decode_throughput"] if index.experiment.engine.kind == "transformers" else []
    return [*SPEED_METRICS, *split, *(["goodput"] if index.experiment.slo is not None else [])]


def speed_rows(index: CellIndex, variant: str) -> list[SpeedRow]:
    """A row per load and metric for one variant; the baseline's own rows have no ratio."""
    return [speed_row(index, variant, load, key) for load in index.loads for key in speed_metrics(index)]


def speed_row(index: CellIndex, variant: str, load: str, key: str) -> SpeedRow:
    """One metric at one load; whatever the metric, its better direction is called `faster`."""
    values = figures_by_block(index, variant, load, key)
    fields: dict[str, Any] = {"load": load, "metric": key, "variant": variant, "blocks": len(values)}
    if not values:
        why = "not in the stored cells" if index.load(variant, load) else index.missing(variant, load)
        if key == "goodput" and index.goodput(variant, load):
            why = "no request met the SLO"
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
    ratios = log_ratios(index, variant, load, key)
    gone_blocks = _left_out(index, variant)
    if not ratios:
        word: SpeedWord | None = "inconclusive" if gone_blocks else None
        return SpeedRow(**fields, ratio=Figure(reason=gone_blocks or UNPAIRED), spread=None, word=word,
                        reason=gone_blocks or UNPAIRED)  # fmt: skip
    ratio = ratio_interval(np.array(list(ratios.values())))
    fields["blocks"] = ratio.blocks
    verdict = _judge(index, ratio, key, noise_of(index, variant, load, key))
    return SpeedRow(
        **fields,
        ratio=ratio_figure(ratio),
        spread=ratio.spread,
        word=verdict.word,
        more_blocks=verdict.more_blocks,
        reason=_both(verdict.reason, gone_blocks),
    )


def _judge(index: CellIndex, ratio: Ratio, key: str, floor: float | None) -> SpeedVerdict:
    margin = index.experiment.policy.margin.throughput_ratio
    return judge_speed(ratio, higher_is_better=metric(key).better == "higher", margin=margin, floor=floor)


def _left_out(index: CellIndex, variant: str) -> str | None:
    """Which blocks are left out for the variant, in words."""
    gone = left_out(index, variant)
    if not gone:
        return None
    moved = ", ".join(f"{np.expm1(drift):+.1%}" for drift in gone.values())
    named = ", ".join(str(block + 1) for block in gone)
    return f"block{'' if len(gone) == 1 else 's'} {named} left out: the baseline itself changed by {moved} meanwhile"


def _both(*reasons: str | None) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None


def _unlike_work(index: CellIndex, variant: str, load: str) -> str | None:
    ours, theirs = index.load(index.baseline, load), index.load(variant, load)
    found = (unlike_hashes(ours[block], theirs[block]) for block in ours.keys() & theirs.keys())
    return next((reason for reason in found if reason), None)


def mean_row(index: CellIndex, variant: str, key: str) -> MeanSpeedRow:
    """One metric over all loads that compare: the geometric mean of the ratios, and its word."""
    if not index.loads:
        return _no_mean(variant, key, "no load in the experiment")
    if variant == index.baseline:
        return _no_mean(variant, key, "is the baseline")
    comparable = [load for load in index.loads if _unlike_work(index, variant, load) is None]
    logs = [log for load in comparable if (log := log_ratios(index, variant, load, key))]
    ratio = geometric_mean(logs)
    gone = _left_out(index, variant)
    if ratio is None:
        if logs:
            return _no_mean(variant, key, "no block holds all loads")
        if gone:
            return _no_mean(variant, key, gone, "inconclusive")
        if not any(index.load(variant, load) for load in index.loads):
            return _no_mean(variant, key, index.missing(variant, index.loads[0]))
        known = any(figures_by_block(index, variant, load, key) for load in index.loads)
        return _no_mean(variant, key, UNPAIRED if known else "not in the stored cells")
    verdict = _judge(index, ratio, key, mean_noise(index, variant, key))
    return MeanSpeedRow(
        metric=key,
        variant=variant,
        ratio=ratio_figure(ratio),
        loads=len(logs),
        blocks=ratio.blocks,
        spread=ratio.spread,
        word=verdict.word,
        more_blocks=verdict.more_blocks,
        reason=_both(verdict.reason, gone),
    )


def _no_mean(variant: str, key: str, reason: str, word: SpeedWord | None = None) -> MeanSpeedRow:
    return MeanSpeedRow(metric=key, variant=variant, ratio=Figure(reason=reason), loads=0, blocks=0, spread=None,
                        word=word, reason=reason)  # fmt: skip


def mean_rows(index: CellIndex, variant: str) -> list[MeanSpeedRow]:
    """A row per metric; none for the baseline, and none without loads."""
    if variant == index.baseline or not index.loads:
        return []
    return [mean_row(index, variant, key) for key in speed_metrics(index)]


def speed_summary(index: CellIndex, variant: str) -> SpeedSummary:
    """Output throughput over all loads that compare: the geometric mean of the ratios, and its word."""
    row = mean_row(index, variant, THROUGHPUT)
    return SpeedSummary(**row.model_dump(exclude={"metric", "variant", "spread"}))


def load_row(index: CellIndex, variant: str, load: str) -> LoadRow:
    """Requests, failures and percentiles of one variant at one load, all blocks together."""
    cells = index.load(variant, load)
    samples: dict[str, list[Any]] = {"ttft": [], "itl": [], "tpot": [], "e2e": []}
    requests = failed = good = 0
    without = None
    for block, read in index.requests(variant, load).items():
        result = cells[block].record["result"]
        requests += int(result["requests"])
        failed += int(result["requests"]) - int(result["outcomes"].get("ok", 0))
        ok = read.own & read.ok
        if result.get("measured_by") == "engine":
            ok &= read.request % int(result["batch_size"]) == 0  # the prompts of a batch share its times
        good += int(ok.sum())
        sent, first, last = read.sent[ok], read.first[ok], read.last[ok]
        gaps = read.tokens[ok] - 1
        samples["ttft"].append(first - sent)
        samples["e2e"].append(last - sent)
        samples["tpot"].append((last - first)[gaps > 0] / gaps[gaps > 0])
        if (why := result.get("missing", {}).get("itl")) is not None:
            without = str(why)
            continue
        try:
            samples["itl"].append(token_gaps(read, cells[block].table("chunks")))
        except (KeyError, StoreError):
            without = "the stamps of the chunks are not stored"
    rows = []
    for key, parts in samples.items():
        values = np.concatenate(parts) if parts else np.array([])
        for name in ("p90", "p95", "p99"):
            if not cells:
                value = Figure(reason=index.missing(variant, load))
            elif key == "itl" and without:
                value = Figure(reason=without)
            else:
                # Tokens of one request are not independent: their requests are what supports a percentile.
                value = _percentile(values, name, good if key == "itl" else len(values))
            rows.append(PercentileRow(metric=key, percentile=name, value=value))
    return LoadRow(
        load=load, variant=variant, blocks=len(cells), requests=requests, failed=failed, percentiles=rows,
        saturated=sum(_saturated(cell) for cell in cells.values()),
        schedule_lag=_lag(index, variant, load, "schedule_lag"), read_lag=_lag(index, variant, load, "read_lag"),
        cells=cell_names(cells.values()),
    )  # fmt: skip


def _saturated(cell: Cell) -> bool:
    """An open loop whose latencies grew until its end: what they are depends on how long it was measured."""
    result = cell.record["result"]
    return result.get("rate") is not None and result.get("window", {}).get("steady") is False


def _lag(index: CellIndex, variant: str, load: str, key: str) -> Figure:
    """How late the client itself was: the worst block's p99, s."""
    results = [cell.record["result"] for cell in index.load(variant, load).values()]
    if not results:
        return Figure(reason=index.missing(variant, load))
    found = [lag["p99"] for result in results if (lag := result.get("client", {}).get(key))]
    if found:
        return Figure(value=float(max(found)))
    closed = key == "schedule_lag" and all(result.get("rate") is None for result in results)
    return Figure(reason="closed loop: nothing is sent by a schedule" if closed else "the client does not tell")


def _percentile(values: Any, name: str, requests: int) -> Figure:
    if not supported_percentile(name, requests) or not len(values):
        return Figure(reason=f"{requests} requests; {name} needs {PERCENTILE_SUPPORT[name]}")
    return Figure(value=float(np.quantile(values, float(name[1:]) / 100)))


def memory_row(index: CellIndex, variant: str, recipe_bytes: int | None) -> MemoryRow:
    """Largest memory figures over the variant's load cells; weights from the recipe when no load ran."""
    results = [cell.record["result"] for cell in index.load_cells(variant)]
    memories = [_of_all_ranks(result) for result in results]
    none = index.missing(variant, index.loads[0]) if index.loads else "no load in the experiment"

    def largest(key: str) -> Figure:
        found = [memory[key] for memory in memories if memory.get(key)]  # 0 bytes is no size
        if found:
            return Figure(value=float(max(found)))
        told = YOUR_SERVERS if index.experiment.engine.kind == "openai" else "the engine does not tell"
        return Figure(reason=told if results else none)

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
        allocated_bytes=largest("allocated_bytes"),
        peak_bytes=largest("peak_bytes"),
        ready_s=Figure(value=float(np.median(ready))) if ready else Figure(
            reason="your own server was there before" if results else none),
    )


def _of_all_ranks(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a cell says of memory; the log of a tensor-parallel engine tells the KV cache of one rank."""
    memory, ranks = result.get("memory", {}), result.get("engine", {}).get("tensor_parallel") or 1
    return {**memory, "kv_cache_bytes": (memory.get("kv_cache_bytes") or 0) * ranks}
