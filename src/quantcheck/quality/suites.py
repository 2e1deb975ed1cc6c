"""What quality is measured on, by name: the suites that ship, known tasks and corpora, and the user's own files."""

import itertools
from collections.abc import Callable
from pathlib import Path

from quantcheck import reference
from quantcheck.quality import answers, expressions, own
from quantcheck.quality.known import definition, known
from quantcheck.quality.prompts import load_prompts
from quantcheck.quality.suite import (
    ChoiceTask,
    Continued,
    Corpus,
    GenerationTask,
    Item,
    JudgedSuite,
    NamedTask,
    OwnSuite,
    Suite,
    file_digest,
    json_lines,
)
from quantcheck.spec.quality import Quality

__all__ = [
    "LINE_TOKENS", "SUITES", "ChoiceTask", "Continued", "Corpus", "GenerationTask", "Item", "JudgedSuite", "NamedTask",
    "OwnSuite", "Suite", "load_suites",
]  # fmt: skip


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
    """The suites of an experiment, in its order: those with names, the user's texts and tasks, the continuations.

    Raises `SpecError` for an unknown name and for files that are missing or wrong, `EngineUnavailable` when a named
    task is asked for and lm-eval is not installed.
    """
    suites = [_shipped(name, quality) if name in SUITES else known(name, quality, SUITES) for name in quality.suites]
    suites += [own.text(name, Path(text.text), text.tokens) for name, text in quality.texts.items()]
    suites += [_own_task(name, Path(file), quality) for name, file in quality.tasks.items()]
    return suites + ([load_prompts(quality.continuations)] if quality.continuations else [])


def _own_task(name: str, path: Path, quality: Quality) -> Suite:
    if path.suffix == ".jsonl":
        return own.task(name, path, quality.items, LINE_TOKENS)
    return definition(name, path, quality)


def _shipped(name: str, quality: Quality) -> Suite:
    short = name.removeprefix("reference/")
    if name in _CORPORA:
        path = reference.corpus_path(short)
        return Corpus(name, tuple(line["text"] for line in json_lines(path)), quality.tokens, file_digest(path))
    path = reference.skill_path(short)
    items = tuple(
        Item(line["id"], line.get("group") or line.get("subject") or "", line["prompt"], line)
        for line in itertools.islice(json_lines(path), quality.items)
    )
    if name in _CHOICE:
        return ChoiceTask(name, items, file_digest(path))
    return GenerationTask(name, items, LINE_TOKENS, _GENERATION[name], file_digest(path))
