"""Tasks and corpora that people know by name: over plain files in a user's folder, or by lm-eval from the hub."""

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.harness import NAMED, VERSION, questions, why_missing
from quantcheck.quality.plugins import plugged
from quantcheck.quality.suite import Corpus, Item, NamedTask, Suite, file_digest
from quantcheck.spec.quality import BUNDLES, Quality
from quantcheck.tasks import CORPORA, read_corpus

__all__ = ["KNOWN", "definition", "known"]

BY_LM_EVAL = "lm-eval/"
"""Begins the name of a suite that is any task of lm-eval's, over the data that its own definition names."""
KNOWN = (*CORPORA, *NAMED)


def known(name: str, quality: Quality, shipped: Sequence[str]) -> Suite:
    """The suite called `name`; `shipped`: other names, to be proposed for one that is unknown.

    A name that is none of ours is looked for among the plug-ins. Raises `SpecError` for an unknown name, for data that
    are missing or damaged and for a plug-in that fails, `EngineUnavailable` where lm-eval is not installed.
    """
    data = None if quality.data is None else _folder(quality.data)
    if name in CORPORA:
        if data is None:
            raise SpecError(f"quality.suites: {name} is read from plain files; give their folder by `quality.data`")
        documents, paths = read_corpus(data, name)
        digest = hashlib.sha256("".join(map(file_digest, paths)).encode()).hexdigest()
        return Corpus(name, documents, quality.tokens, digest)
    if name not in NAMED and not name.startswith(BY_LM_EVAL):
        if suite := plugged(name, quality):
            return suite
        names = [*shipped, *KNOWN, *BUNDLES]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise SpecError(f"quality.suites: there is no suite {name!r}; {hint} Any other task of lm-eval is "
                        f"{BY_LM_EVAL}NAME")
    _can_ask(name, quality)
    if name not in NAMED or data is None:
        ask = name.removeprefix(BY_LM_EVAL)
        judged = (NAMED[ask].metric, NAMED[ask].filter) if ask in NAMED else ()
        return NamedTask(name, ask, (), quality.items, _digest(name, *judged))
    found = questions(name, data, quality.items)
    items = tuple(Item(one.id, one.group, one.text, {}) for one in found.asked)
    return NamedTask(name, name, items, quality.items, _digest(name, found.sha256))


def definition(name: str, path: Path, quality: Quality) -> NamedTask:
    """The user's own definition of a task in lm-eval's form."""
    _can_ask(name, quality)
    if not path.is_file():
        raise SpecError(f"quality.tasks.{name}: {path} is not there; give a definition of lm-eval")
    return NamedTask(name, str(path), (), quality.items, _digest(name, file_digest(path)))


def _folder(name: str) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        raise SpecError(f"quality.data: {folder} is no folder; give the one that holds the tasks' plain files")
    return folder


def _can_ask(name: str, quality: Quality) -> None:
    if why := why_missing():
        raise EngineUnavailable(f"{name}: {why}")
    template = quality.chat_template
    if isinstance(template, str) and not Path(template).is_file():
        raise SpecError(f"quality.chat_template: {template} is not there; give a file, true or false")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join([VERSION, *parts]).encode()).hexdigest()
