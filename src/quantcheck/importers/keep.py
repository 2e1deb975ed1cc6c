"""Read files become cells of a results folder that holds nothing but imported results."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quantcheck
from quantcheck.errors import SpecError, StoreError
from quantcheck.importers.gather import Source, gathered
from quantcheck.importers.parts import Part
from quantcheck.importers.registry import read_file
from quantcheck.spec.part import NAME
from quantcheck.store import Cell, CellKey, Store

__all__ = ["Imported", "Options", "import_files"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says of the files. `tool`: forces which tool wrote them. `name`: of the workload or the text, which
    no tool tells. `engine`: what served the model, where the tool does not tell. `metric`: lm-eval's, `model`:
    llama-bench's, as their readers say."""

    tool: str | None = None
    name: str | None = None
    engine: str | None = None
    metric: str | None = None
    model: str | None = None


@dataclass
class Imported:
    """What an import came to: the folder's variants (baseline first), (variant, subject, tool) of new cells, notes."""

    folder: Path
    variants: list[str]
    cells: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_files(
    files: Sequence[tuple[str, Path]], out: Path, options: Options | None = None, *, baseline: str | None = None
) -> Imported:
    """Store what `files`, each with its variant, hold in the results folder `out`, which is made if need be.

    Everything is read before anything is written. A file of a load that is there already is one more block of it: a
    repeated measurement. The baseline is `baseline`, else the folder's, else the first variant.

    Raises `SpecError` for a file that cannot be read, or that has a task or text which the variant has from another
    file; `StoreError` for a folder that holds a run, or cannot be written.
    """
    options = options or Options()
    for variant, _ in files:
        if not re.fullmatch(NAME, variant):
            raise SpecError(f"{variant!r} is no name of a variant: letters, digits, . _ - only")
    sources: dict[str, list[Source]] = {}
    for variant, path in files:
        content, read = read_file(path, options.tool, metric=options.metric, model=options.model)
        sources.setdefault(variant, []).append((read, path.name, content.sha256))
    store = Store(out)
    _planned(store, sources, options, baseline)  # what is refused leaves no folder behind
    store.lock()
    try:
        return _keep(store, sources, options, baseline)
    finally:
        store.unlock()


def _refuse_a_run(store: Store) -> dict[str, Any]:
    document = store.read_document("experiment.json") or {}
    if document and "imported" not in document:
        raise StoreError(f"{store.root}: holds a run of quantcheck; imported results need another --out")
    told = document.get("imported", {"variants": [], "baseline": ""})
    if not (isinstance(told, dict) and isinstance(told.get("baseline"), str) and _names(told.get("variants"))
            and _names(document.get("cells", []))):
        raise StoreError(f"{store.root / 'experiment.json'}: is damaged; import the files again into another --out")
    return document


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


Writing = list[tuple[CellKey, Part, Source]]


def _planned(
    store: Store, sources: dict[str, list[Source]], options: Options, baseline: str | None
) -> tuple[Imported, list[Cell], Writing]:
    """What the import will come to, the cells that are there, and those to write."""
    document = _refuse_a_run(store)
    held = [store.root / "cells" / name for name in document.get("cells", [])]
    cells = [Cell(folder) for folder in held if (folder / "cell.json").is_file()]
    known = document.get("imported", {})
    names = list(dict.fromkeys([*known.get("variants", []), *sources]))
    first = baseline or known.get("baseline") or names[0]
    if first not in names:
        raise SpecError(f"--baseline {first}: no such variant is imported ({', '.join(names)})")
    found = Imported(store.root, [first, *(name for name in names if name != first)])
    writing: Writing = []
    for variant, read in sources.items():
        found.notes += [f"{file}: {note}" for one, file, _ in read for note in one.notes]
        for part, source in gathered(read):
            subject = _subject(part, source, options)
            if key := _key(cells, writing, variant, subject, part, source):
                writing.append((key, part, source))
            else:
                found.notes.append(f"{source[1]}: {subject} of {variant} is there already, from the same file")
    return found, cells, writing


def _keep(store: Store, sources: dict[str, list[Source]], options: Options, baseline: str | None) -> Imported:
    found, cells, writing = _planned(store, sources, options, baseline)  # again: now nobody else writes here
    for key, part, source in writing:
        if not store.has(key):
            store.write(key, {"imported": _origin(part, source, options), "result": part.result}, part.tables)
        found.cells.append((key.variant, key.subject, source[0].tool))
    told = {
        "schema": 1, "quantcheck": quantcheck.__version__,
        "imported": {"baseline": found.variants[0], "variants": found.variants},
        "cells": [cell.folder.name for cell in cells] + [key.id for key, _, _ in writing], "problems": [],
        "artifacts": {}, "environment": {},
    }  # fmt: skip
    store.write_document("experiment.json", json.dumps(told, indent=1) + "\n")
    return found


def _subject(part: Part, source: Source, options: Options) -> str:
    """`guidellm@c8`, `chat@c8` with a name given; llama-bench names its tests itself, and so does lm-eval its tasks."""
    tool = source[0].tool
    if part.kind == "load":
        if tool == "llama-bench":
            return part.subject if options.name is None else f"{options.name}@{part.subject}"
        return f"{options.name or tool.replace(' ', '-')}@{part.subject}"
    return options.name or part.subject if tool == "llama-perplexity" else part.subject


def _key(
    cells: Sequence[Cell], writing: Writing, variant: str, subject: str, part: Part, source: Source
) -> CellKey | None:
    """Where the part goes; None when it is there already."""
    here = [(cell.key, cell.record.get("imported", {}).get("sha256")) for cell in cells]
    here += [(key, written[2]) for key, _, written in writing]
    place = part.kind, variant, subject
    same = [(key, sha256) for key, sha256 in here if (key.kind, key.variant, key.subject) == place]
    if any(sha256 == source[2] for _, sha256 in same):
        return None
    if same and part.kind == "quality":
        raise SpecError(f"{source[1]}: {variant} has {subject} already, from another file; give another --as or --out"
                        + (", or name the text with --name" if source[0].tool == "llama-perplexity" else ""))
    digest = hashlib.sha256(json.dumps([source[2], part.kind, variant, subject]).encode()).hexdigest()
    return CellKey(part.kind, variant, subject, len(same), digest)  # type: ignore[arg-type]


def _origin(part: Part, source: Source, options: Options) -> dict[str, Any]:
    read, file, sha256 = source
    return {"tool": read.tool, "version": read.version, "file": file, "sha256": sha256,
            "engine": read.engine or options.engine, "engine_version": read.engine_version, "work": part.work}
