"""Scoring in a process of its own: one model is loaded once and scored on several suites.

Run as `python -m quantcheck.quality.job FOLDER`. FOLDER/job.json says what to do (`Job`). While it runs it appends
one JSON object a line to FOLDER/events.jsonl: `{"suite", "done", "of"}` for progress, `{"suite", "result"}` when a
suite is finished and its arrays are in FOLDER/NUMBER.npz (its place among the suites), `{"suite", "why_not"}` when
this machine cannot answer it, `{"error", "message"}` when it cannot go on; `{"engine"}` says what a worker of
transformers is, `{"alive"}` that it is at work. A crash of the engine's native code ends this process and nothing else.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.scorer import Scorer, TopScorer
from quantcheck.errors import ModelError
from quantcheck.quality.continuations import continue_prompts
from quantcheck.quality.corpus import kl_kind, score_corpus
from quantcheck.quality.early import EarlyStop, in_look_order, look_every
from quantcheck.quality.named import TASK_CONTEXT, Looks, NotAnswered, answer_named
from quantcheck.quality.scorers import Held, Server, make_room, open_scorer, task_room, task_tokenizer
from quantcheck.quality.suites import (
    LINE_TOKENS,
    ChoiceTask,
    Continued,
    Corpus,
    GenerationTask,
    NamedTask,
    OwnSuite,
    Suite,
    load_suites,
)
from quantcheck.quality.tasks import CHUNK, Drawing, Tokenizer, answer_choices, answer_generation
from quantcheck.quality.told import Tell, told
from quantcheck.quality.windows import Window, windows
from quantcheck.quality.worst import worst_in_words
from quantcheck.spec.experiment import Quality

__all__ = ["Encoded", "Job", "encode", "main", "score_suite"]

IntArray = NDArray[np.integer[Any]]

ALIVE_S = 20.0


class Job(BaseModel):
    """What one scoring process does; `suites` are names out of `quality`.

    `model`: a GGUF file, scored in this process; with `server` the Hugging Face folder that is served there, with
    `held` the one that transformers loads.
    `logits`: corpus name to the file of the baseline's logits (of a server's likeliest tokens), which the `role`
    baseline writes and a variant reads. `threads` and `batch_tokens` are llama.cpp's; `threads` also says how
    many answers lie between two looks of `early`.
    `entry` and `seed` are what drawn answers are seeded with, `seed` also what the order of items under `stop: early`
    comes from. `early`: what tasks are held against to end them early; none: every item is answered.
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

    @property
    def in_look_order(self) -> bool:
        return self.quality.stop == "early"


def main(folder: Path) -> int:
    """Do FOLDER's job; 0 when all of it is done, else the error's exit code."""
    job = Job.model_validate_json((folder / "job.json").read_text(encoding="utf-8"))
    return told(folder, partial(_do, job, folder))


def _do(job: Job, folder: Path, tell: Tell) -> None:
    suites = {suite.name: in_look_order(suite, job.seed) if job.in_look_order else suite
              for suite in load_suites(job.quality)}
    opened = open_scorer(job.model, job.server, threads=job.threads, batch_tokens=job.batch_tokens, held=job.held,
                         alive=_every(ALIVE_S, partial(tell, alive=True)))
    with opened as (scorer, tokenizer):
        if isinstance(scorer, TransformersScorer):
            tell(engine=scorer.describe())
        answer = _answerer(job, scorer, tokenizer, [suites[name] for name in job.suites])
        for number, name in enumerate(job.suites):
            started = time.monotonic()
            try:
                result, arrays = answer(name, partial(_progress, tell, name))
            except NotAnswered as why:
                tell(suite=name, why_not=str(why))
                continue
            np.savez(folder / f"{number}.npz", allow_pickle=False, **arrays)
            tell(suite=name, result={**result, "seconds": time.monotonic() - started})


def _every(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function that does it, but not more often than every so many seconds."""
    last = time.monotonic()

    def maybe() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            last = time.monotonic()
            do()

    return maybe


Scored = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""The result of one suite as stored in a cell, and the arrays of its raw table."""


def _answerer(
    job: Job, scorer: Scorer | TopScorer, tokenizer: Tokenizer, suites: Sequence[Suite]
) -> Callable[[str, Callable[[int, int], None]], Scored]:
    """What answers each of `suites` by its name; the scorer has room for all of them then."""
    named = {suite.name: suite for suite in suites if isinstance(suite, NamedTask)}
    own = {suite.name: encode(suite, tokenizer, job.quality) for suite in suites if not isinstance(suite, NamedTask)}
    room = task_room(scorer, job.server, TASK_CONTEXT) if named else 0
    make_room(scorer, max(room, *(item.context for item in own.values()), 0),
              f"lower quality.context ({job.quality.context}), or leave out suites with longer prompts")
    words = task_tokenizer(scorer, job.model) if named else None

    def answer(name: str, progress: Callable[[int, int], None]) -> Scored:
        if name in own:
            return score_suite(scorer, tokenizer, own[name], job, progress)
        assert words is not None
        return answer_named(scorer, words, named[name], job.quality, room, progress, _looks(job, named[name]))

    return answer


def _looks(job: Job, task: NamedTask) -> Looks | None:
    """The rounds of a task that may end early; the baseline's, which never does, are the same."""
    if not job.in_look_order or not task.items:
        return None
    watched = job.early is not None and task.name in job.early.baseline
    return Looks(look_every(job.threads), job.seed, job.early.watch(task) if job.early and watched else None)


def _progress(tell: Tell, suite: str, done: int, of: int) -> None:
    tell(suite=suite, done=done, of=of)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A suite as token ids: the prompts of a task, or the windows of a corpus."""

    suite: OwnSuite
    sequences: list[IntArray]
    windows: list[Window]

    @property
    def context(self) -> int:
        """Tokens that the longest sequence and its answer take."""
        answer = 0 if isinstance(self.suite, Corpus) else getattr(self.suite, "max_tokens", LINE_TOKENS)
        return max(map(len, self.sequences)) + answer

    @property
    def sha256(self) -> str:
        """Over all token ids as little-endian int32, each sequence led by its length."""
        digest = hashlib.sha256()
        for tokens in self.sequences:
            digest.update(np.int32(len(tokens)).astype("<i4").tobytes())
            digest.update(np.asarray(tokens).astype("<i4").tobytes())
        return digest.hexdigest()


def encode(suite: OwnSuite, tokenizer: Tokenizer, quality: Quality) -> Encoded:
    """The token ids of `suite`; raises `ModelError` when its texts are too short to score."""
    if not isinstance(suite, Corpus):
        return Encoded(suite, [tokenizer.encode(item.prompt, bos=True) for item in suite.items], [])
    documents = [tokenizer.encode(document, bos=True) for document in suite.documents]
    found = list(windows(documents, quality.context, quality.stride, suite.tokens))
    if not found:
        raise ModelError(f"{suite.name}: its documents are too short to score; every one needs at least two tokens")
    return Encoded(suite, [window.tokens for window in found], found)


def score_suite(
    scorer: Scorer | TopScorer, tokenizer: Tokenizer, work: Encoded, job: Job, progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The result of one suite as stored in a cell, and the arrays of its raw table."""
    suite = work.suite
    hashes = {"suite_sha256": suite.digest, "prompts_sha256": work.sha256}
    if isinstance(suite, Corpus):
        scores = score_corpus(
            scorer, suite.name, work.windows, job.logits.get(suite.name), role=job.role, model=job.model,
            divergence=job.quality.divergence, progress=progress,
        )  # fmt: skip
        return {
            "kind": "perplexity",
            "tokens": len(scores.nll),
            "documents": int(scores.document.max()) + 1,
            "context": job.quality.context,
            "stride": job.quality.stride,
            "nll_mean": float(scores.nll.mean()),
            "perplexity": scores.perplexity,
            "kl_divergence": None if scores.kl is None else float(scores.kl.mean()),
            "top1_agreement": None if scores.top1 is None else float(scores.top1.mean()),
            **kl_kind(scores),
            **({} if scores.kl is None else {"worst_tokens": worst_in_words(scores.worst, tokenizer)}),
            **hashes,
        }, scores.table()

    if isinstance(suite, Continued):
        of = len(work.sequences)
        result, arrays = continue_prompts(scorer, tokenizer, suite, work.sequences, lambda done: progress(done, of))
    else:
        result, arrays = _task(scorer, tokenizer, suite, work.sequences, job, progress)
    return {**result, **hashes}, arrays


def _task(
    scorer: Scorer | TopScorer, tokenizer: Tokenizer, suite: GenerationTask | ChoiceTask,
    prompts: Sequence[IntArray], job: Job, progress: Callable[[int, int], None],
) -> Scored:
    def items_done(done: int) -> None:
        progress(done, len(prompts))

    watch = job.early.watch(suite) if job.early else None
    # The same chunks for the baseline: which items are answered together moves figures a little.
    asked: dict[str, Any] = {"chunk": look_every(job.threads) if job.in_look_order else CHUNK}
    if watch:
        asked["enough"] = watch.enough
    sampling = job.quality.sampling
    if isinstance(suite, GenerationTask):
        drawing = Drawing(sampling, job.seed, job.entry) if sampling else None
        answers = answer_generation(scorer, tokenizer, suite, prompts, items_done, drawing=drawing, **asked)
    else:
        answers = answer_choices(scorer, tokenizer, suite, prompts, items_done, **asked)
    items = suite.items[: answers.items]
    written = isinstance(suite, GenerationTask)
    result: dict[str, Any] = {"kind": "task", "n": len(items), "accuracy": answers.accuracy,
                              "answers": "written" if written else "chosen"}
    columns: dict[str, NDArray[Any]] = {
        "id": np.array([item.id for item in items]),
        "group": np.array([item.group for item in items]),
        "prompt_tokens": np.array([len(prompt) for prompt in prompts[: len(items)]], dtype=np.int32),
    }
    if any("language" in item.data for item in suite.items):
        columns["language"] = np.array([str(item.data.get("language", "")) for item in items])
    columns = {name: np.repeat(column, answers.draws) for name, column in columns.items()}
    if isinstance(suite, GenerationTask) and sampling:
        result["sampling"] = sampling.model_dump()
        columns["draw"] = np.tile(np.arange(answers.draws, dtype=np.int32), len(items))
    if watch:
        result["early"] = watch.record(job.seed)
    return result, {**columns, "right": answers.right, "output": np.array(answers.output)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
