"""The policy's conditions, each held against one variant: met, not met, or open.

A condition is `met` or `not met` when that is a finding: by the verdict word, or because the whole 95% interval lies on
one side. Everything else is open, with what is missing.
"""

from collections.abc import Iterator
from typing import Literal

from quantcheck.report import figures
from quantcheck.report.cost_grids import usd
from quantcheck.report.costs import workload_of
from quantcheck.report.headline import Facts
from quantcheck.report.summary import (
    CapacityRow,
    Condition,
    CorpusRow,
    CostRow,
    Figure,
    GpuMemoryRow,
    MemoryRow,
    TaskRow,
    VariantRow,
)

__all__ = ["conditions", "is_asked"]

State = Literal["met", "not met", "open"]

QUALITY: dict[str | None, State] = {"safe": "met", "harmed": "not met"}
GIGA = 1e9


def is_asked(facts: Facts) -> bool:
    """Whether the policy asks for more than its margins: without, the decision is that of quality and speed alone."""
    policy = facts.policy
    return any((policy.price, policy.memory_gb, policy.minimum_speedup, facts.slo))


def conditions(facts: Facts, at: int) -> list[Condition]:
    """All conditions for the variant at place `at` of `facts.variants`; the baseline is asked none of quality or speed.

    Their `source` points into the summary, which holds the rows of `facts` under `variants`, `quality`, `corpora`,
    `memory`, `gpu_memory`, `capacity` and `costs`.
    """
    variant = facts.variants[at]
    found: list[Condition] = []
    if not variant.baseline:
        found += _quality(facts, variant, at)
        found += _speed(facts, variant, at)
    found += _slo(facts, variant.name, at)
    found += _memory(facts, variant.name)
    found += _cost(facts, variant)
    return found


def _quality(facts: Facts, variant: VariantRow, at: int) -> Iterator[Condition]:
    if variant.quality.basis == "none":
        yield Condition(key="quality", asks="no loss that matters", found=f"n/a ({variant.quality.reason})",
                        state="open", source=f"/variants/{at}/quality/reason")  # fmt: skip
        return
    if variant.quality.basis == "tasks":
        for i, row in enumerate(facts.tasks):
            if row.variant == variant.name:
                yield _task(row, i, facts.policy.margin.accuracy(row.task))
        return
    for i, corpus in enumerate(facts.corpora):
        if corpus.variant == variant.name:
            yield _corpus(corpus, i, facts.policy.margin.perplexity_ratio)


def _task(row: TaskRow, at: int, margin: float) -> Condition:
    text = f"n/a ({row.reason})" if row.word is None else row.word
    if row.delta.value is not None:
        text += f": {figures.points(row.delta)}, 95% CI {figures.points_interval(row.delta)}, {row.n:,} items"
    if row.word == "inconclusive" and row.more_items:
        text += f"; about {figures.about(row.more_items)} more items would settle it"
    asks = f"loss of accuracy below {margin * 100:g} pp"
    return Condition(key=f"quality:{row.task}", asks=asks, found=text, state=QUALITY.get(row.word, "open"),
                     source=f"/quality/{at}/{'reason' if row.word is None else 'word'}")  # fmt: skip


def _corpus(row: CorpusRow, at: int, margin: float) -> Condition:
    text = f"n/a ({row.reason})" if row.word is None else row.word
    if row.ratio.value is not None:
        text += f": {figures.ratio(row.ratio, 4)}, 95% CI {figures.interval(row.ratio, 4)}"
    asks = f"perplexity below {1 + margin:g}x"
    return Condition(key=f"perplexity:{row.corpus}", asks=asks, found=text, state=QUALITY.get(row.word, "open"),
                     source=f"/corpora/{at}/{'reason' if row.word is None else 'word'}")  # fmt: skip


def _speed(facts: Facts, variant: VariantRow, at: int) -> Iterator[Condition]:
    """The least speedup; without one, that the variant is not shown to be slower.

    Less hardware may be slower: where the price counts unlike numbers of accelerators, the cost is asked instead.
    """
    speed, least = variant.speed, facts.policy.minimum_speedup
    if least is None and facts.unlike_hardware(variant.name):
        return
    if speed.word is None:
        if least is not None:
            yield Condition(key="speed", asks=f"output throughput at least {least:g}x", state="open",
                            found=f"n/a ({speed.reason})", source=f"/variants/{at}/speed/reason")  # fmt: skip
        return
    band = figures.interval(speed.ratio)
    text = f"{speed.word}: {figures.ratio(speed.ratio)}{f', 95% CI {band}' if band else ''}"
    if speed.ratio.value is None:
        text = f"{speed.word} ({speed.reason})"
    if least is None:
        state: State = "not met" if speed.word == "slower" else "met"
        asks = "not shown to be slower than the baseline"
    else:
        state, asks = _at_least(speed.ratio, least), f"output throughput at least {least:g}x"
    yield Condition(key="speed", asks=asks, found=text, state=state, source=f"/variants/{at}/speed/word")


def _at_least(figure: Figure, least: float) -> State:
    if figure.low is None or figure.high is None:
        return "open"
    return "met" if figure.low >= least else "not met" if figure.high < least else "open"


def _slo(facts: Facts, name: str, at: int) -> Iterator[Condition]:
    slo = facts.slo
    if slo is None:
        return
    limits = {"TTFT": slo.ttft_ms, "TPOT": slo.itl_ms, "end to end": slo.e2e_ms}
    words = ", ".join(f"{what} {limit:g} ms" for what, limit in limits.items() if limit is not None)
    asks = f"SLO ({words}; {slo.share:.0%} of requests) at some measured load"
    rows = [(i, row) for i, row in enumerate(facts.capacity) if row.variant == name]
    if not rows:
        yield Condition(key="slo", asks=asks, found="n/a (no load was measured at which it could be met)", state="open",
                        source=f"/variants/{at}/name")  # fmt: skip
    ladders = [row.workload for _, row in rows]
    for i, row in rows:
        text, state = _held(row, facts)
        loop = f" ({row.unit})" if ladders.count(row.workload) > 1 else ""
        yield Condition(key=f"slo:{row.workload}{loop}", asks=asks, found=text, state=state,
                        source=f"/capacity/{i}/{'reason' if row.bound is None else 'bound'}")  # fmt: skip


def _held(row: CapacityRow, facts: Facts) -> tuple[str, State]:
    """Met (not met): the whole interval lies within the ladder; where blocks are censored, it is so in every block."""
    if row.bound is None:
        return f"n/a ({row.reason})", "open"
    blocks = f"in {row.blocks - row.blocks_below} of {row.blocks} blocks"
    value, low, high = row.highest.value, row.highest.low, row.highest.high
    if value is None:
        found = row.highest.reason or "not at the lowest load"
        state: State = "not met" if row.blocks_below else "open"
    else:
        found, state = f"up to {value:.3g} {row.unit}{' or more' if row.bound == 'at least' else ''}", "met"
    if low is not None and high is not None:
        lowest = _lowest(row, facts)
        return f"{found}, 95% CI {low:.3g} to {high:.3g}", "met" if lowest is None or low >= lowest else "open"
    settled = row.blocks > 1 and row.blocks_below in (0, row.blocks)
    return f"{found}; met {blocks}", state if settled else "open"


def _lowest(row: CapacityRow, facts: Facts) -> float | None:
    """The lowest load of the workload's ladder."""
    mark = "c" if row.unit == "streams" else "r"
    ends = [load.rpartition("@")[2] for load in facts.loads if workload_of(load) == row.workload]
    return min((float(end[1:]) for end in ends if end.startswith(mark)), default=None)


def _memory(facts: Facts, name: str) -> Iterator[Condition]:
    budget = facts.policy.memory_gb
    if budget is None:
        return
    asks = f"memory at most {budget:g} GB"
    for i, gpu in enumerate(facts.gpu_memory):
        if gpu.variant == name:
            state, found, key = _on_gpu(gpu, budget * GIGA)
            yield Condition(key="memory", asks=asks, found=found, state=state, source=f"/gpu_memory/{i}/{key}")
            return
    at, row = next((i, row) for i, row in enumerate(facts.memory) if row.variant == name)
    key, figure = _footprint(row)
    source = f"/memory/{at}/{key}"
    if figure.value is None:
        yield Condition(key="memory", asks=asks, found=f"n/a ({figure.reason})", state="open", source=source)
        return
    size = f"{figure.value / GIGA:.3g} GB {FOOTPRINTS[key]}"
    state = "not met" if figure.value > budget * GIGA else "met"
    if key == "weights_bytes" and state == "met":
        state, size = "open", f"{size}; memory under load was not measured"
    yield Condition(key="memory", asks=asks, found=size, state=state, source=source)


def _on_gpu(row: GpuMemoryRow, budget: float) -> tuple[State, str, str]:
    """(state, what was found, its field), in bytes: by the footprint, else by what it must lie between.

    What is in use holds a KV cache as large as the engine's setting allows, so it is at least what is needed; the
    weights alone are less than that.
    """
    where = " of GPU memory" if row.gpus in (None, 1) else f" of memory on {row.gpus} GPUs together"
    if (need := row.gpu_footprint_bytes.value) is not None:
        found = f"{need / GIGA:.3g} GB{where}, with the KV cache that the measured load needs"
        return "met" if need <= budget else "not met", found, "gpu_footprint_bytes"
    used, weights = row.gpu_used_bytes.value, row.gpu_weights_bytes.value
    if weights is not None and weights > budget:
        return "not met", f"{weights / GIGA:.3g} GB{where}, the weights alone", "gpu_weights_bytes"
    if used is None:
        return "open", f"n/a ({row.gpu_used_bytes.reason})", "gpu_used_bytes"
    found = f"{used / GIGA:.3g} GB{where}, all that is in use"
    if used <= budget:
        return "met", found, "gpu_used_bytes"
    return "open", f"{found}; what it needs of that is not known: {row.gpu_footprint_bytes.reason}", "gpu_used_bytes"


FOOTPRINTS = {
    "pss_bytes": "proportional under load",
    "rss_bytes": "resident under load",
    "weights_bytes": "of weights",
}
"""What a variant takes where no GPU was told of, best measure first; its weights are only a lower bound."""


def _footprint(row: MemoryRow) -> tuple[str, Figure]:
    found = [(key, getattr(row, key)) for key in FOOTPRINTS]
    return next(((key, figure) for key, figure in found if figure.value is not None), found[0])


def _cost(facts: Facts, variant: VariantRow) -> Iterator[Condition]:
    """The highest cost; without one, that the variant is not shown to be dearer than the baseline."""
    most = facts.policy.maximum_usd
    for i, row in enumerate(facts.costs):
        if row.variant != variant.name or (variant.baseline and most is None):
            continue
        asks = f"at most ${most:g} per million output tokens" if most else "not shown to be dearer than the baseline"
        key, source = f"cost:{row.workload}", f"/costs/{i}"
        if row.output.value is None:
            yield Condition(key=key, asks=asks, found=f"n/a ({row.output.reason})", state="open",
                            source=f"{source}/output")  # fmt: skip
            continue
        text = f"{usd(row.output)} at {row.at}, at an assumed ${row.hour_usd:,.2f} an hour"
        if most is None:
            word = row.word or f"n/a ({row.reason})"
            state: State = "not met" if row.word == "dearer" else "open" if row.word is None else "met"
            yield Condition(key=key, asks=asks, found=f"{word}: {text}", state=state, source=f"{source}/output")
        else:
            held = row.total if row.total.value is not None else row.output
            source = f"{source}/{'output' if held is row.output else 'total'}"
            yield Condition(key=key, asks=asks, found=_priced(row, held, text), state=_at_most(held, most),
                            source=source)  # fmt: skip


def _priced(row: CostRow, held: Figure, text: str) -> str:
    if held is row.output:
        return f"{text}; making it not counted ({row.making.reason})"
    return f"{usd(held)} with the making of the variant; {text}"


def _at_most(figure: Figure, most: float) -> State:
    if figure.low is None or figure.high is None:
        return "open"
    return "met" if figure.high <= most else "not met" if figure.low > most else "open"
