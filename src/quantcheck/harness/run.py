"""Answers named tasks with one model, and keeps for every item what paired tests need."""

import contextlib
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcheck.engines.scorer import Answerer
from quantcheck.errors import EngineUnavailable
from quantcheck.harness.definitions import NAMED, Named, Part, build
from quantcheck.harness.library import need
from quantcheck.harness.load import load
from quantcheck.harness.records import Record, records_of
from quantcheck.sandbox import why_no_sandbox

if TYPE_CHECKING:
    from quantcheck.harness.model import Tokenizer  # which needs lm-eval

__all__ = ["Record", "TaskResult", "answer", "answer_with"]

FEWSHOT_SEED = 1234
"""lm-eval's own default for which examples are drawn."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What one model answered to one task.

    `metric`: what `right` is. `version`: lm-eval's of the definition. `sha256`: over the definitions used. `shots`:
    examples in each prompt; `shots_from`: where they come from. `why_not`: why there are no records, and what to do.
    """

    name: str
    metric: str = ""
    version: str = ""
    sha256: str = ""
    shots: int = 0
    shots_from: str | None = None
    records: tuple[Record, ...] = field(default=(), repr=False)
    why_not: str | None = None

    @property
    def score(self) -> float:
        """The mean of what is right; NaN where nothing is judged."""
        right = [record.right for record in self.records if record.right is not None]
        return math.fsum(right) / len(right) if right else math.nan


def answer(
    answerer: Answerer, tokenizer: "Tokenizer", names: Sequence[str], *, context: int, data: Path | None = None,
    limit: int | None = None, fewshot: int | None = None, chat_template: str | None = None, seed: int = FEWSHOT_SEED,
    progress: Callable[[str, int, int], None] = lambda _name, _done, _of: None,
) -> Iterator[TaskResult]:
    """The results of the tasks `names`, one after the other, greedily.

    `tokenizer`: as `harness.model.Tokenizer`. `context`: tokens that the model sees at most. `data`: the folder of
    plain files for the tasks in `NAMED`; without it, and for other names, lm-eval's own data sets are asked for. A name
    that ends in `.yaml` is the user's own definition. `limit`: items of a task, spread over its subjects. `fewshot`:
    examples in a prompt, None: the task's own number. `chat_template`: the text of one. `seed`: of the draw of
    examples. `progress` is told name, requests done and requests in all.

    A task that cannot be answered on this machine gives `why_not`. Raises `EngineUnavailable` without lm-eval,
    `SpecError` for names or data that are wrong, and what the engine raises.
    """
    need()
    from quantcheck.harness.model import AnswererModel

    for name in names:
        def tell(done: int, of: int, name: str = name) -> None:
            progress(name, done, of)

        model = AnswererModel(answerer, tokenizer, context, chat_template, tell)
        yield answer_with(model, name, data=data, limit=limit, fewshot=fewshot, seed=seed,
                          chat=chat_template is not None)


def answer_with(
    model: Any, name: str, *, data: Path | None = None, limit: int | None = None, fewshot: int | None = None,
    seed: int = FEWSHOT_SEED, chat: bool = False,
) -> TaskResult:
    """One task's result with any model of lm-eval (an `lm_eval.api.model.LM`), else as `answer`."""
    need()
    named = NAMED.get(name) if data is not None else None
    if named and named.judge == "sandbox" and (why := why_no_sandbox()):
        return TaskResult(name, why_not=f"no sandbox: {why}")
    try:
        parts = build(name, data, fewshot) if named and data is not None else load(name, fewshot)
    except EngineUnavailable as error:
        return TaskResult(name, why_not=str(error))
    tokens = max(_tokens_to_write(part) for part in parts)
    if tokens >= model.max_length:
        return TaskResult(name, why_not=f"answers of up to {tokens} tokens do not fit the context of "
                          f"{model.max_length}; it takes a model with a longer one")
    return _evaluated(model, name, named, parts, limit, chat, seed)


def _tokens_to_write(part: Part) -> int:
    from quantcheck.harness.model import wanted

    return wanted(part.task.config.generation_kwargs)[0] if part.task.OUTPUT_TYPE == "generate_until" else 0


def _evaluated(
    model: Any, name: str, named: Named | None, parts: Sequence[Part], limit: int | None, chat: bool, seed: int
) -> TaskResult:
    from lm_eval.evaluator import evaluate

    takes = _spread([len(part.task.eval_docs) for part in parts], limit)
    asked = {part.task.config.task: (part, take) for part, take in zip(parts, takes, strict=True) if take}
    for part, _ in asked.values():
        part.task.set_fewshot_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # lm-eval prints
        found = evaluate(
            model, {"tasks": {key: part.task for key, (part, _) in asked.items()}, "groups": {}, "group_map": {}},
            samples={key: range(take) for key, (_, take) in asked.items()},
            bootstrap_iters=0, log_samples=True, apply_chat_template=chat,
        )
    code = named.dataset if named and named.judge == "sandbox" else None
    metric = None if named is None else named.metric if code else f"{named.metric},{named.filter}"
    records = [record for key, (part, _) in asked.items()
               for record in records_of(part, found["samples"][key], metric, code)]
    first = parts[0]
    return TaskResult(
        name, metric or next(iter(records[0].scores), ""), str(first.task.VERSION),
        hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        first.shots, first.shots_from, tuple(records))


def _spread(sizes: Sequence[int], limit: int | None) -> list[int]:
    """How many items to take of each part: as many of one as of another, as far as they have them."""
    if limit is None:
        return list(sizes)
    takes = [0] * len(sizes)
    left = min(limit, sum(sizes))
    while left:
        for place, size in enumerate(sizes):
            if left and takes[place] < size:
                takes[place] += 1
                left -= 1
    return takes
