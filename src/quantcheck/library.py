"""Stored runs for programs: figures as data frames, verdicts, and the gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
from pydantic import ValidationError

from quantcheck.errors import SpecError
from quantcheck.report.gate import GateResult, judge_gate
from quantcheck.report.stored import StoredRun, read_run
from quantcheck.report.summary import DecisionRow, Summary
from quantcheck.spec.document import read_policy
from quantcheck.spec.policy import Policy
from quantcheck.store import Store
from quantcheck.store.views import tables_of, view

__all__ = ["Results", "gate", "log_to_mlflow", "results"]


@dataclass(frozen=True)
class Results:
    """One stored run, read only."""

    stored: StoredRun

    @cached_property
    def summary(self) -> Summary:
        """All that a report says: the rows of summary.json. Durations in seconds, sizes in bytes, shares 0 to 1."""
        return self.stored.summary()

    @property
    def verdicts(self) -> list[DecisionRow]:
        """The decision on every variant under the experiment's policy: `variant`, `word`, `sentence`, conditions."""
        return self.summary.decisions

    @property
    def problems(self) -> list[dict[str, Any]]:
        """What could not be measured, or is damaged: `reason`, and the variant, subject and block where known."""
        return self.stored.problems

    @property
    def tables(self) -> list[str]:
        """Names of the tables of raw samples: requests, chunks, items, tokens, ..."""
        return tables_of(self.stored.cells)

    def relation(self, table: str) -> Any:
        """A table of all cells as a DuckDB relation, with the cell's kind, variant, subject and block as columns;
        `.df()` gives a data frame where pandas is installed. `StoreError` where no cell has such a table."""
        return view(self.stored.cells, table)

    def columns(self, table: str) -> Mapping[str, npt.NDArray[Any]]:
        """The same as NumPy arrays by column, all of one length. `StoreError` where no cell has such a table."""
        found: Mapping[str, npt.NDArray[Any]] = self.relation(table).fetchnumpy()
        return found


def results(folder: str | Path) -> Results:
    """The run in `folder`, finished or not. `StoreError` where there is none, or none that this version reads."""
    return Results(read_run(Store(Path(folder)), unfinished=True))


def gate(folder: str | Path, policy: str | Path | Mapping[str, Any] | None = None, variant: str | None = None
         ) -> GateResult:
    """What `quantcheck gate` says: `word` is ship, do not ship or inconclusive. Only a finished run is judged.

    `policy`: a YAML file, or its content; none: the experiment's own. Raises `SpecError` for a policy or a variant
    that does not fit, and `StoreError` where there is no finished run.
    """
    stored = read_run(Store(Path(folder)))
    source = None
    if isinstance(policy, Mapping):
        source = "policy"
        try:
            stored = stored.under(Policy.model_validate(policy), source)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SpecError(f"{source}: {where}: {first['msg']}") from error
    elif policy is not None:
        source = str(policy)
        stored = stored.under(read_policy(Path(policy)), source)
    return judge_gate(stored.summary(), variant, policy=source)


def log_to_mlflow(folder: str | Path, *, variant: str | None = None) -> list[str]:
    """Log a stored run to MLflow, an MLflow run per variant; returns their ids. Needs `quantcheck[mlflow]`.

    Parameters: model, engine, baseline, variant. Metrics: those of the speed rows, as METRIC/LOAD, and the size.
    Tags: the verdict. Artifacts: comparison.md, summary.json and report.html where they are. It goes where MLflow's own
    settings say. Raises `EngineUnavailable` without mlflow, `SpecError` for a variant that is not here.
    """
    from quantcheck.tracking import log

    return log(results(folder).summary, Path(folder), variant)
