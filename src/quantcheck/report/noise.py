"""The noise floor: the baseline against itself, measured again, as rows and as floors for verdicts."""

from collections.abc import Sequence
from typing import TypeVar

from quantcheck.report.cells import CellIndex
from quantcheck.report.quality import corpus_rows, task_rows
from quantcheck.report.speed import THROUGHPUT, speed_rows, speed_summary
from quantcheck.report.summary import CorpusRow, NoiseRow, TaskRow

__all__ = ["noise_floors", "noise_rows", "with_noise"]


QualityRow = TypeVar("QualityRow", TaskRow, CorpusRow)


def noise_rows(index: CellIndex) -> list[NoiseRow]:
    """One row per load, all loads together, task and corpus; empty when the experiment measures no noise floor."""
    if not index.experiment.noise_floor:
        return []
    rows = [
        NoiseRow(kind="speed", subject=row.load, effect=row.ratio, n=row.blocks)
        for row in speed_rows(index, index.again)
        if row.metric == THROUGHPUT
    ]
    if len(index.loads) > 1:
        together = speed_summary(index, index.again)
        rows.append(NoiseRow(kind="speed", subject="all loads", effect=together.ratio, n=together.blocks))
    rows += [
        NoiseRow(kind="task", subject=row.task, effect=row.delta, n=row.n, lost=row.lost, gained=row.gained)
        for row in task_rows(index, index.again, {})
    ]
    rows += [
        NoiseRow(kind="perplexity", subject=row.corpus, effect=row.ratio, n=row.tokens, kl_divergence=row.kl_divergence)
        for row in corpus_rows(index, index.again, {})
    ]
    return rows


def noise_floors(rows: Sequence[NoiseRow]) -> tuple[dict[str, float], dict[str, float]]:
    """(change of accuracy by task, perplexity ratio minus 1 by corpus), for what was measured."""
    tasks = {r.subject: r.effect.value for r in rows if r.kind == "task" and r.effect.value is not None}
    corpora = {r.subject: r.effect.value - 1 for r in rows if r.kind == "perplexity" and r.effect.value is not None}
    return tasks, corpora


def with_noise(rows: Sequence[QualityRow], noise: Sequence[NoiseRow]) -> list[QualityRow]:
    """Quality rows with what the baseline against itself shows on the same subject beside each."""
    floors = {row.subject: row.effect for row in noise if row.kind != "speed"}

    def subject(row: QualityRow) -> str:
        return row.task if isinstance(row, TaskRow) else row.corpus

    return [row.model_copy(update={"noise": floors.get(subject(row), row.noise)}) for row in rows]
