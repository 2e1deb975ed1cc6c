"""The user's own suites: a text for perplexity, and tasks as JSONL."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quantcheck.errors import SpecError
from quantcheck.quality.suite import ChoiceTask, Corpus, GenerationTask, Item, file_digest, json_lines

__all__ = ["task", "text"]

Text = Annotated[str, Field(min_length=1)]


class _Line(BaseModel):
    """One item: what the model is given, and the answer; `choices` make it one to choose from.

    `answer`: without choices a text or several of which each is right, with choices the right one's number (from 0) or
    its text. `group`: what belongs together (a passage, a subject), for intervals. `id`: unique; default the place.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: Text
    answer: Text | int | Annotated[list[Text], Field(min_length=1)]
    choices: Annotated[list[Text], Field(min_length=2)] | None = None
    id: str | int | None = None
    group: str = ""

    @model_validator(mode="after")
    def _gold(self) -> Self:
        if self.choices is None:
            if isinstance(self.answer, int):
                raise ValueError("`answer` is a number; without `choices` it is text")
        elif isinstance(self.answer, list):
            raise ValueError("`answer` is a list; with `choices` it is one of them")
        elif self.answer not in (range(len(self.choices)) if isinstance(self.answer, int) else self.choices):
            raise ValueError(f"`answer` ({self.answer!r}) is none of the {len(self.choices)} choices (counted from 0)")
        return self


def task(name: str, path: Path, limit: int | None, max_tokens: int) -> ChoiceTask | GenerationTask:
    """The task in a JSONL file, its first `limit` items; an answer that is written has one line.

    A written answer is right when it is one of the item's, apart from case and surrounding space. Raises `SpecError`
    with the line for what is wrong.
    """
    where = f"quality.tasks.{name}: {path}"
    items: list[Item] = []
    chosen: bool | None = None
    seen: set[str] = set()
    for number, raw in enumerate(itertools.islice(_rows(path, where, "a line with prompt and answer"), limit), 1):
        try:
            line = _Line.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) + ": " if first["loc"] else ""
            message = first["msg"].removeprefix("Value error, ")
            raise SpecError(f"{where}, item {number}: {place}{message}") from error
        if chosen is not None and chosen != (line.choices is not None):
            raise SpecError(f"{where}, item {number}: some items have `choices` and some have none; make two tasks of "
                            "them")
        chosen = line.choices is not None
        key = str(number - 1 if line.id is None else line.id)
        if key in seen:
            raise SpecError(f"{where}, item {number}: the id {key!r} was there before")
        seen.add(key)
        items.append(Item(key, line.group, line.prompt, _data(line)))
    if not items:
        raise SpecError(f"{where} holds no items")
    if chosen:
        return ChoiceTask(name, tuple(items), file_digest(path))
    return GenerationTask(name, tuple(items), max_tokens, _same, file_digest(path))


def _data(line: _Line) -> dict[str, Any]:
    if line.choices is None:
        return {"answers": line.answer if isinstance(line.answer, list) else [line.answer]}
    gold = line.answer if isinstance(line.answer, int) else line.choices.index(str(line.answer))
    return {"choices": line.choices, "gold": gold}


def _same(item: Item, written: str) -> bool:
    answers: Sequence[str] = item.data["answers"]
    return written.strip().casefold() in {answer.strip().casefold() for answer in answers}


def text(name: str, path: Path, tokens: int | None) -> Corpus:
    """A perplexity corpus: JSONL with `text` on every line, else the whole file as one document."""
    where = f"quality.texts.{name}: {path}"
    if path.suffix == ".jsonl":
        documents = [row.get("text") if isinstance(row, dict) else None for row in _rows(path, where, "a text file")]
    else:
        documents = [_read(path, where)]
    for number, document in enumerate(documents, 1):
        if not isinstance(document, str) or _half(document):
            raise SpecError(f"{where}, line {number}: `text` is not a string of whole characters")
    found = tuple(str(document) for document in documents if str(document).strip())
    if not found:
        raise SpecError(f"{where} holds no text")
    return Corpus(name, found, tokens, file_digest(path))


def _rows(path: Path, where: str, wanted: str) -> list[Any]:
    try:
        rows: list[Any] = list(json_lines(path))
    except OSError as error:
        raise SpecError(f"{where} cannot be read ({error.strerror}); give {wanted}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SpecError(f"{where} is not UTF-8 text, or not JSONL ({error})") from error
    return rows


def _read(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{where} cannot be read ({error.strerror}); give a text file") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{where} is not UTF-8 text ({error})") from error


def _half(document: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in document)
