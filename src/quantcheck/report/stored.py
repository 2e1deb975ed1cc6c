"""A run, read back from its results folder: what a report, a comparison or a gate is made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from quantcheck.errors import SpecError, StoreError
from quantcheck.report.cells import CellIndex, planned_cells, read_problems
from quantcheck.report.imported import NO_REPORT, imported_experiment
from quantcheck.report.summary import Summary
from quantcheck.report.view import build_summary
from quantcheck.spec.experiment import Experiment
from quantcheck.spec.policy import Policy
from quantcheck.store import Cell, CellKey, DamagedError, Store

__all__ = ["StoredRun", "environment_of", "read_experiment", "read_run"]


@dataclass(frozen=True)
class StoredRun:
    """One results folder; `document` is its experiment.json, `cells` are those that its last run planned.

    `finished`: whether that run came to its end; else `cells` are what there is of it.
    """

    store: Store
    document: Mapping[str, Any]
    experiment: Experiment
    cells: tuple[Cell, ...]
    finished: bool = True

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Every variant's recipe; none where an unfinished run did not note them."""
        found: dict[str, dict[str, Any]] = self.document.get("artifacts", {})
        return found

    @property
    def imported(self) -> bool:
        """Whether other tools measured what it holds."""
        return "imported" in self.document

    @property
    def problems(self) -> list[dict[str, Any]]:
        return list(self.document.get("problems", []))

    @cached_property
    def index(self) -> CellIndex:
        return CellIndex(self.experiment, self.cells, read_problems(self.problems))

    def under(self, policy: Policy, source: str) -> "StoredRun":
        """The same cells held against another policy; its SLO takes the place of the load's.

        Raises `SpecError`, with `source` as the policy's name, where it names a suite or a variant that is not here,
        and `StoreError` for imported results.
        """
        if self.imported:
            raise StoreError(f"{self.store.root}: {NO_REPORT}")
        document = self.experiment.model_dump(mode="json", by_alias=True)
        document["policy"] = policy.model_dump(mode="json")
        if policy.slo is not None and self.experiment.load is not None:
            document["load"]["slo"] = None
        try:
            experiment = Experiment.model_validate(document)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise SpecError(f"{source}: does not fit the run in {self.store.root}: {reason}") from error
        return replace(self, experiment=experiment)

    def summary(self) -> Summary:
        """The view model of the whole run; `StoreError` for imported results, which have none."""
        if self.imported:
            raise StoreError(f"{self.store.root}: {NO_REPORT}")
        return build_summary(self.experiment, self.cells, self.artifacts, environment_of(self.document),
                             self.problems, self.document.get("overlaps", []), finished=self.finished)


def read_experiment(store: Store) -> tuple[dict[str, Any], Experiment]:
    """experiment.json as it is, and the experiment in it. Raises `StoreError` where there is none that can be read."""
    if not (store.root / "experiment.json").is_file():
        raise StoreError(f"{store.root}: not a results folder (no experiment.json); give the folder that a run wrote")
    document = store.read_document("experiment.json") or {}
    if "imported" in document:
        try:
            return document, imported_experiment(document)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{store.root / 'experiment.json'}: does not say which variants were imported; import "
                             "the files again into another --out") from error
    try:
        return document, Experiment.model_validate(document.get("experiment"))
    except ValidationError as error:
        raise StoreError(f"{store.root / 'experiment.json'}: holds no experiment that this version reads "
                         f"({error.error_count()} problems); run the experiment again") from error


def read_run(store: Store, *, unfinished: bool = False, running: bool = False) -> StoredRun:
    """The last run in `store`, which must have come to its end unless `unfinished` allows for one that did not.

    `running`: a run goes on here now, so that its cells are meant, and not those of an earlier one that ended.
    Raises `StoreError` when there is none, when no cell of it is stored, or when this version cannot read it.
    """
    document, experiment = read_experiment(store)
    planned = document.get("planned")
    finished = not running and ("cells" in document or (planned is not None and all(map(store.has, planned))))
    if not finished and not unfinished:
        raise StoreError(f"{store.root}: no finished run is stored here; start one, or go on, with `quantcheck run`")
    # Of what was planned all that is there: `runs pull` may have brought cells since the run ended.
    names = planned if planned is not None or not finished else document["cells"]
    cells, problems = _asked_for(store, experiment) if names is None else _sound(_named(store, names), experiment)
    if finished:
        problems = [*document.get("problems", []), *problems]
    elif not cells:
        raise StoreError(f"{store.root}: no cell of this run is stored yet; go on with `quantcheck run`")
    return StoredRun(store, {**document, "problems": problems}, experiment, tuple(cells), finished)


def _named(store: Store, ids: Iterable[str]) -> list[Cell]:
    wanted = set(ids)
    return [cell for cell in store.cells() if cell.folder.name in wanted]


def _asked_for(store: Store, experiment: Experiment) -> tuple[list[Cell], list[dict[str, Any]]]:
    """The cells that the experiment asks for, where a run did not note which are its own; and what is to be told of it.

    Of two cells in one place neither is taken: they were measured under other settings, and nothing says which are
    today's.
    """
    planned = planned_cells(experiment)
    places: dict[tuple[str, str, str, int], list[Cell]] = {}
    sound, damaged = _sound(list(store.cells()), experiment)
    for cell in sound:
        key = cell.key
        if (place := (key.kind, key.variant, key.subject, key.block)) in planned:
            places.setdefault(place, []).append(cell)
    problems: list[dict[str, Any]] = [{"reason": "the run did not note which cells are its own: they were found by "
                                                 "name, and may be of an earlier experiment in this folder"}]
    problems += [{"variant": variant, "subject": subject, "block": block, "reason":
                  "several cells are stored for this, and nothing says which is the experiment's"}
                 for (_, variant, subject, block), cells in places.items() if len(cells) > 1]
    return [cells[0] for cells in places.values() if len(cells) == 1], problems + damaged


def _sound(cells: Iterable[Cell], experiment: Experiment) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Those that are what was written, and a problem for each of the others. Those are known by their folders' names,
    which is all that is left of some."""
    names = {CellKey("load" if kind == "load" else "quality", variant, subject, block, "").id.rpartition("-")[0]:
             {"variant": variant, "subject": subject, "block": block}
             for kind, variant, subject, block in planned_cells(experiment)}
    sound, problems = [], []
    for cell in cells:
        try:
            cell.verify()
        except DamagedError as error:
            problems.append({**names.get(cell.folder.name.rpartition("-")[0], {}), "reason": str(error)})
        else:
            sound.append(cell)
    return sound, problems


def environment_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, what the load client was found to do on it, and the most that it can do itself."""
    found = {"client": document.get("calibration"), "ceilings": document.get("ceilings")}
    return dict(document.get("environment", {})) | {key: value for key, value in found.items() if value}
