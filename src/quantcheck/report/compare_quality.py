"""Quality in two runs: their cells of one suite, paired by item or token as if they were of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantcheck.report.apart import aggregate
from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.comparison import RunQualitySummary, RunTaskRow
from quantcheck.report.held import Held
from quantcheck.report.noise import noise_floors, noise_rows
from quantcheck.report.overall import quality_summary
from quantcheck.report.quality import corpus_rows, task_rows
from quantcheck.report.stored import StoredRun
from quantcheck.report.summary import CorpusRow, Figure, QualitySummary, TaskRow
from quantcheck.spec.experiment import Variant

__all__ = ["run_quality_rows"]

FOREIGN = "stored is only what each run has against its own baseline"
ENDED = "run A ended this task early; name run A's baseline, which answers every item"


def run_quality_rows(
    a: StoredRun, b: StoredRun, names: tuple[str, str], held: Held
) -> tuple[RunQualitySummary, list[RunTaskRow], list[CorpusRow]]:
    """All of it in one word, tasks, corpora; `names`: the variants' in a and b. The margins are run A's."""
    index = _joined(a, b, names)
    variant = index.variants[1]
    floors = [noise_floors(noise_rows(run.index)) for run in (a, b)]
    rows = task_rows(index, variant, _largest([floor[0] for floor in floors]))
    texts = corpus_rows(index, variant, _largest([floor[1] for floor in floors]))
    # As the variant such a task still has its test, which holds at any look; as the baseline it has none.
    ended = {task for task in index.tasks if _ended(index.quality(index.baseline, task))}
    tasks = [_held_task(row, held, ENDED if row.task in ended else "") for row in rows]
    corpora = [_held_corpus(row, held, "" if aggregate(index.quality(variant, row.corpus)) else
                            _divergence(index, row.corpus)) for row in texts]
    quality = quality_summary(index, variant, tasks, corpora)
    summary = _held_summary(quality, held, "tasks" if index.tasks else "perplexity")
    paired = {task: not any(aggregate(index.quality(name, task)) for name in index.variants) for task in index.tasks}
    return _flips_of(summary, all(paired.values())), [_run_row(row, paired[row.task]) for row in tasks], corpora


def _run_row(row: TaskRow, paired: bool) -> RunTaskRow:
    return RunTaskRow(**{**row.model_dump(), **({} if paired else {"lost": None, "gained": None})}, paired=paired)


def _flips_of(quality: QualitySummary, paired: bool) -> RunQualitySummary:
    return RunQualitySummary(**{**quality.model_dump(), **({} if paired else {"lost": None, "gained": None})})


def _joined(a: StoredRun, b: StoredRun, names: tuple[str, str]) -> CellIndex:
    """The quality cells that both have, as if they were of one experiment with run A's policy."""
    labels = f"A:{names[0]}", f"B:{names[1]}"
    cells = []
    for subject in (*a.index.tasks, *a.index.corpora):
        found = a.index.quality(names[0], subject), b.index.quality(names[1], subject)
        cells += [_Renamed(cell, label) for cell, label in zip(found, labels, strict=True) if cell and all(found)]
    joined = a.experiment.model_copy(update={
        "baseline": labels[0], "variants": {label: Variant.model_construct() for label in labels},
    })
    return CellIndex(joined, cells, [])


@dataclass(frozen=True)
class _Renamed:
    """A cell under another variant's name."""

    cell: Cell
    name: str

    @property
    def record(self) -> Mapping[str, Any]:
        return {**self.cell.record, "key": {**self.cell.record["key"], "variant": self.name}}

    def table(self, name: str) -> Mapping[str, Any]:
        return self.cell.table(name)


def _ended(cell: Cell | None) -> bool:
    return cell is not None and "early" in cell.record["result"]


def _largest(floors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for floor in floors for name in floor)
    return {name: max((floor[name] for floor in floors if name in floor), key=abs) for name in names}


def _held_task(row: TaskRow, held: Held, without_word: str) -> TaskRow:
    """Without its word, and unless forced without its difference, where it is not comparable."""
    reason = held.reason("tasks") or without_word
    if not reason:
        return row
    update: dict[str, Any] = {"word": held.word if held.by["tasks"] else None, "reason": reason, "more_items": None,
                              "p": None, "p_safe": None, "p_harmed": None}
    if held.hidden("tasks"):
        update |= {"delta": Figure(reason=reason), "lower_bound": None, "upper_bound": None, "unpaired": None}
    return row.model_copy(update=update)


def _divergence(index: CellIndex, corpus: str) -> str:
    """Why the two divergences are not compared: each is against its own baseline, and they may be of two kinds."""
    cells = index.quality(index.baseline, corpus), index.quality(index.variants[1], corpus)
    kinds = [_kind(cell.record["result"]) for cell in cells if cell and cell.record["result"].get("kl_kind")]
    if len(set(kinds)) < 2:
        return FOREIGN
    return f"two kinds of divergence: run A's is {kinds[0]}, run B's is {kinds[1]}"


def _kind(result: Mapping[str, Any]) -> str:
    top = result.get("kl_top")
    return "over the full vocabulary" if top is None else f"a lower bound from the top {top} tokens"


def _held_corpus(row: CorpusRow, held: Held, divergence: str) -> CorpusRow:
    update: dict[str, Any] = {}
    if divergence:
        update = {"kl_divergence": Figure(reason=divergence), "top1_agreement": Figure(reason=FOREIGN)}
    if reason := held.reason("perplexity"):
        update |= {"word": held.word, "reason": reason, "more_units": None}
        if held.hidden("perplexity"):
            update["ratio"] = Figure(reason=reason)
    return row.model_copy(update=update)


def _held_summary(quality: QualitySummary, held: Held, kind: str) -> QualitySummary:
    reason = held.reason(kind)
    if not reason or quality.basis == "none":
        return quality
    update: dict[str, Any] = {"word": held.word, "reason": reason, "harmed": [], "undecided": [], "more_items": None}
    if held.hidden(kind):
        update |= {"accuracy": Figure(reason=reason), "delta": Figure(reason=reason)}
    return quality.model_copy(update=update)
