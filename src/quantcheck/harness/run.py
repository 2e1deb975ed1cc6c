"""Answers named tasks with one model, and keeps for every item what paired tests need."""

import contextlib
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from quantcheck.engines.scorer import Answerer
from quantcheck.errors import EngineUnavailable
from quantcheck.harness.definitions import NAMED, Named, Part, build
from quantcheck.harness.library import need
from quantcheck.harness.load import load
from quantcheck.harness.questions import spread
from quantcheck.harness.records import Record, record_id, records_of
from quantcheck.harness.tokens import HarnessTokenizer
from quantcheck.sandbox import why_no_sandbox

__all__ = ["Record", "Rounds", "TaskResult", "answer", "answer_with"]

FEWSHOT_SEED = 1234
"""lm-eval's own default for which examples are drawn."""


class Rounds(Protocol):
    """Lets a task be answered `size` items at a time, until what is answered is enough.

    Examples in the prompts are drawn anew in each round: two models' prompts agree when their rounds do.
    """

    @property
    def size(self) -> int: ...

    def order(self, ids: Sequence[str]) -> Sequence[int]:
        """The places of the items `ids` in the order in which they are to be asked."""
        ...

    def enough(self, right: Sequence[float | None]) -> bool:
        """Told what is right of each item of a round, in order; True ends the task there."""
        ...


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
    answerer: Answerer, tokenizer: HarnessTokenizer, names: Sequence[str], *, context: int, data: Path | None = None,
    limit: int | None = None, fewshot: int | None = None, chat_template: str | None = None, seed: int = FEWSHOT_SEED,
    rounds: Rounds | None = None, progress: Callable[[str, int, int], None] = lambda _name, _done, _of: None,
) -> Iterator[TaskResult]:
    """The results of the tasks `names`, one after the other, greedily.

    `context`: tokens that the model sees at most. `data`: the folder of
    plain files for the tasks in `NAMED`; without it, and for other names, lm-eval's own data sets are asked for. A name
    that ends in `.yaml` is the user's own definition. `limit`: items of a task, spread over its subjects. `fewshot`:
    examples in a prompt, None: the task's own number. `chat_template`: the text of one. `seed`: of the draw of
    examples. `rounds`: what may end a task before all is answered. `progress` is told name, requests done and requests
    in all.

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
                          chat=chat_template is not None, rounds=rounds)


def answer_with(
    model: Any, name: str, *, data: Path | None = None, limit: int | None = None, fewshot: int | None = None,
    seed: int = FEWSHOT_SEED, chat: bool = False, rounds: Rounds | None = None,
) -> TaskResult:
    """One task's result with any model of lm-eval (an `lm_eval.api.model.LM`), else as `answer`."""
    need()
    named = NAMED.get(name)
    # Of the hub's definitions those that run code are refused as they are loaded.
    if named and data is not None and named.judge == "sandbox" and (why := why_no_sandbox()):
        return TaskResult(name, why_not=f"no sandbox: {why}")
    try:
        parts = build(name, data, fewshot) if named and data is not None else load(name, fewshot)
    except EngineUnavailable as error:
        return TaskResult(name, why_not=str(error).removeprefix(f"{name}: "))
    tokens = max(_tokens_to_write(part) for part in parts)
    if tokens >= model.max_length:
        return TaskResult(name, why_not=f"answers of up to {tokens} tokens do not fit the context of "
                          f"{model.max_length}; it takes a model with a longer one")
    return _evaluated(model, name, named, parts, limit, chat, seed, rounds)


def _tokens_to_write(part: Part) -> int:
    from quantcheck.harness.model import wanted

    return wanted(part.task.config.generation_kwargs)[0] if part.task.OUTPUT_TYPE == "generate_until" else 0


def _evaluated(
    model: Any, name: str, named: Named | None, parts: Sequence[Part], limit: int | None, chat: bool, seed: int,
    rounds: Rounds | None,
) -> TaskResult:
    code = named.dataset if named and named.judge == "sandbox" else None
    metric = None if named is None else named.metric if code else f"{named.metric},{named.filter}"
    takes = spread([len(part.task.eval_docs) for part in parts], limit)
    places = [(part, number) for part, take in zip(parts, takes, strict=True) for number in range(take)]
    order = list(rounds.order([record_id(part, number) for part, number in places]) if rounds else range(len(places)))
    size = rounds.size if rounds else len(places)
    records: list[Record] = []
    for start in range(0, len(order), size):
        asked = [places[place] for place in order[start : start + size]]
        found = _asked(model, asked, metric, code, chat=chat, seed=seed + start // size)
        records += found
        if rounds and rounds.enough([record.right for record in found]):
            break
    first = parts[0]
    return TaskResult(
        name, metric or next(iter(records[0].scores), ""), str(first.task.VERSION),
        hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        first.shots, first.shots_from, tuple(records))


def _asked(
    model: Any, places: Sequence[tuple[Part, int]], metric: str | None, code: str | None, *, chat: bool, seed: int
) -> list[Record]:
    """The records of some documents (part and number), in their order."""
    from lm_eval.evaluator import evaluate

    numbers: dict[str, list[int]] = {}
    parts: dict[str, Part] = {}
    for part, number in places:
        key = part.task.config.task
        parts[key] = part
        numbers.setdefault(key, []).append(number)
    for part in parts.values():
        part.task.set_fewshot_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # lm-eval prints
        found = evaluate(
            model, {"tasks": {key: part.task for key, part in parts.items()}, "groups": {}, "group_map": {}},
            samples={key: sorted(chosen) for key, chosen in numbers.items()},  # it takes them in this order
            bootstrap_iters=0, log_samples=True, apply_chat_template=chat,
        )
    records = {record.id: record for key, part in parts.items()
               for record in records_of(part, found["samples"][key], metric, code)}
    return [records[record_id(part, number)] for part, number in places]
