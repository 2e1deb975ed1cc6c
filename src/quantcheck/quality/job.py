"""Scoring in a process of its own: one model is loaded once and scored on several suites.

Run as `python -m quantcheck.quality.job FOLDER`. FOLDER/job.json says what to do (`Job`). While it runs it appends
one JSON object a line to FOLDER/events.jsonl: `{"suite", "done", "of"}` for progress, `{"suite", "result"}` when a
suite is finished and its arrays are in FOLDER/NUMBER.npz, `{"error", "message"}` when it cannot go on. A crash of the
engine's native code ends this process and nothing else.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from quantcheck.engines.scorer import Scorer

from quantcheck.errors import ModelError, QuantcheckError, StoreError
from quantcheck.quality.divergence import BaselineLogits, LogitsWriter
from quantcheck.quality.perplexity import score_windows
from quantcheck.quality.suites import Corpus, GenerationTask, Suite, load_suites
from quantcheck.quality.tasks import Tokenizer, answer_choices, answer_generation
from quantcheck.quality.windows import windows
from quantcheck.spec.experiment import Quality

__all__ = ["Job", "main", "score_suite"]

IntArray = NDArray[np.integer[Any]]


class Job(BaseModel):
    """What one scoring process does; `suites` are names out of `quality`.

    `logits`: corpus name to the file of the baseline's logits, which the `role` baseline writes and a variant reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    quality: Quality
    suites: list[str]
    role: Literal["baseline", "variant"]
    logits: dict[str, Path]
    threads: int
    batch_tokens: int


def main(folder: Path) -> int:
    """Do FOLDER's job; 0 when all of it is done, else the error's exit code."""
    # Imported here: only this process loads the native library.
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer

    from quantcheck.ggml.vocabulary import Vocabulary

    job = Job.model_validate_json((folder / "job.json").read_text(encoding="utf-8"))
    with (folder / "events.jsonl").open("a", encoding="utf-8") as events:

        def tell(**event: Any) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        try:
            suites = {suite.name: suite for suite in load_suites(job.quality)}
            with LlamaCppScorer(
                job.model, threads=job.threads, context=job.quality.context, batch_tokens=job.batch_tokens
            ) as scorer:
                tokenizer = Vocabulary(scorer.model)
                for number, name in enumerate(job.suites):
                    started = time.monotonic()
                    result, arrays = score_suite(scorer, tokenizer, suites[name], job, lambda done, of, name=name: tell(
                        suite=name, done=done, of=of))
                    np.savez(folder / f"{number}.npz", **arrays)
                    tell(suite=name, result={**result, "seconds": time.monotonic() - started})
        except QuantcheckError as error:
            tell(error=type(error).__name__, message=str(error))
            return error.exit_code
        except OSError as error:
            tell(error="StoreError", message=f"{error.filename or folder}: {error.strerror}; free disk space and retry")
            return StoreError.exit_code
    return 0


def score_suite(
    scorer: Scorer, tokenizer: Tokenizer, suite: Suite, job: Job, progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The result of one suite as stored in a cell, and the arrays of its raw table."""
    if isinstance(suite, Corpus):
        return _corpus(scorer, tokenizer, suite, job, progress)
    prompts = [tokenizer.encode(item.prompt, bos=True) for item in suite.items]
    answer = answer_generation if isinstance(suite, GenerationTask) else answer_choices
    scores = answer(scorer, tokenizer, suite, prompts, lambda done: progress(done, len(prompts)))  # type: ignore[operator]
    result = {
        "kind": "task",
        "n": len(prompts),
        "accuracy": scores.accuracy,
        "suite_sha256": suite.digest,
        "prompts_sha256": _hash(prompts),
    }
    return result, {
        "id": np.array([item.id for item in suite.items]),
        "group": np.array([item.group for item in suite.items]),
        "right": scores.right,
        "output": np.array(scores.output),
    }


def _corpus(
    scorer: Scorer, tokenizer: Tokenizer, suite: Corpus, job: Job, progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    documents = [tokenizer.encode(document, bos=True) for document in suite.documents]
    todo = list(windows(documents, job.quality.context, job.quality.stride, suite.tokens))
    if not todo:
        raise ModelError(f"{suite.name}: its documents are too short to score; every one needs at least two tokens")
    total = sum(window.scored for window in todo)
    path = job.logits.get(suite.name)

    def tokens_done(done: int) -> None:
        progress(done, total)

    if path is None:
        scores = score_windows(scorer, todo, progress=tokens_done)
    elif job.role == "baseline":
        with LogitsWriter(path) as save:
            scores = score_windows(scorer, todo, save=save, progress=tokens_done)
    else:
        baseline = BaselineLogits(path, scorer.vocab_size)
        if baseline.count != total:
            raise ModelError(
                f"{suite.name}: {job.model} cuts the text into {total} scored tokens, the baseline into "
                f"{baseline.count}: their tokenizers differ, so they cannot be compared"
            )
        scores = score_windows(scorer, todo, baseline=baseline, progress=tokens_done)
    result = {
        "kind": "perplexity",
        "tokens": total,
        "documents": int(scores.document.max()) + 1,
        "context": job.quality.context,
        "stride": job.quality.stride,
        "nll_mean": float(scores.nll.mean()),
        "perplexity": scores.perplexity,
        "kl_divergence": None if scores.kl is None else float(scores.kl.mean()),
        "top1_agreement": None if scores.top1 is None else float(scores.top1.mean()),
        "suite_sha256": suite.digest,
        "prompts_sha256": _hash([window.tokens for window in todo]),
    }
    return result, scores.table()


def _hash(sequences: Sequence[IntArray]) -> str:
    """sha256 over all token ids as little-endian int32, each sequence led by its length."""
    digest = hashlib.sha256()
    for tokens in sequences:
        digest.update(np.int32(len(tokens)).astype("<i4").tobytes())
        digest.update(np.asarray(tokens).astype("<i4").tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(main(Path(sys.argv[1])))
