"""Which module does the damage: the divergence of the baseline with one module of the variant, module by module.

Run as `python -m quantcheck.quality.locate FOLDER`, in a process of its own; FOLDER/job.json says what to do
(`LocateJob`). It appends to FOLDER/events.jsonl: `{"modules"}` once, `{"done"}` after each, `{"error", "message"}` when
it cannot go on; FOLDER/found.npz has the arrays of `Located`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.scorer import Scorer
from quantcheck.errors import SpecError
from quantcheck.ggml import library
from quantcheck.quality.divergence import BaselineLogits, LogitsWriter
from quantcheck.quality.job import encode
from quantcheck.quality.mixed import Mixed, mixed_files, mixed_modules
from quantcheck.quality.perplexity import TokenScores, score_windows
from quantcheck.quality.scorers import Held, make_room
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.quality.told import Tell, told
from quantcheck.quality.windows import Window
from quantcheck.spec.quality import Quality

__all__ = ["LocateJob", "Located", "locate", "main"]


class LocateJob(BaseModel):
    """`baseline`, `variant`: GGUF files, scored by the wheel's llama.cpp or by `library`, or with `held` and `beside`
    folders that transformers loads so.

    `suite`: a corpus of `quality`, `tokens` of which are scored. `reverse`: the variant with one module of the
    baseline, instead of the baseline with one of the variant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: Path
    variant: Path
    quality: Quality
    suite: str
    tokens: int
    threads: int
    batch_tokens: int
    reverse: bool = False
    held: Held | None = None
    beside: Loaded | None = None
    library: Path | None = None


@dataclass(frozen=True)
class Located:
    """`modules` [m]; `kl` [m, tokens]: nats of the mixed model from the baseline, at each scored token; `whole`
    [tokens]: of the whole variant; `document` [tokens]: which document a token is of.
    """

    modules: NDArray[np.str_]
    kl: NDArray[np.float64]
    whole: NDArray[np.float64]
    document: NDArray[np.int32]


def locate(job: LocateJob, mixed: Mixed, folder: Path, tell: Tell) -> Located:
    """Score the baseline, the variant, and one mixed model a module. Raises what scoring raises.

    `SpecError` where the two models do not differ.
    """
    if not mixed.names:
        raise SpecError(f"{job.variant} has the baseline's weights: there is nothing to locate")
    tell(modules=mixed.names)
    with mixed.scorer(frozenset()) as (scorer, tokenizer):
        suite = next(suite for suite in load_suites(job.quality) if suite.name == job.suite)
        assert isinstance(suite, Corpus)
        windows = encode(replace(suite, tokens=job.tokens), tokenizer, job.quality).windows
        _make_room(scorer, windows, job)
        with LogitsWriter(folder / "baseline.f32") as save:
            base = score_windows(scorer, windows, save=save)

    def divergence(of_variant: frozenset[str]) -> NDArray[np.float64]:
        with mixed.scorer(of_variant) as (other, _):
            _make_room(other, windows, job)
            found: TokenScores = score_windows(
                other, windows, baseline=BaselineLogits(folder / "baseline.f32", other.vocab_size))
        assert found.kl is not None
        return found.kl

    every = frozenset(mixed.names)
    whole = divergence(every)
    tell(done="")
    rows = []
    for name in mixed.names:
        rows.append(divergence(every - {name} if job.reverse else frozenset({name})))
        tell(done=name)
    return Located(np.array(mixed.names), np.array(rows), whole, base.document)


def _make_room(scorer: Scorer, windows: list[Window], job: LocateJob) -> None:
    make_room(scorer, max(len(window.tokens) for window in windows), f"lower quality.context ({job.quality.context})")


@contextmanager
def _mixed(job: LocateJob, folder: Path) -> Iterator[Mixed]:
    if job.held is None:
        yield mixed_files(job.baseline, job.variant, folder, job.threads, job.batch_tokens)
        return
    assert job.beside is not None
    with mixed_modules(job.held, job.beside, job.batch_tokens) as mixed:
        yield mixed


def main(folder: Path) -> int:
    """Do FOLDER's job; 0 when all of it is done, else the error's exit code."""
    job = LocateJob.model_validate_json((folder / "job.json").read_text(encoding="utf-8"))
    if job.library is not None:
        library.use(job.library)

    def do(tell: Tell) -> None:
        with _mixed(job, folder) as mixed:
            found = locate(job, mixed, folder, tell)
        np.savez(folder / "found.npz", allow_pickle=False, **asdict(found))
        tell(finished=True)

    return told(folder, do)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
