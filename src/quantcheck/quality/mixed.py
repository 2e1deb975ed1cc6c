"""A model of which any chosen modules are the variant's, and all others the baseline's."""

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.scorer import Scorer
from quantcheck.quality.scorers import Held, open_scorer
from quantcheck.quality.tasks import Tokenizer
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.swap import unlike_tensors, write_mixed

__all__ = ["Mixed", "mixed_files", "mixed_modules"]

Opened = tuple[Scorer, Tokenizer]


class Mixed(Protocol):
    """`names`: the modules in which the two differ, in the model's order. `scorer`: a context with the scorer of the
    model that has some of them from the variant, and its tokenizer."""

    names: list[str]

    def scorer(self, of_variant: Set[str]) -> AbstractContextManager[Opened]: ...


class _Files:
    def __init__(self, baseline: Path, variant: Path, folder: Path, threads: int, batch_tokens: int) -> None:
        self._baseline, self._variant = GgufFile(baseline), GgufFile(variant)
        self._path, self._threads, self._batch_tokens = folder / "mixed.gguf", threads, batch_tokens
        self.names = unlike_tensors(self._baseline, self._variant)

    @contextmanager
    def scorer(self, of_variant: Set[str]) -> Iterator[Opened]:
        whole = {0: self._baseline.path, len(self.names): self._variant.path}.get(len(of_variant))
        if whole is None:
            write_mixed(self._path, self._baseline, self._variant, of_variant)
        try:
            opened = open_scorer(whole or self._path, None, threads=self._threads, batch_tokens=self._batch_tokens)
            with opened as (scorer, tokenizer):
                yield scorer, tokenizer  # type: ignore[misc]  # no server: full logits
        finally:
            self._path.unlink(missing_ok=True)


def mixed_files(baseline: Path, variant: Path, folder: Path, threads: int, batch_tokens: int) -> Mixed:
    """Two GGUF files; a mixed one is written into `folder`, and gone again when it was scored.

    Raises `ModelError` for files of two models, `StoreError` when the disk is full.
    """
    return _Files(baseline, variant, folder, threads, batch_tokens)


class _Modules:
    def __init__(self, scorer: TransformersScorer, folder: Path, names: list[str]) -> None:
        self._scorer, self._tokenizer, self.names = scorer, FolderTokenizer(folder), names
        self._there: Set[str] = frozenset()

    @contextmanager
    def scorer(self, of_variant: Set[str]) -> Iterator[Opened]:
        self._scorer.exchange(sorted(self._there ^ of_variant))
        self._there = frozenset(of_variant)
        yield self._scorer, self._tokenizer


@contextmanager
def mixed_modules(
    held: Held, variant: Loaded, batch_tokens: int, alive: Callable[[], None] | None = None
) -> Iterator[Mixed]:
    """Two models that transformers holds at once, in one worker, and whose modules change places.

    Raises what the worker raises: there must be memory for both.
    """
    with TransformersScorer(held.loaded, log=held.log, batch_size=held.batch_size, batch_tokens=batch_tokens,
                            alive=alive) as scorer:
        yield _Modules(scorer, held.loaded.folder, scorer.beside(variant))
