"""The sentence that can be acted on. Every clause names the figure that it states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.summary import (
    CapacityRow,
    CellCount,
    Clause,
    CorpusRow,
    CostRow,
    Figure,
    GpuMemoryRow,
    Headline,
    MemoryRow,
    Recommendation,
    TaskRow,
    VariantRow,
)
from quantcheck.spec.load import SLO
from quantcheck.spec.policy import Policy

__all__ = ["MOST_NAMED", "Facts", "details", "make_headline"]

MOST_NAMED = 3
"""More subjects than this are counted instead of named."""


@dataclass(frozen=True)
class Facts:
    """The rows that a sentence or a condition speaks about, in the order in which the summary has them."""

    variants: Sequence[VariantRow]
    tasks: Sequence[TaskRow]
    corpora: Sequence[CorpusRow]
    loads: Sequence[str]
    margin_ratio: float
    policy: Policy = field(default_factory=Policy)
    slo: SLO | None = None
    memory: Sequence[MemoryRow] = ()
    capacity: Sequence[CapacityRow] = ()
    costs: Sequence[CostRow] = ()
    gpu_memory: Sequence[GpuMemoryRow] = ()
    cells: CellCount | None = None
    names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        subjects = dict.fromkeys([*(r.task for r in self.tasks), *(r.corpus for r in self.corpora)])
        object.__setattr__(self, "names", short_names(subjects))

    @property
    def unfinished(self) -> str | None:
        """How much of an unfinished run there is; None for a finished one."""
        if self.cells is None or self.cells.finished:
            return None
        return f"{self.cells.stored} of {self.cells.planned} cells"

    @property
    def baseline(self) -> str:
        return next(variant.name for variant in self.variants if variant.baseline)

    @property
    def accelerators(self) -> dict[str, int]:
        """How many each variant takes, where the policy has a price."""
        return {row.variant: row.gpus for row in self.costs}

    def unlike_hardware(self, name: str) -> bool:
        """Whether the price counts another number of accelerators for the variant than for the baseline."""
        return self.accelerators.get(name) != self.accelerators.get(self.baseline)

    @property
    def others(self) -> list[tuple[int, VariantRow]]:
        return [(i, v) for i, v in enumerate(self.variants) if not v.baseline]


def make_headline(facts: Facts, recommendation: Recommendation) -> Headline:
    """Up to one detailed part (the recommended variant, else the only one), then the others grouped by word."""
    parts = _unfinished(facts)
    chosen, others = recommendation.variant, facts.others
    if chosen is None and len(others) == 1:
        chosen = others[0][1].name
    detailed = [(i, v) for i, v in others if v.name == chosen]
    parts += [details(i, v, facts) for i, v in detailed]
    rest = [(i, v) for i, v in others if v.name != chosen]
    if others and all(v.quality.basis == "none" for _, v in others):
        return _without_quality(facts)
    too = " too" if chosen and any(v.quality.word == "safe" for _, v in detailed) else ""
    safe = [(i, v) for i, v in rest if v.quality.word == "safe"]
    for position, (i, v) in enumerate(safe):
        verb = f" {'is' if len(safe) == 1 else 'are'} safe{too}" if position == len(safe) - 1 else ""
        clause = Clause(text=v.name + verb, variant=v.name, source=f"/variants/{i}/quality/word")
        if position == 0:
            parts.append([clause])
        else:
            join = " and " if position == len(safe) - 1 else ", "
            parts[-1].append(clause.model_copy(update={"text": join + clause.text}))
    for word in ("inconclusive", "harmed", "not comparable", None):
        parts += [_quality(i, v, facts) for i, v in rest if v.quality.word == word]
    return _sentence(parts)


def _unfinished(facts: Facts) -> list[list[Clause]]:
    if facts.unfinished is None:
        return []
    return [[Clause(text=f"Not finished ({facts.unfinished})", variant=None, source="/cells/stored")]]


def _without_quality(facts: Facts) -> Headline:
    """Size and speed of every variant, and once why there is no more."""
    parts = [_size_and_speed(i, v, facts) for i, v in facts.others]
    for part, (_, variant) in zip(parts, facts.others, strict=True):
        part[0] = part[0].model_copy(update={"text": f"{variant.name}: {part[0].text.removeprefix(', ')}"})
    at, first = facts.others[0]
    text = f"quality n/a ({first.quality.reason})"
    parts.append([Clause(text=text, variant=None, source=f"/variants/{at}/quality/reason")])
    return _sentence([*_unfinished(facts), *parts])


def _sentence(parts: list[list[Clause]]) -> Headline:
    clauses = [clause for part in parts for clause in part]
    text = "; ".join("".join(clause.text for clause in part) for part in parts)
    return Headline(sentence=f"{text}." if text else "Only the baseline was measured.", clauses=clauses)


def details(at: int, variant: VariantRow, facts: Facts) -> list[Clause]:
    """Quality, size and speed of the variant at place `at` of the summary's `variants`, each with its figure."""
    clauses = _quality(at, variant, facts)
    quality = variant.quality
    if quality.basis == "tasks" and quality.delta.value is not None:
        band = figures.points_interval(quality.delta)
        text = f" (accuracy {figures.points(quality.delta)}{', 95% CI ' + band if band else ''})"
        clauses.append(Clause(text=text, variant=variant.name, source=f"/variants/{at}/quality/delta"))
    elif quality.basis == "perplexity" and variant.perplexity_ratio.value is not None:
        ratio = variant.perplexity_ratio
        text = f" (perplexity {figures.ratio(ratio, 4)}, 95% CI {figures.interval(ratio, 4)})"
        clauses.append(Clause(text=text, variant=variant.name, source=f"/variants/{at}/perplexity_ratio"))
    return clauses + _size_and_speed(at, variant, facts)


def _size_and_speed(at: int, variant: VariantRow, facts: Facts) -> list[Clause]:
    clauses = []
    size = variant.size.ratio.value
    if size is not None:
        turn = "smaller" if size < 1 else "larger"
        word = "the same size" if 0.995 < size < 1.005 else f"{_times(variant.size.ratio)} {turn}"
        clauses.append(Clause(text=f", {word}", variant=variant.name, source=f"/variants/{at}/size/ratio"))
    clauses.append(_speed(at, variant, facts))
    return clauses + _hardware(variant.name, facts)


def _hardware(name: str, facts: Facts) -> list[Clause]:
    """On how many accelerators, where the baseline is on another number of them, and what that makes of the cost."""
    if not facts.unlike_hardware(name):
        return []
    gpus = facts.accelerators
    own = [(i, row) for i, row in enumerate(facts.costs) if row.variant == name]
    on = f" on {gpus[name]} GPU{'' if gpus[name] == 1 else 's'} instead of {gpus[facts.baseline]}"
    clauses = [Clause(text=on, variant=name, source=f"/costs/{own[0][0]}/gpus")]
    return clauses + [
        Clause(text=f", {_times(row.ratio)} {row.word} {_at(row)}", variant=name, source=f"/costs/{i}/ratio")
        for i, row in own[:MOST_NAMED] if row.word in ("cheaper", "dearer")
    ]


def _at(row: CostRow) -> str:
    return f"at {row.at}" if row.basis == "highest throughput" else f"for {row.workload}"


def _times(ratio: Figure) -> str:
    """`1.4x`, the larger over the smaller; two decimals below 1.1, and where one would leave the interval."""
    value, low, high = (None if end is None else end if ratio.value and ratio.value >= 1 else 1 / end
                        for end in (ratio.value, ratio.low, ratio.high))
    assert value is not None
    held = low is None or high is None or min(low, high) <= round(value, 1) <= max(low, high)
    return f"{value:.1f}x" if value >= 1.1 and held else f"{value:.2f}x"


def _speed(at: int, variant: VariantRow, facts: Facts) -> Clause:
    speed, source = variant.speed, f"/variants/{at}/speed"
    where = ""
    if speed.loads == 1 and len(facts.loads) == 1:
        streams = facts.loads[0].rpartition("@c")[2]
        where = f" at {streams} stream{'' if streams == '1' else 's'}"
    elif speed.loads:
        where = f" over {speed.loads} loads"
    if speed.word in ("faster", "slower") and speed.ratio.value is not None:
        text, source = f", {_times(speed.ratio)} {speed.word}{where}", f"{source}/ratio"
    elif speed.word == "no detectable difference":
        text, source = f", the same speed within {facts.margin_ratio:.0%}{where}", f"{source}/word"
    elif speed.word == "inconclusive" and speed.ratio.value is not None:
        band = figures.interval(speed.ratio)
        text = f", speed inconclusive ({figures.ratio(speed.ratio)}{', 95% CI ' + band if band else ''}"
        if speed.more_blocks:
            plural = "" if speed.more_blocks == 1 else "s"
            text += f"; about {figures.about(speed.more_blocks)} more block{plural} would settle it"
        elif speed.reason:
            text += f"; {speed.reason}"
        text, source = text + ")", f"{source}/ratio"
    else:
        text, source = f", speed n/a ({speed.reason})", f"{source}/reason"
    return Clause(text=text, variant=variant.name, source=source)


def _quality(at: int, variant: VariantRow, facts: Facts) -> list[Clause]:
    """`Q2_K is harmed on arithmetic and format`."""
    quality, name = variant.quality, variant.name
    source = f"/variants/{at}/quality"
    if quality.word == "harmed":
        text, source = f"{name} is harmed on {_named(quality.harmed, facts)}", f"{source}/harmed"
    elif quality.word == "inconclusive" and quality.undecided:
        text = f"{name} is inconclusive on {_named(quality.undecided, facts)}"
        if quality.more_items:
            units = {row.unit for row in facts.corpora if row.variant == name}
            unit = "items" if quality.basis == "tasks" else "segments" if "segment" in units else "documents"
            text += f" (needs about {figures.about(quality.more_items)} more {unit})"
            source += "/more_items"
        else:
            text, source = f"{text} ({quality.reason})", f"{source}/undecided"
    elif quality.word is None:
        text, source = f"{name}: quality n/a ({quality.reason})", f"{source}/reason"
    else:
        text, source = f"{name} is {quality.word}", f"{source}/word"
    return [Clause(text=text, variant=name, source=source)]


def _named(subjects: Sequence[str], facts: Facts) -> str:
    short = [facts.names.get(s, s) for s in subjects]
    if len(short) > MOST_NAMED:
        total = len({r.task for r in facts.tasks}) or len({r.corpus for r in facts.corpora})
        return "all tasks" if len(short) == total and facts.tasks else f"{len(short)} of {total}"
    return short[0] if len(short) == 1 else f"{', '.join(short[:-1])} and {short[-1]}"
