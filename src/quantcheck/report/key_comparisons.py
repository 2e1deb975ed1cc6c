"""The baseline against each variant in one table: quality, size, and speed at one stream and at serving load."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.cost_grids import usd
from quantcheck.report.grids import BLANK, RATIO_DIGITS, TONES, Column, Grid, Item, Tone
from quantcheck.report.recovery import band, recovery
from quantcheck.report.row import Figure, SpeedWord
from quantcheck.report.summary import CapacityRow, SpeedRow, Summary, VariantRow

__all__ = ["KEY_WORDS", "key_grid"]

KEY_WORDS = (
    "In brackets: variant / baseline with its 95% interval, and the word. Of every workload the lowest load that was "
    "measured and the highest (serving load). Prefill is the prompt's length over TTFT at one stream, which holds the "
    "first token's own step and the way to the client, too."
)

LOAD = re.compile(r"(?P<workload>.+)@(?P<kind>[cr])(?P<amount>[\d.e+-]+)")
COMPARED = ("output_throughput", "ttft", "itl")
PHASES = ("prefill_throughput", "decode_throughput")
"""Of an engine that times them apart; prefill is then not taken from TTFT."""

HIGHEST = "Highest concurrency that meets the SLO"
COST = "USD per million output tokens"


@dataclass(frozen=True)
class _Ends:
    """A workload's lowest and highest load, closed loop (`c`, streams) and open loop (`r`, requests/s) apart."""

    workload: str
    kind: str
    lowest: str
    highest: str

    @property
    def loads(self) -> list[str]:
        return list(dict.fromkeys([self.lowest, self.highest]))


def key_grid(summary: Summary) -> Grid:
    """A line per figure and load, the baseline's column first. Empty only where there is no variant."""
    names = [row.name for row in summary.variants]
    columns = [Column("figure", flexible=True), Column("at"), *(Column(name) for name in names)]
    rows = [[Item(title), Item(at), *items] for title, at, items in (*_quality(summary), *_speed(summary))]
    return Grid(columns, rows)


_Line = tuple[str, str, list[Item]]


def _quality(summary: Summary) -> Iterator[_Line]:
    def line(title: str, at: str, of: Callable[[VariantRow], Item]) -> _Line:
        return title, at, [of(row) for row in summary.variants]

    yield line("Weights", "", _size)
    alone = all(row.baseline for row in summary.variants)
    if summary.quality or any(row.quality.accuracy.value is not None for row in summary.variants):
        items = max((row.quality.n for row in summary.variants), default=0)
        yield line("Accuracy, all tasks", f"{items:,} items", lambda row: _accuracy(row, items))
        if not alone:
            yield line("Accuracy recovery", "the same items", _recovery)
    if summary.corpora and not alone:
        yield line("Perplexity ratio", "worst corpus", lambda row: _of_corpora(row, "perplexity_ratio"))
        yield line("KL divergence, nats", "worst corpus", lambda row: _of_corpora(row, "kl_divergence"))
        yield line("Top-1 agreement", "worst corpus", lambda row: _of_corpora(row, "top1_agreement"))


def _size(row: VariantRow) -> Item:
    size, ratio = row.size.bytes, row.size.ratio
    if size.value is None:
        return Item(missing=size.reason)
    return Item(figures.value(size, "weights_bytes"), "" if row.baseline or ratio.value is None
                else figures.ratio(ratio))  # fmt: skip


def _accuracy(row: VariantRow, items: int) -> Item:
    found, delta = row.quality.accuracy, row.quality.delta
    if found.value is None:
        return Item(missing=found.reason)
    if row.baseline or delta.value is None:
        return Item(figures.percent(found))
    fewer = f"of {row.quality.n:,} items" if row.quality.n != items else ""
    words = ", ".join(filter(None, [fewer, figures.points(delta), figures.points_interval(delta), row.quality.word]))
    return Item(figures.percent(found), words, TONES[row.quality.word] if row.quality.word else "")


def _recovery(row: VariantRow) -> Item:
    if row.baseline:
        return Item("100%") if row.quality.accuracy.value is not None else Item(missing=row.quality.accuracy.reason)
    kept = recovery(row.quality.accuracy, row.quality.delta)
    return Item(missing=kept.reason) if kept.value is None else Item(figures.value(kept, "accuracy"), band(kept))


def _of_corpora(row: VariantRow, key: str) -> Item:
    if row.baseline:
        return BLANK
    found: Figure = getattr(row, key)
    if found.value is None:
        return Item(missing=found.reason)
    if key != "perplexity_ratio":
        return Item(figures.value(found, key, unit=key != "kl_divergence"))
    word = row.perplexity_word
    words = ", ".join(filter(None, [figures.interval(found, RATIO_DIGITS, "-"), word]))
    return Item(figures.ratio(found, RATIO_DIGITS), words, TONES[word] if word else "")


def _speed(summary: Summary) -> Iterator[_Line]:
    rows = {(row.load, row.metric, row.variant): row for row in summary.speed}
    names = [row.name for row in summary.variants]
    ends = _ends(dict.fromkeys(row.load for row in summary.speed))
    for end in ends:
        split = [key for key in PHASES if any((end.lowest, key, name) in rows for name in names)]
        for key in (*COMPARED, *split):
            for load in end.loads:
                own = [rows.get((load, key, name)) for name in names]
                digits = figures.shared_decimals([row.value for row in own if row], key)
                yield metric(key).label, load, [_measured(row, key, digits) for row in own]
        if end.kind == "c" and not split:
            prompt = _prompt(summary, end)
            ttft = [rows.get((end.lowest, "ttft", name)) for name in names]
            yield "Prefill", end.lowest, [_prefill(prompt, row) for row in ttft]
        if end.lowest != end.highest:
            grown = {row.variant: row.ratio for row in summary.degradation if row.load == end.highest}
            yield "ITL degradation", f"{end.highest} / {end.lowest}", [_grown(grown.get(name)) for name in names]
        yield from _held(summary, end, names)
    if ends and not summary.capacity:
        yield HIGHEST, "", [Item(missing="no SLO in the experiment")] * len(names)
    if ends and not summary.costs:
        yield COST, "", [Item(missing="no price in the experiment's policy")] * len(names)
    for workload in dict.fromkeys(row.workload for row in summary.costs):
        costs = {row.variant: row for row in summary.costs if row.workload == workload}
        yield COST, workload, [
            Item(missing=row.output.reason) if row.output.value is None else Item(
                usd(row.output), ", ".join(filter(None, [_ratio(row.ratio, ""), row.word or ""])))
            for row in (costs[name] for name in names if name in costs)
        ]  # fmt: skip


def _ends(loads: Mapping[str, None]) -> list[_Ends]:
    """A trace has neither streams nor a rate: it is its own lowest and highest load."""
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for load in loads:
        told = LOAD.fullmatch(load)
        key = (load, "") if told is None else (told["workload"], told["kind"])
        found.setdefault(key, []).append((0.0 if told is None else float(told["amount"]), load))
    return [_Ends(workload, kind, min(own)[1], max(own)[1]) for (workload, kind), own in found.items()]


def _ratio(ratio: Figure, word: str) -> str:
    """`1.56x, 1.47-1.66, faster`; the word alone where there is no ratio, and nothing for the baseline."""
    if ratio.value is None:
        return word
    return ", ".join(filter(None, [figures.ratio(ratio), figures.interval(ratio, join="-"), word]))


def _measured(row: SpeedRow | None, key: str, digits: int) -> Item:
    if row is None or row.value.value is None:
        return Item(missing="not measured" if row is None else row.value.reason)
    return Item(figures.value(row.value, key, digits=digits), _ratio(row.ratio, row.word or ""), _tone(row.word))


def _tone(word: SpeedWord | None) -> Tone:
    return "" if word is None else TONES[word]


def _prompt(summary: Summary, end: _Ends) -> int | str:
    """Tokens of the workload's prompts, or why the speed of prefill cannot be told from them."""
    load = summary.settings.get("load") or {}
    workload = (load.get("workloads") or {}).get(end.workload, {})
    tokens = workload.get("prompt_tokens")
    if not end.lowest.endswith("@c1"):
        return "no load of one stream was measured"
    if not isinstance(tokens, int):
        return "prompts differ in length"
    return "prompts share a beginning" if workload.get("shared_prefix") else tokens


def _prefill(prompt: int | str, row: SpeedRow | None) -> Item:
    """tokens/s, from TTFT; less of a time is more of a speed, so that ratio and interval turn over."""
    if isinstance(prompt, str) or row is None or row.value.value is None:
        reason = prompt if isinstance(prompt, str) else row.value.reason if row else "not measured"
        return Item(missing=reason)
    return Item(figures.value(_over(float(prompt), row.value), "input_throughput"),
                _ratio(_over(1.0, row.ratio), row.word or ""), _tone(row.word))  # fmt: skip


def _over(amount: float, time: Figure) -> Figure:
    if not time.value:
        return Figure(reason=time.reason or "no time passed")
    if not time.low or not time.high:
        return Figure(value=amount / time.value, reason=time.reason)
    return Figure(value=amount / time.value, low=amount / time.high, high=amount / time.low)


def _grown(ratio: Figure | None) -> Item:
    if ratio is None or ratio.value is None:
        return Item(missing="not measured" if ratio is None else ratio.reason)
    return Item(figures.ratio(ratio), figures.interval(ratio, join="-"))


def _held(summary: Summary, end: _Ends, names: list[str]) -> Iterator[_Line]:
    """The highest load that meets the SLO: of a closed loop its concurrency. Nothing without an SLO."""
    unit = {"c": "streams", "r": "requests/s"}.get(end.kind)
    if unit is None:
        return
    own = {row.variant: row for row in summary.capacity if (row.workload, row.unit) == (end.workload, unit)}
    if not own:
        return
    title = HIGHEST if end.kind == "c" else "Highest rate that meets the SLO, requests/s"
    yield title, end.workload, [_capacity(own.get(name)) for name in names]
    at_slo = [row.output_throughput if (row := own.get(name)) else Figure(reason="not measured") for name in names]
    yield "Output throughput there", end.workload, [
        Item(missing=found.reason) if found.value is None else Item(figures.value(found, "output_throughput"))
        for found in at_slo
    ]


def _capacity(row: CapacityRow | None) -> Item:
    if row is None or row.highest.value is None:
        return Item(missing="not measured" if row is None else row.highest.reason)
    most = ">= " if row.bound == "at least" else ""
    return Item(f"{most}{row.highest.value:.3g}", _ratio(row.ratio, row.word or ""), _tone(row.word))
