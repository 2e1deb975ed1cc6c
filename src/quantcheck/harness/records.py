"""One item of a task, answered and judged: lm-eval's sample, and what paired tests need of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from quantcheck.harness.code import passed
from quantcheck.harness.definitions import Part

__all__ = ["Record", "record_id", "records_of"]

Sample = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One item, answered. The hashes are lm-eval's: two models' records are of one question when all three agree.

    `id`: unique in the task. `group`: the subject, empty where there is none. `right`: the task's score, None where it
    has none (perplexity). `answer`: the text as it was judged, or the number of the likeliest choice. `logprobs`: of
    each choice (of a whole text), empty for a written answer. `scores`: all of lm-eval's scores that are numbers, by
    `metric,filter`.
    """

    id: str
    group: str
    doc_hash: str
    prompt_hash: str
    target_hash: str
    right: float | None
    answer: str
    logprobs: tuple[float, ...]
    scores: Mapping[str, float]


def record_id(part: Part, number: int) -> str:
    """The id of a document of `part` by its number there."""
    return f"{part.group}/{number}" if part.group else str(number)


def records_of(part: Part, samples: Sequence[Sample], metric: str | None, code: str | None) -> list[Record]:
    """The records of one part, in the order of its documents.

    `metric`: `metric,filter` that says what is right; None: the first. `code`: the data set whose answers are code, to
    be judged in the sandbox by `pass@1`.
    """
    by_document: dict[int, list[Sample]] = {}
    for sample in samples:
        by_document.setdefault(sample["doc_id"], []).append(sample)
    firsts = [filtered[0] for filtered in by_document.values()]
    judged = passed(code, firsts) if code else [None] * len(firsts)
    return [_record(part, filtered, metric, verdict)
            for filtered, verdict in zip(by_document.values(), judged, strict=True)]


def _record(part: Part, filtered: Sequence[Sample], metric: str | None, verdict: bool | None) -> Record:
    """`filtered`: one document's sample under each filter."""
    scores: dict[str, float] = {}
    if verdict is not None:
        scores[f"{metric}"] = float(verdict)
    for sample in filtered:
        for name in sample["metrics"]:
            if isinstance(sample[name], Real | np.bool_):
                scores[f"{name},{sample['filter']}"] = float(sample[name])
    metric = metric or next(iter(scores), None)
    chosen = next((sample for sample in filtered if metric and metric.endswith(f",{sample['filter']}")), filtered[0])
    answer, logprobs = _answer(chosen, part.task.OUTPUT_TYPE)
    first = filtered[0]
    return Record(
        id=record_id(part, first["doc_id"]), group=part.group,
        doc_hash=first["doc_hash"], prompt_hash=first["prompt_hash"], target_hash=first["target_hash"],
        right=None if metric is None else scores[metric], answer=answer, logprobs=logprobs, scores=scores)


def _answer(sample: Sample, output_type: str) -> tuple[str, tuple[float, ...]]:
    responses = sample["filtered_resps"]
    if output_type == "generate_until":
        return str(responses[0]), ()
    if output_type == "loglikelihood_rolling":
        return "", tuple(float(logprob) for logprob in responses)
    logprobs = tuple(float(logprob) for logprob, _ in responses)
    return (str(int(np.argmax(logprobs))) if output_type == "multiple_choice" else str(responses[0][1])), logprobs
