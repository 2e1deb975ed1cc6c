"""Roofline rows: how near each variant comes to what the device can do, and why its ratio is what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.report import figures
from quantcheck.report.ceilings import ceiling_of
from quantcheck.report.cells import CellIndex
from quantcheck.report.predicted_memory import KV_BYTES
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import ExplanationRow, Figure, RooflineRow, SpeedRow
from quantcheck.stats import t_interval
from quantcheck.stats.explanation import (
    Observed,
    Reading,
    bound_by,
    explain,
    explain_baseline,
    explain_loads,
    read_ratio,
)
from quantcheck.stats.prediction import MOST_STREAMS, Model, Serving, crossover, overhead_s, predicted_ratio
from quantcheck.stats.roofline import Shape, Weights, prefill_step

__all__ = ["roofline", "roofline_missing"]

Artifacts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _At:
    """A variant at a load: what the roofline rests on."""

    observed: Observed
    cycle_s: float


def roofline_missing(index: CellIndex, artifacts: Artifacts, environment: Mapping[str, Any]) -> str | None:
    """Why there is no roofline at all; None when there is one, or when nobody would look for it."""
    if not index.loads or index.experiment.engine.kind == "fake" or not any(index.load_cells(index.baseline)):
        return None
    if index.experiment.engine.kind == "openai":
        return "your own servers: what they run and on which machine is not known here"
    if not environment.get("ceilings"):
        return "the machine's ceilings were not measured; a run of this version measures them"
    found = _model(index, index.baseline, artifacts, environment)
    return found if isinstance(found, str) else None


def roofline(
    index: CellIndex, artifacts: Artifacts, environment: Mapping[str, Any], speed: Sequence[SpeedRow]
) -> tuple[list[RooflineRow], list[ExplanationRow]]:
    """A row per load and variant, and a sentence per workload and variant over its smallest and largest load.

    `speed` gives the measured ratios. Nothing when the baseline has no roofline (`roofline_missing` says why).
    """
    if index.experiment.engine.kind == "fake" or roofline_missing(index, artifacts, environment):
        return [], []
    at = _positions(index, artifacts, environment)
    ratios = {(row.load, row.variant): row.ratio for row in speed if row.metric == THROUGHPUT}
    rows: list[RooflineRow] = []
    told: dict[tuple[str, str], list[tuple[Observed, Reading, str]]] = {}
    for load in index.loads:
        for name in index.variants:
            here = at.get((load, name))
            if not isinstance(here, _At):
                rows.append(_missing_row(load, name, here or index.missing(name, load)))
                continue
            row, reading = _row(index, load, here, at, ratios.get((load, name), Figure(reason="no ratio")))
            rows.append(row)
            if reading is not None and row.measured.value is not None:
                told.setdefault((_workload(load), name), []).append((here.observed, reading, _said(row.measured)))
    return rows, [ExplanationRow(workload=workload, variant=name, sentence=explain_loads(readings))
                  for (workload, name), readings in told.items()]


def _workload(load: str) -> str:
    return load.rsplit("@", 1)[0]


def _positions(index: CellIndex, artifacts: Artifacts, environment: Mapping[str, Any]) -> dict[
        tuple[str, str], _At | str]:
    found: dict[tuple[str, str], _At | str] = {}
    for name in index.variants:
        model = _model(index, name, artifacts, environment)
        for load in index.loads:
            found[load, name] = model if isinstance(model, str) else _at(index, name, load, model)
    return found


def _model(index: CellIndex, name: str, artifacts: Artifacts, environment: Mapping[str, Any]) -> Model | str:
    recipe = artifacts.get(name, {})
    architecture, read = recipe.get("architecture"), recipe.get("read_bytes")
    if "architecture" not in recipe or not read:
        return "the recipe, made by an older version, does not say what the weights are made of; run again"
    shape = Shape.read(architecture or {})
    if shape is None:
        return "the model is not Llama-like: its bytes and arithmetic are not modelled"
    table = float(read["embedding"] or read["head"])
    weights = Weights(float(read["layers"]), float(read["head"]), table / shape.vocabulary)
    engines = [cell.record["result"].get("engine", {}) for cell in index.load_cells(name)]
    engine = engines[0] if engines else {}
    cuda = index.experiment.engine.kind != "llama.cpp" and engine.get("device") != "cpu"
    ceiling = ceiling_of(
        environment.get("ceilings"), cuda=cuda, threads=engine.get("threads"), scheme=str(recipe.get("scheme")),
        working_set=weights.step,
    )
    if isinstance(ceiling, str):
        return ceiling
    devices = int(engine.get("tensor_parallel") or 1) if cuda else 1  # ranks on a processor share it
    return Model(shape, weights, ceiling * devices, float(engine.get("kv_bytes_per_value") or KV_BYTES), devices)


def _at(index: CellIndex, name: str, load: str, model: Model) -> _At | str:
    results = [cell.record["result"] for cell in index.load(name, load).values()]
    tpot, rate = (_middle(index, name, load, key) for key in ("tpot", THROUGHPUT))
    if not results:
        return index.missing(name, load)
    if tpot is None or rate is None:
        return "no time per output token was measured at this load"
    requests = sum(int(result["requests"]) for result in results)
    batches = [result.get("metrics", {}).get("concurrency") or result.get("concurrency") for result in results]
    if not requests or not all(batches):
        return "the stored cells do not say how many requests were in flight"
    serving = Serving(
        batch=max(1.0, float(np.mean(batches))),  # a step holds at least one request
        prompt=sum(int(result["prompt_tokens"]) for result in results) / requests,
        output=sum(int(result["output_tokens"]) for result in results) / requests,
    )
    if serving.prompt <= 0 or serving.output <= 1:
        return "prompt or answer lengths are not known"
    return _At(Observed(name, model, serving, tpot), serving.batch * serving.output / rate)


def _middle(index: CellIndex, name: str, load: str, key: str) -> float | None:
    values = index.metric_by_block(name, load, key)
    return float(np.exp(np.mean(np.log(list(values.values()))))) if values else None


def _row(
    index: CellIndex, load: str, here: _At, at: Mapping[tuple[str, str], _At | str], measured: Figure
) -> tuple[RooflineRow, Reading | None]:
    observed, base = here.observed, at.get((load, index.baseline))
    model, serving = observed.model, observed.load
    work = model.decode(serving)
    fields: dict[str, Any] = {
        "load": load, "variant": observed.name, "batch": serving.batch, "context": serving.context,
        "bytes_per_token": Figure(value=work.bytes / serving.batch),
        "flops_per_token": Figure(value=work.flops / serving.batch),
        "mbu": _use(index, observed.name, load, "tpot", work.memory_s(model.ceiling)),
        "mfu": _use(index, observed.name, load, "tpot", work.compute_s(model.ceiling)),
        **_prefill(index, load, observed), "bound": bound_by(observed),
    }
    if observed.name == index.baseline:
        same = Figure(reason="is the baseline")
        return RooflineRow(**fields, predicted=same, measured=same, crossover=same,
                           explanation=explain_baseline(observed)), None
    if not isinstance(base, _At) or measured.value is None:
        unpaired = base if isinstance(base, str) else index.missing(index.baseline, load)
        gone = Figure(reason=measured.reason or unpaired)
        return RooflineRow(**fields, predicted=gone, measured=gone, crossover=gone,
                           explanation=explain_baseline(observed)), None
    overhead = overhead_s(base.observed.model, base.observed.load, base.cycle_s)
    predicted = predicted_ratio(base.observed.model, model, serving, overhead)
    reading = read_ratio(base.observed, observed, measured=measured.value, predicted=predicted)
    return RooflineRow(
        **fields, predicted=Figure(value=predicted), measured=measured, crossover=_crossover(index, load, here, at),
        explanation=explain(observed, reading, _said(measured)),
    ), reading


def _said(measured: Figure) -> str:
    """`1.26x`; with its interval where that holds 1x: a reason is no finding there."""
    unsettled = measured.low is not None and measured.high is not None and measured.low <= 1 <= measured.high
    return f"{measured.value:.2f}x" + (f" (95% CI {figures.interval(measured)})" if unsettled else "")


def _use(index: CellIndex, name: str, load: str, key: str, least_s: float) -> Figure:
    """A share of a ceiling, with its interval over blocks."""
    values = np.array(list(index.metric_by_block(name, load, key).values()))
    found = t_interval(np.log(least_s / values)).map_exp()
    return Figure(value=found.estimate, low=found.low, high=found.high, reason=found.reason)


def _prefill(index: CellIndex, load: str, observed: Observed) -> dict[str, Figure]:
    streams = next((point.concurrency for point in _points(index) if point.subject == load), None)
    if streams != 1:
        waits = Figure(reason="TTFT holds waiting and other requests' work; see the load with one stream")
        return {"prefill_mbu": waits, "prefill_mfu": waits}
    if not index.metric_by_block(observed.name, load, "ttft"):
        gone = Figure(reason="no TTFT was measured at this load")
        return {"prefill_mbu": gone, "prefill_mfu": gone}
    model = observed.model
    work = prefill_step(model.shape, model.weights, prompt=observed.load.prompt, kv_bytes=model.kv_bytes)
    return {"prefill_mbu": _use(index, observed.name, load, "ttft", work.memory_s(model.ceiling)),
            "prefill_mfu": _use(index, observed.name, load, "ttft", work.compute_s(model.ceiling))}


def _points(index: CellIndex) -> Sequence[Any]:
    return index.experiment.load.points() if index.experiment.load else []


def _crossover(index: CellIndex, load: str, here: _At, at: Mapping[tuple[str, str], _At | str]) -> Figure:
    """From all loads of the workload at which the baseline was measured."""
    base = [found for other in index.loads if _workload(other) == _workload(load)
            and isinstance(found := at.get((other, index.baseline)), _At)]
    overheads = [(found.observed.load.batch, overhead_s(found.observed.model, found.observed.load, found.cycle_s))
                 for found in base]
    margin = index.experiment.policy.margin.throughput_ratio
    batch = crossover(base[0].observed.model, here.observed.model, here.observed.load, overheads, margin)
    if batch is None:
        return Figure(reason=f"never, up to {MOST_STREAMS:,} requests at once")
    return Figure(value=float(batch))


def _missing_row(load: str, name: str, reason: str) -> RooflineRow:
    gone = Figure(reason=reason)
    return RooflineRow(
        load=load, variant=name, batch=None, context=None, bytes_per_token=gone, flops_per_token=gone, mbu=gone,
        mfu=gone, prefill_mbu=gone, prefill_mfu=gone, bound=None, predicted=gone, measured=gone, crossover=gone,
        explanation="", reason=reason,
    )
