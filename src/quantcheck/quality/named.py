"""Tasks that lm-eval asks and judges, answered by a job's model: results as the cells of other tasks have them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import Answerer
from quantcheck.errors import SpecError
from quantcheck.harness import VERSION, Record, TaskResult, answer
from quantcheck.quality.early import Watch
from quantcheck.quality.scorers import TaskTokenizer
from quantcheck.quality.suite import NamedTask
from quantcheck.spec.quality import Quality
from quantcheck.stats.sequential import look_order

__all__ = ["TASK_CONTEXT", "Looks", "NotAnswered", "answer_named"]

TASK_CONTEXT = 4096
"""Tokens that a prompt of a named task may have at most, where the model takes as many: a longer one loses its
beginning, as in lm-eval. Five-shot prompts of MMLU stay below it."""


class NotAnswered(Exception):
    """The task cannot be answered on this machine; its text says why, and what to do."""


@dataclass(slots=True)
class Looks:
    """`harness.Rounds`: in a seeded random order, `size` items between two looks; `watch` is told, where there is one.
    """

    size: int
    seed: int
    watch: Watch | None

    def order(self, ids: Sequence[str]) -> Sequence[int]:
        return [int(place) for place in look_order(list(ids), self.seed)]

    def enough(self, right: Sequence[float | None]) -> bool:
        if self.watch is None:
            return False
        return self.watch.enough(_judged(right).reshape(-1, 1))


def answer_named(
    scorer: Answerer, words: TaskTokenizer, task: NamedTask, quality: Quality, context: int,
    progress: Callable[[int, int], None], looks: Looks | None = None,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The result of one task as stored in a cell, and the columns of its `items` table.

    `context`: tokens that a prompt may have at most. `looks`: with it the task is answered in rounds, and may end
    early. Raises `NotAnswered` where it cannot be answered here, `SpecError` for a task that is not judged right or
    wrong.
    """
    template = _template(words, quality)
    data = None if quality.data is None else Path(quality.data)
    (result,) = answer(
        scorer, words, [task.ask], context=context, data=data, limit=task.limit, fewshot=quality.shots(task.name),
        chat_template=template, rounds=looks, progress=lambda _, done, of: progress(done, of),
    )
    if result.why_not:
        raise NotAnswered(result.why_not)
    right = _judged([record.right for record in result.records], task.name, result.metric)
    stored: dict[str, Any] = {
        "kind": "task", "n": len(right), "accuracy": float(right.mean()),
        "answers": "chosen" if all(record.logprobs for record in result.records) else "written",
        "asked": _asked(result, template, context),
        "suite_sha256": task.digest, "definition_sha256": result.sha256,
    }
    if looks and looks.watch:
        stored["early"] = looks.watch.record(looks.seed)
    return stored, _columns(result.records, right)


def _template(words: TaskTokenizer, quality: Quality) -> str | None:
    if not quality.chat_template:
        return None
    if isinstance(quality.chat_template, str):
        try:
            return Path(quality.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"quality.chat_template: {quality.chat_template} cannot be read ({error}); give a file, "
                            "true or false") from error
    if words.chat_template is None:
        raise SpecError("quality.chat_template: the model has no chat template of its own; give a file with one, or "
                        "false")
    return words.chat_template


def _asked(result: TaskResult, template: str | None, context: int) -> dict[str, Any]:
    """How the task was asked, for the record."""
    return {
        "by": f"lm-eval {VERSION}", "version": result.version, "metric": result.metric, "shots": result.shots,
        "shots_from": result.shots_from, "context": context,
        "chat_template_sha256": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
    }


def _judged(right: Sequence[float | None], name: str = "", metric: str = "") -> NDArray[np.bool_]:
    values = np.array([np.nan if one is None else one for one in right])
    if not np.isin(values, (0.0, 1.0)).all():
        raise SpecError(f"{name}: its first metric ({metric or 'none'}) does not say of each item whether it is right; "
                        "only such tasks are compared item by item: name another, or a definition with such a metric "
                        "first")
    return values.astype(bool)


def _columns(records: Sequence[Record], right: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "id": np.array([record.id for record in records]),
        "group": np.array([record.group for record in records]),
        "right": right,
        "output": np.array([record.answer for record in records]),
        "doc_hash": np.array([record.doc_hash for record in records]),
        "prompt_hash": np.array([record.prompt_hash for record in records]),
        "target_hash": np.array([record.target_hash for record in records]),
    }
    scores = [name for name in records[0].scores if all(name in record.scores for record in records)]
    return columns | {f"score:{name}": np.array([record.scores[name] for record in records]) for name in scores}
