"""The comparisons that an experiment asks for by name: variants against each other, out of the same cells."""

from collections.abc import Iterator, Sequence

from quantcheck.report.cells import CellIndex
from quantcheck.report.continuations import continuation_rows
from quantcheck.report.overall import quality_summary
from quantcheck.report.quality import corpus_rows, task_rows
from quantcheck.report.speed import THROUGHPUT, speed_rows, speed_summary
from quantcheck.report.summary import AskedRow, Figure, VariantRow

__all__ = ["asked_rows"]


def asked_rows(index: CellIndex, variants: Sequence[VariantRow]) -> list[AskedRow]:
    """All rows of every pair in the experiment's `compare`, in its order; `variants` tell the sizes."""
    sizes = {row.name: row.size.bytes for row in variants}
    return [row for reference, variant in index.experiment.compare
            for row in _pair(index.against(reference), variant, sizes[reference], sizes[variant])]


def _pair(index: CellIndex, variant: str, ours: Figure, theirs: Figure) -> Iterator[AskedRow]:
    pair = {"reference": index.baseline, "variant": variant}
    size = (Figure(value=theirs.value / ours.value) if ours.value and theirs.value
            else Figure(reason=theirs.reason or ours.reason))
    yield AskedRow(**pair, kind="size", subject="size", effect=size, n=None)
    tasks, corpora = task_rows(index, variant, {}), corpus_rows(index, variant, {})
    if tasks:
        total = quality_summary(index, variant, tasks, corpora)
        yield AskedRow(**pair, kind="all tasks", subject="all tasks", effect=total.delta, n=total.n, lost=total.lost,
                       gained=total.gained, word=total.word)
    for task in tasks:
        yield AskedRow(**pair, kind="task", subject=task.task, effect=task.delta, n=task.n, lost=task.lost,
                       gained=task.gained, word=task.word)
    for corpus in corpora:
        yield AskedRow(**pair, kind="perplexity", subject=corpus.corpus, effect=corpus.ratio, n=corpus.tokens,
                       word=corpus.word)
    for row in continuation_rows(index):
        if row.variant == variant:
            yield AskedRow(**pair, kind="continuations", subject="continuations", effect=row.agreement, n=row.prompts)
    if index.loads:
        together = speed_summary(index, variant)
        yield AskedRow(**pair, kind="speed", subject="all loads", effect=together.ratio, n=together.blocks,
                       word=together.word)
    for load in speed_rows(index, variant):
        if load.metric == THROUGHPUT:
            yield AskedRow(**pair, kind="speed", subject=load.load, effect=load.ratio, n=load.blocks, word=load.word)
