"""What must hold after every stroke, and of every finished run; each breach is one line."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from quantcheck.errors import QuantcheckError
from quantcheck.store import Store

__all__ = ["cells_of", "finished", "kept", "logs_of_whole_steps", "ports", "settled", "stored", "stored_told",
           "undocumented"]

DOCUMENTED = re.compile(
    r"\.lock|experiment\.json|summary\.json|comparison\.md|report\.html|logs/[^/]+"
    r"|cells/[^./][^/]*/(cell\.json|[a-z]+\.parquet)"
)
"""All files that a finished run may leave in its results folder, see docs/architecture.md."""
CACHED = re.compile(r"artifacts/[^./][^/]*/(model\.gguf|recipe\.json|tokenizer\.json)|artifacts/\.[^/]+\.lock"
                    r"|ceilings/[0-9a-f]+\.json")
CLIENT_LIMITED = "client-limited"
"""A measured cell that is not shown, because other programs took the client's time."""
TOLD = re.compile(r"^\d+ cells(?:, (\d+) of them stored already)?$", re.MULTILINE)


def cells_of(out: Path) -> dict[str, str]:
    """Every complete cell, as a hash over its files' bytes, by name."""
    found = {}
    for record in sorted(out.glob("cells/[!.]*/cell.json")):
        total = hashlib.sha256()
        try:
            for file in sorted(record.parent.iterdir()):
                total.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        except OSError:  # it is being taken away
            continue
        found[record.parent.name] = total.hexdigest()
    return found


def settled(out: Path) -> dict[str, str]:
    """The complete cells but for those in which the client was the limit, which a resumed run measures again."""
    found = cells_of(out)
    return {name: digest for name, digest in found.items()
            if not _json(out / "cells" / name / "cell.json")["result"].get("client", {}).get("limited")}


def kept(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Cells that are not there any more, or not as they were."""
    return [f"cell {name} was {'changed' if name in now else 'lost'}"
            for name, digest in before.items() if now.get(name) != digest]


def stored(out: Path) -> list[str]:
    """A results folder at rest, after a stroke: each cell whole and once, and the lock free."""
    faults = [f"{out.name}: the lock is still held"] if Store(out).locked() else []
    keys = []
    try:
        faults += [f"damaged: {reason}" for reason in Store(out).damaged().values()]
        keys = [(cell.key.kind, cell.key.variant, cell.key.subject, cell.key.block) for cell in Store(out).cells()]
    except QuantcheckError as error:
        faults.append(str(error))
    return faults + [f"{key} is there {count} times" for key, count in Counter(keys).items() if count > 1]


def stored_told(words: str, count: int) -> list[str]:
    """Whether a resumed run took all complete cells as they were: it says how many."""
    told = TOLD.search(words)
    if told is None:
        return ["the resumed run did not say what is stored"]
    return [] if int(told[1] or 0) == count else [f"{count} cells were complete, the resumed run took {told[1] or 0}"]


def logs_of_whole_steps(out: Path, planned: Sequence[str], there: Collection[str]) -> dict[str, int]:
    """When the log of each load step whose cells are all `there` was last written: its engine must not start again."""
    steps: dict[str, list[bool]] = {}
    for name in planned:
        variant, block = re.fullmatch(r"(.+?)\..*\.b(\d+)-[0-9a-f]{12}", name).groups()  # type: ignore[union-attr]
        if "@c" in name:
            steps.setdefault(f"{variant}-block{int(block) + 1}.log", []).append(name in there)
    return {name: (out / "logs" / name).stat().st_mtime_ns for name, whole in steps.items()
            if all(whole) and (out / "logs" / name).exists()}


def ports(out: Path) -> list[int]:
    """Where the engines of a run listened, by their logs."""
    return [int(port) for log in out.glob("logs/*.log")
            for port in re.findall(r'"base_url": "http://127\.0\.0\.1:(\d+)', log.read_text("utf-8", "replace"))]


def finished(out: Path, reference: Path, same: Sequence[str]) -> list[str]:
    """A finished run against the one that nobody struck: the same cells, all of them reported, `same` to the digit."""
    names, wanted = set(cells_of(out)), set(cells_of(reference))
    faults = [f"cell {name} is missing" for name in wanted - names]
    faults += [f"cell {name} is not a planned one" for name in names - wanted]
    document = _json(out / "experiment.json")
    summary, whole = _json(out / "summary.json"), _json(reference / "summary.json")
    faults += [f"experiment.json: {key} are not the planned cells, each once" for key in ("planned", "cells")
               if sorted(document.get(key, [])) != sorted(wanted)]
    if summary["cells"] != whole["cells"]:
        faults.append(f"summary.json: cells is {summary['cells']}, undisturbed it is {whole['cells']}")
    faults += [f"summary.json: not measured: {row}" for row in summary["not_measured"]
               if row not in whole["not_measured"] and CLIENT_LIMITED not in row["reason"]]
    if [_row(row) for row in summary["speed"]] != [_row(row) for row in whole["speed"]]:
        faults.append("summary.json: other rows of speed than undisturbed")
    return faults + [f"summary.json: {key} is unlike undisturbed" for key in same if summary[key] != whole[key]]


def undocumented(out: Path, cache: Path, temporary: Path) -> list[str]:
    """Files that nobody will ever want again."""
    faults = [f"left in the results: {name}" for name in _files(out) if not DOCUMENTED.fullmatch(name)]
    faults += [f"left in the cache: {name}" for name in _files(cache) if not CACHED.fullmatch(name)]
    return faults + [f"left in the temporary folder: {file.name}" for file in temporary.iterdir()]


def _files(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir() or not any(file.iterdir())]


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["load"], row["metric"], row["variant"]


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
