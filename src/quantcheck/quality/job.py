"""Scoring in a process of its own: one model is loaded once and scored on several suites.

Run as `python -m quantcheck.quality.job FOLDER`. FOLDER/job.json says what to do (`Job`). While it runs it appends
one JSON object a line to FOLDER/events.jsonl: `{"suite", "done", "of"}` for progress, `{"suite", "result"}` when a
suite is finished and its arrays are in FOLDER/NUMBER.npz (its place among the suites), `{"suite", "part"}` when the
job's span of it is (`Part`, packed), `{"suite", "why_not"}` when this machine cannot answer it, `{"units"}` when it is
asked where suites may be cut, `{"error", "message"}` when it cannot go on; `{"engine"}` says what a worker of
transformers is, `{"alive"}` that it is at work. A crash of the engine's native code ends this process and nothing else.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.scorer import Scorer, TopScorer
from quantcheck.ggml import library
from quantcheck.quality.continuations import continue_prompts
from quantcheck.quality.corpus import score_corpus
from quantcheck.quality.early import EarlyStop, in_look_order, look_every
from quantcheck.quality.encoded import Encoded, encode, units
from quantcheck.quality.named import TASK_CONTEXT, Looks, NotAnswered, answer_named
from quantcheck.quality.parts import Part, Span, Table, figures
from quantcheck.quality.scorers import (
    BatchShape,
    Held,
    Server,
    make_room,
    open_scorer,
    open_tokenizer,
    task_room,
    task_tokenizer,
)
from quantcheck.quality.suites import ChoiceTask, Continued, Corpus, GenerationTask, NamedTask, Suite, load_suites
from quantcheck.quality.tasks import CHUNK, Drawing, Tokenizer, answer_choices, answer_generation
from quantcheck.quality.told import Tell, told
from quantcheck.quality.windows import Window
from quantcheck.quality.worst import WorstToken, worst_in_words
from quantcheck.spec.experiment import Quality

__all__ = ["Encoded", "Job", "encode", "main", "score_part"]

IntArray = NDArray[np.integer[Any]]

ALIVE_S = 20.0

Known = tuple[dict[str, Any], Table]
"""What is known of a suite, and the rows of its table."""


class Job(BaseModel):
    """What one scoring process does; `suites` are names out of `quality`.

    `model`: a GGUF file, scored in this process by the wheel's llama.cpp or by `library`; with `server` the Hugging
    Face folder that is served there, with `held` the one that transformers loads.
    `logits`: corpus name to the file of the baseline's logits (of a server's likeliest tokens), which the `role`
    baseline writes and a variant reads. `threads` and `batch_tokens` are llama.cpp's; `threads` also says how
    many answers lie between two looks of `early`.
    `entry` and `seed` are what drawn answers are seeded with, `seed` also what the order of items under `stop: early`
    comes from. `early`: what tasks are held against to end them early; none: every item is answered.
    `spans`: what of each suite is scored; none: all. `cut_for`: score nothing, but tell the units of all suites, which
    are scored in batches of these shapes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    quality: Quality
    suites: list[str]
    role: Literal["baseline", "variant"]
    logits: dict[str, Path]
    threads: int
    batch_tokens: int
    entry: str = ""
    seed: int = 0
    early: EarlyStop | None = None
    server: Server | None = None
    held: Held | None = None
    library: Path | None = None
    spans: dict[str, Span] | None = None
    cut_for: list[BatchShape] | None = None

    @property
    def in_look_order(self) -> bool:
        return self.quality.stop == "early"


def main(folder: Path) -> int:
    """Do FOLDER's job; 0 when all of it is done, else the error's exit code."""
    job = Job.model_validate_json((folder / "job.json").read_text(encoding="utf-8"))
    if job.library is not None:
        library.use(job.library)
    return told(folder, partial(_do, job, folder))


def _do(job: Job, folder: Path, tell: Tell) -> None:
    suites = {suite.name: in_look_order(suite, job.seed) if job.in_look_order else suite
              for suite in load_suites(job.quality)}
    if job.cut_for is not None:
        with open_tokenizer(job.model) as words:
            tell(units=[astuple(unit) for unit in units(suites.values(), job.quality, words, job.cut_for)])
        return
    opened = open_scorer(job.model, job.server, threads=job.threads, batch_tokens=job.batch_tokens, held=job.held,
                         alive=_every(ALIVE_S, partial(tell, alive=True)))
    with opened as (scorer, tokenizer):
        if isinstance(scorer, TransformersScorer):
            tell(engine=scorer.describe())
        answer = _answerer(job, scorer, tokenizer, [suites[name] for name in job.suites])
        for number, name in enumerate(job.suites):
            started = time.monotonic()
            try:
                part = answer(name, partial(_progress, tell, name))
            except NotAnswered as why:
                tell(suite=name, why_not=str(why))
                continue
            if job.spans is None:
                result, arrays = figures(part)
                np.savez(folder / f"{number}.npz", allow_pickle=False, **arrays)
                tell(suite=name, result={**result, "seconds": time.monotonic() - started})
            else:
                (folder / f"{number}.npz").write_bytes(part.packed())
                tell(suite=name, part=[part.begin, part.end, part.of], seconds=time.monotonic() - started)


def _every(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function that does it, but not more often than every so many seconds."""
    last = time.monotonic()

    def maybe() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            last = time.monotonic()
            do()

    return maybe


def _answerer(
    job: Job, scorer: Scorer | TopScorer, tokenizer: Tokenizer, suites: Sequence[Suite]
) -> Callable[[str, Callable[[int, int], None]], Part]:
    """What answers each of `suites` by its name; the scorer has room for all of them then."""
    named = {suite.name: suite for suite in suites if isinstance(suite, NamedTask)}
    own = {suite.name: encode(suite, tokenizer, job.quality) for suite in suites if not isinstance(suite, NamedTask)}
    room = task_room(scorer, job.server, TASK_CONTEXT) if named else 0
    make_room(scorer, max(room, *(item.context for item in own.values()), 0),
              f"lower quality.context ({job.quality.context}), or leave out suites with longer prompts")
    words = task_tokenizer(scorer, job.model) if named else None

    def answer(name: str, progress: Callable[[int, int], None]) -> Part:
        if name in own:
            return score_part(scorer, tokenizer, own[name], job, progress)
        assert words is not None
        facts, table = answer_named(scorer, words, named[name], job.quality, room, progress, _looks(job, named[name]))
        return Part(0, 1, 1, facts, table)

    return answer


def _looks(job: Job, task: NamedTask) -> Looks | None:
    """The rounds of a task that may end early; the baseline's, which never does, are the same."""
    if not job.in_look_order or not task.items:
        return None
    watched = job.early is not None and task.name in job.early.baseline
    return Looks(look_every(job.threads), job.seed, job.early.watch(task) if job.early and watched else None)


def _progress(tell: Tell, suite: str, done: int, of: int) -> None:
    tell(suite=suite, done=done, of=of)


def score_part(
    scorer: Scorer | TopScorer, tokenizer: Tokenizer, work: Encoded, job: Job, progress: Callable[[int, int], None]
) -> Part:
    """What the model makes of a suite, or of the job's span of it.

    `progress` is told what is done of them, in items or tokens, and what all of the suite is.
    """
    suite, total = work.suite, len(work.sequences)
    begin, end = (job.spans or {}).get(suite.name, (0, total))
    hashes = {"suite_sha256": suite.digest, "prompts_sha256": work.sha256}
    if isinstance(suite, Corpus):
        scores = score_corpus(
            scorer, suite.name, work.windows, job.logits.get(suite.name), role=job.role, model=job.model,
            divergence=job.quality.divergence, progress=progress, span=(begin, end),
        )  # fmt: skip
        beside = {"error": scores.kl_error, "gaps": scores.kl_gaps}
        return Part(
            begin, end, total,
            {"kind": "perplexity", "context": job.quality.context, "stride": job.quality.stride,
             "top_k": scores.kl_top, **hashes},
            scores.table(), {name: array for name, array in beside.items() if array is not None},
            None if scores.kl is None else worst_in_words(_placed(scores.worst, work.windows, begin), tokenizer),
        )  # fmt: skip
    prompts = work.sequences[begin:end]
    some = replace(suite, items=suite.items[begin:end])
    if isinstance(some, Continued):
        facts, table = continue_prompts(scorer, tokenizer, some, prompts, lambda done: progress(done, total))
    else:
        facts, table = _task(scorer, tokenizer, some, prompts, job, lambda done: progress(done, total),
                             languages=any("language" in item.data for item in suite.items))
    return Part(begin, end, total, {**facts, **hashes}, table)


def _placed(found: Sequence[WorstToken], cut: Sequence[Window], begin: int) -> list[WorstToken]:
    """Positions count from the document's first token, which may be before the span."""
    document = cut[begin].document
    before = sum(window.scored for window in cut[:begin] if window.document == document)
    return [replace(token, position=token.position + before) if token.document == document else token
            for token in found]


def _task(
    scorer: Scorer | TopScorer, tokenizer: Tokenizer, suite: GenerationTask | ChoiceTask,
    prompts: Sequence[IntArray], job: Job, progress: Callable[[int], None], *, languages: bool,
) -> Known:
    watch = job.early.watch(suite) if job.early else None
    # The same chunks for the baseline: which items are answered together moves figures a little.
    asked: dict[str, Any] = {"chunk": look_every(job.threads) if job.in_look_order else CHUNK}
    if watch:
        asked["enough"] = watch.enough
    sampling = job.quality.sampling
    if isinstance(suite, GenerationTask):
        drawing = Drawing(sampling, job.seed, job.entry) if sampling else None
        answers = answer_generation(scorer, tokenizer, suite, prompts, progress, drawing=drawing, **asked)
    else:
        answers = answer_choices(scorer, tokenizer, suite, prompts, progress, **asked)
    items = suite.items[: answers.items]
    written = isinstance(suite, GenerationTask)
    facts: dict[str, Any] = {"kind": "task", "answers": "written" if written else "chosen"}
    columns: dict[str, NDArray[Any]] = {
        "id": np.array([item.id for item in items]),
        "group": np.array([item.group for item in items]),
        "prompt_tokens": np.array([len(prompt) for prompt in prompts[: len(items)]], dtype=np.int32),
    }
    if languages:
        columns["language"] = np.array([str(item.data.get("language", "")) for item in items])
    columns = {name: np.repeat(column, answers.draws) for name, column in columns.items()}
    if isinstance(suite, GenerationTask) and sampling:
        facts["sampling"] = sampling.model_dump()
        columns["draw"] = np.tile(np.arange(answers.draws, dtype=np.int32), len(items))
    if watch:
        facts["early"] = watch.record(job.seed)
    return facts, {**columns, "right": answers.right, "output": np.array(answers.output)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
