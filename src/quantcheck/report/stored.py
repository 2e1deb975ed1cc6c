"""A finished run, read back from its results folder: what a report, a comparison or a gate is made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from quantcheck.errors import SpecError, StoreError
from quantcheck.report.cells import CellIndex, read_problems
from quantcheck.report.summary import Summary
from quantcheck.report.view import build_summary
from quantcheck.spec.experiment import Experiment
from quantcheck.spec.policy import Policy
from quantcheck.store import Cell, Store

__all__ = ["StoredRun", "environment_of", "read_run"]


@dataclass(frozen=True)
class StoredRun:
    """One results folder; `document` is its experiment.json, `cells` are those that its last run reported."""

    store: Store
    document: Mapping[str, Any]
    experiment: Experiment
    cells: tuple[Cell, ...]

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Every variant's recipe."""
        found: dict[str, dict[str, Any]] = self.document["artifacts"]
        return found

    @property
    def problems(self) -> list[dict[str, str]]:
        return list(self.document.get("problems", []))

    @cached_property
    def index(self) -> CellIndex:
        return CellIndex(self.experiment, self.cells, read_problems(self.problems))

    def under(self, policy: Policy, source: str) -> "StoredRun":
        """The same cells held against another policy; its SLO takes the place of the load's.

        Raises `SpecError`, with `source` as the policy's name, where it names a suite or a variant that is not here.
        """
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
        """The view model of the whole run."""
        return build_summary(self.experiment, self.cells, self.artifacts, environment_of(self.document),
                             self.problems, self.document.get("overlaps", []))


def read_run(store: Store) -> StoredRun:
    """The last finished run in `store`; `StoreError` when there is none, or this version cannot read it."""
    if not (store.root / "experiment.json").is_file():
        raise StoreError(f"{store.root}: not a results folder (no experiment.json); give the folder that a run wrote")
    document = store.read_document("experiment.json") or {}
    if not document.get("artifacts"):
        raise StoreError(f"{store.root}: no finished run is stored here; start one with `quantcheck run`")
    try:
        experiment = Experiment.model_validate(document.get("experiment"))
    except ValidationError as error:
        raise StoreError(f"{store.root / 'experiment.json'}: holds no experiment that this version reads "
                         f"({error.error_count()} problems); run the experiment again") from error
    return StoredRun(store, document, experiment, tuple(_current(store, document["cells"])))


def _current(store: Store, ids: Iterable[str]) -> list[Cell]:
    reported = set(ids)
    return [cell for cell in store.cells() if cell.folder.name in reported]


def environment_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, what the load client was found to do on it, and the most that it can do itself."""
    found = {"client": document.get("calibration"), "ceilings": document.get("ceilings")}
    return dict(document.get("environment", {})) | {key: value for key, value in found.items() if value}
