"""What quality is measured on: corpora for perplexity, and tasks of items that are answered right or wrong.

The suites that ship belong to the reference model; a corpus can also be the user's own text.
"""

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.quality import answers, expressions
from quantcheck.quality.prompts import load_prompts
from quantcheck.quality.suite import Continued
from quantcheck.spec.experiment import Quality

__all__ = ["LINE_TOKENS", "SUITES", "ChoiceTask", "Continued", "Corpus", "GenerationTask", "Item", "JudgedSuite", "Suite",
           "load_suites"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents to be scored by perplexity and divergence; `tokens`: score at most so many."""

    name: str
    documents: tuple[str, ...]
    tokens: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question; `data` is its line of the task's file."""

    id: str
    group: str
    prompt: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """The model writes one line; `right` judges it."""

    name: str
    items: tuple[Item, ...]
    max_tokens: int
    right: Callable[[Item, str], bool]
    digest: str


@dataclass(frozen=True, slots=True)
class ChoiceTask:
    """The model's answer is the choice to which it gives the greatest summed log-likelihood."""

    name: str
    items: tuple[Item, ...]
    digest: str


Suite = Corpus | GenerationTask | ChoiceTask | Continued
JudgedSuite = GenerationTask | ChoiceTask


def _arithmetic(item: Item, text: str) -> bool:
    return answers.final_number(text) == str(item.data["answer"])


def _expression(item: Item, text: str) -> bool:
    return expressions.agrees(text.strip(), item.data["reference"], item.data["inputs"])


def _format(item: Item, text: str) -> bool:
    return all(answers.check_format(text, item.data["checks"]))


_GENERATION: dict[str, Callable[[Item, str], bool]] = {
    "reference/arithmetic": _arithmetic,
    "reference/expressions": _expression,
    "reference/format": _format,
}
_CHOICE = ("reference/knowledge",)
_CORPORA = ("reference/documentation", "reference/stories")
SUITES = (*_CORPORA, *_GENERATION, *_CHOICE)
"""Names of the suites that ship."""

LINE_TOKENS = 64
"""The longest answer of one line that is waited for."""


def load_suites(quality: Quality) -> list[Suite]:
    """The suites of an experiment, in its order: those that ship first, then the user's texts.

    Raises `SpecError` for an unknown name, a text that is missing, empty or not UTF-8.
    """
    suites = [_shipped(name, quality) for name in quality.suites]
    suites += [_text(name, Path(text.text), text.tokens) for name, text in quality.texts.items()]
    return suites + ([load_prompts(quality.continuations)] if quality.continuations else [])


def _shipped(name: str, quality: Quality) -> Suite:
    if name not in SUITES:
        near = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"quality.suites: there is no suite {name!r}; {hint or 'known: ' + ', '.join(SUITES)}")
    short = name.removeprefix("reference/")
    if name in _CORPORA:
        path = reference.corpus_path(short)
        return Corpus(name, tuple(line["text"] for line in _lines(path)), quality.tokens, _digest(path))
    path = reference.skill_path(short)
    items = tuple(
        Item(line["id"], line.get("group") or line.get("subject") or "", line["prompt"], line)
        for line in itertools.islice(_lines(path), quality.items)
    )
    if name in _CHOICE:
        return ChoiceTask(name, items, _digest(path))
    return GenerationTask(name, items, LINE_TOKENS, _GENERATION[name], _digest(path))


def _text(name: str, path: Path, tokens: int | None) -> Corpus:
    try:
        raw = path.read_text(encoding="utf-8")
        documents = [line["text"] for line in _lines(path)] if path.suffix == ".jsonl" else [raw]
    except OSError as error:
        raise SpecError(f"quality.texts.{name}: {path} cannot be read ({error.strerror}); give a text file") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise SpecError(
            f"quality.texts.{name}: {path} is not UTF-8 text, or not JSONL with a `text` on every line ({error})"
        ) from error
    for number, document in enumerate(documents, 1):
        if not isinstance(document, str) or any("\ud800" <= character <= "\udfff" for character in document):
            raise SpecError(f"quality.texts.{name}: {path}, line {number}: `text` is not a string of whole characters")
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise SpecError(f"quality.texts.{name}: {path} holds no text")
    return Corpus(name, tuple(documents), tokens, _digest(path))


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
