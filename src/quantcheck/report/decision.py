"""The decision: one word and one sentence per variant, and one recommendation; every clause names its figure."""

import math
from collections.abc import Callable, Sequence

from quantcheck.report import figures
from quantcheck.report.conditions import conditions, is_asked
from quantcheck.report.cost_grids import usd
from quantcheck.report.grids import VARIANT, Column, Grid, Item, Tone
from quantcheck.report.headline import MOST_NAMED, Facts, details
from quantcheck.report.summary import (
    Clause,
    Condition,
    CostRow,
    DecisionRow,
    DecisionWord,
    Recommendation,
    Summary,
    VariantRow,
)

__all__ = ["decision_grid", "decision_rows", "recommend"]

TONES: dict[DecisionWord, Tone] = {"ship": "good", "do not ship": "bad", "inconclusive": "open"}
BY_STATE: dict[str, Tone] = {"met": "good", "not met": "bad", "open": "open"}


def decision_rows(facts: Facts) -> list[DecisionRow]:
    """A row for every variant but the baseline, in the order of `facts.variants`."""
    return [_decide(facts, at, v, place) for place, (at, v) in enumerate(facts.others)]


def _decide(facts: Facts, at: int, variant: VariantRow, place: int) -> DecisionRow:
    found = conditions(facts, at)
    word = _word(found)
    clauses = [*details(at, variant, facts), *_costs(variant.name, facts)]
    clauses.append(Clause(text=f": {word}", variant=variant.name, source=f"/decisions/{place}/word"))
    state = {"do not ship": "not met", "inconclusive": "open"}.get(word)
    # Quality and the plain question of speed are what the sentence begins with.
    named = [(i, c) for i, c in enumerate(found) if c.state == state and not _told(c, facts)]
    for position, (i, condition) in enumerate(named):
        before, after = "; " if position else " (", ")" if position == len(named) - 1 else ""
        text = f"{before}{_name(condition)} {condition.state}: {condition.found}{after}"
        clauses.append(Clause(text=text, variant=variant.name, source=f"/decisions/{place}/conditions/{i}/found"))
    sentence = f"{''.join(clause.text for clause in clauses)}."
    return DecisionRow(variant=variant.name, word=word, sentence=sentence, clauses=clauses, conditions=found)


def _word(found: Sequence[Condition]) -> DecisionWord:
    states = {condition.state for condition in found}
    return "do not ship" if "not met" in states else "inconclusive" if "open" in states else "ship"


def _told(condition: Condition, facts: Facts) -> bool:
    plain = condition.key == "speed" and facts.policy.minimum_speedup is None
    return plain or condition.key.startswith(("quality", "perplexity"))


def _name(condition: Condition) -> str:
    """`SLO for chat` of `slo:chat`."""
    kind, _, subject = condition.key.partition(":")
    word = "SLO" if kind == "slo" else kind
    return f"{word} for {subject}" if subject else word


def _costs(name: str, facts: Facts) -> list[Clause]:
    rows = [(i, row) for i, row in enumerate(facts.costs) if row.variant == name and row.output.value is not None]
    several = len({row.workload for row in facts.costs}) > 1
    return [_cost(i, row, several) for i, row in rows[:MOST_NAMED]]


def _cost(at: int, row: CostRow, several: bool) -> Clause:
    band = f", 95% CI {usd(row.output, end='low')} to {usd(row.output, end='high')}" if row.output.low else ""
    where = f" for {row.workload}" if several else ""
    assumed = f"at an assumed ${row.hour_usd:,.2f} an hour"
    text = f", {usd(row.output)} per million output tokens{where} ({assumed}{band})"
    return Clause(text=text, variant=row.variant, source=f"/costs/{at}/output")


def recommend(facts: Facts, decisions: Sequence[DecisionRow]) -> Recommendation:
    """The smallest variant to ship (the cheapest, when there is a price); plain words when there is none."""
    baseline = facts.baseline
    others = [v for _, v in facts.others]
    if facts.unfinished is not None:
        return _none("No recommendation before the run is finished; one that was interrupted goes on when run again.")
    if not others:
        return _none(f"Nothing to recommend: {baseline} is the only variant.")
    if all(v.quality.basis == "none" for v in others):
        return _none("No recommendation: quality was not measured, so no variant can be called safe.")
    if all(v.quality.word in (None, "not comparable") for v in others):
        reason = next((v.quality.reason for v in others if v.quality.reason), "no result stored")
        return _none(f"No recommendation: no variant could be compared with {baseline} ({reason}).")
    words = {row.variant: row.word for row in decisions}
    smaller = [v for v in others if v.size.ratio.value is None or v.size.ratio.value < 1]
    safe = [v for v in smaller if v.quality.word == "safe"]
    fit = [v for v in safe if words[v.name] == "ship"]
    if fit:
        cost = _cost_order(facts)
        best = min(fit, key=lambda v: (cost(v), _size(v)))
        return Recommendation(variant=best.name, sentence=f"Use {best.name}: {_why(best, fit, facts)}.")
    if safe:
        return _none(_why_not(baseline, safe, facts, decisions))
    sentence = f"{_keep(baseline, facts)}: no smaller variant is shown to be safe on {_everything(others)}."
    open_ones = [v for v in smaller if v.quality.word == "inconclusive" and v.quality.more_items]
    if open_ones:
        nearest = min(open_ones, key=lambda v: v.quality.more_items or 0)
        needs = figures.about(nearest.quality.more_items or 0)
        sentence += f" About {needs} more items a task would settle {nearest.name}."
    return _none(sentence)


def _none(sentence: str) -> Recommendation:
    return Recommendation(variant=None, sentence=sentence)


def _keep(baseline: str, facts: Facts) -> str:
    """`Keep F16`, unless the baseline does not meet the policy itself."""
    missed = [c for c in conditions(facts, 0) if c.state == "not met"]
    if not missed:
        return f"Keep {baseline}"
    return f"No recommendation ({baseline} itself does not meet the policy: {_name(missed[0])} {missed[0].found})"


def _why_not(baseline: str, safe: Sequence[VariantRow], facts: Facts, decisions: Sequence[DecisionRow]) -> str:
    """What keeps the safe variants from shipping."""
    names = " and ".join(v.name for v in safe[:MOST_NAMED])
    verb = "is" if len(safe) == 1 else "are"
    rows = [row for row in decisions if row.variant in {v.name for v in safe}]
    if not is_asked(facts):
        return f"{_keep(baseline, facts)} for speed: {names} {verb} safe and smaller, but slower."
    if any(row.word == "inconclusive" for row in rows):
        row = next(row for row in rows if row.word == "inconclusive")
        first = next(c for c in row.conditions if c.state == "open")
        return f"No recommendation yet: {row.variant} is safe and smaller; {_name(first)} is open ({first.found})."
    missed = {_name(c): c.found for row in rows for c in row.conditions if c.state == "not met"}
    text = "; ".join(f"{name}: {found}" for name, found in list(missed.items())[:MOST_NAMED])
    return f"{_keep(baseline, facts)}: {names} {verb} safe and smaller, but not within the policy ({text})."


def _size(variant: VariantRow) -> float:
    return float("inf") if variant.size.ratio.value is None else variant.size.ratio.value


def _cost_order(facts: Facts) -> Callable[[VariantRow], float]:
    """By the mean over workloads of the cost's ratio to the baseline; equal for all without costs."""
    ratios: dict[str, list[float]] = {}
    for row in facts.costs:
        if row.ratio.value is not None:
            ratios.setdefault(row.variant, []).append(row.ratio.value)
    if not ratios:
        return lambda _: 0.0
    return lambda v: math.fsum(map(math.log, ratios[v.name])) / len(ratios[v.name]) if v.name in ratios else math.inf


def _everything(variants: Sequence[VariantRow]) -> str:
    return "every task" if any(v.quality.basis == "tasks" for v in variants) else "perplexity"


def _why(best: VariantRow, fit: Sequence[VariantRow], facts: Facts) -> str:
    priced = any(row.variant == best.name and row.ratio.value is not None for row in facts.costs)
    first = "the cheapest" if priced else "the smallest"
    known = priced or best.size.ratio.value is not None
    text = f"{f'{first} variant that is' if known else 'it is'} safe on {_everything([best])}"
    if is_asked(facts):
        text += " and within the policy"
    speed = {
        "faster": ", and faster",
        "no detectable difference": f", at the same speed (within {facts.margin_ratio:.0%})",
        "slower": ", though slower",
        "inconclusive": "; whether it is faster is still open",
        "not comparable": "; its speed is not comparable",
    }
    return text + ("; speed was not measured" if best.speed.word is None else speed[best.speed.word])


def decision_grid(summary: Summary) -> Grid:
    """Every condition of the policy, variant by variant; no rows when it asks for nothing but its margins."""
    columns = [VARIANT, Column("decision"), Column("condition", flexible=True), Column("state"),
               Column("found", flexible=True)]  # fmt: skip
    rows: list[list[Item]] = []
    keys = {condition.key.partition(":")[0] for row in summary.decisions for condition in row.conditions}
    if not summary.settings.get("policy") and keys <= {"quality", "perplexity", "speed"}:
        return Grid(columns, rows)
    for row in summary.decisions:
        for position, condition in enumerate(row.conditions):
            head = [Item(row.variant), Item(row.word, tone=TONES[row.word])] if position == 0 else [Item(), Item()]
            state = Item(condition.state, tone=BY_STATE[condition.state])
            subject = condition.key.partition(":")[2]
            asks = f"{subject}: {condition.asks}" if subject else condition.asks
            rows.append([*head, Item(asks), state, Item(condition.found)])
    return Grid(columns, rows)
