"""The prompts that every variant continues: beginnings of the documents that ship, or the user's own."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.quality.suite import Continued, Item, json_lines
from quantcheck.spec.quality import CONTINUATIONS, SHIPPED, Continuations

__all__ = ["SHIPPED_CORPORA", "load_prompts"]

SHIPPED_CORPORA = ("documentation", "stories")
BEGINNING = 200
"""Characters of a document, about 60 tokens: enough to say what it is about."""


def load_prompts(asked: Continuations) -> Continued:
    """The first `items` prompts.

    Raises `SpecError` with the line for a file that is missing, is not JSONL, or has a line without `prompt`.
    """
    found = list(itertools.islice(_shipped() if asked.prompts == SHIPPED else _own(Path(asked.prompts)), asked.items))
    if not found:
        raise SpecError(f"quality.continuations.prompts: {asked.prompts} holds no prompts")
    digest = hashlib.sha256(json.dumps([[item.id, item.prompt] for item in found]).encode()).hexdigest()
    return Continued(CONTINUATIONS, tuple(found), asked.max_tokens, digest)


def _shipped() -> Iterator[Item]:
    """A document of each corpus in turn."""
    corpora = [list(json_lines(reference.corpus_path(name))) for name in SHIPPED_CORPORA]
    for turn in itertools.zip_longest(*corpora):
        for name, document in zip(SHIPPED_CORPORA, turn, strict=True):
            if document is not None:
                yield Item(document["id"], name, _beginning(document["text"]), {})


def _beginning(text: str) -> str:
    """Whole words; without the space after the last, which belongs to the next token."""
    if len(text) <= BEGINNING:
        return text
    return text[: BEGINNING + 1].rsplit(maxsplit=1)[0]


def _own(path: Path) -> Iterator[Item]:
    where = f"quality.continuations.prompts: {path}"
    seen: set[str] = set()
    for number, line in enumerate(_lines(path, where), 1):
        prompt = line.get("prompt") if isinstance(line, dict) else None
        if not isinstance(prompt, str) or not prompt or any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise SpecError(f"{where}, line {number}: no `prompt`, or not a text of whole characters")
        key = str(line.get("id", number - 1))
        if key in seen:
            raise SpecError(f"{where}, line {number}: the id {key!r} was there before")
        seen.add(key)
        yield Item(key, str(line.get("group", "")), prompt, {})


def _lines(path: Path, where: str) -> list[Any]:
    try:
        return list(json_lines(path))
    except OSError as error:
        raise SpecError(f"{where} cannot be read ({error.strerror}); give JSONL with `prompt` on every line, or "
                        f"`{SHIPPED}`") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where} is not UTF-8 text, or not JSONL with `prompt` on every line ({error})") from error
