"""The published JSON Schemas of `summary.json` and of the record of `quantcheck load`."""

from typing import Any

from pydantic import BaseModel

from quantcheck.report.gate import GateResult
from quantcheck.report.load import LoadReport
from quantcheck.report.summary import SCHEMA_VERSION, Summary

__all__ = ["gate_schema", "load_schema", "summary_schema"]


def summary_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the summary as it is written."""
    return _published("summary", SCHEMA_VERSION, Summary)


def load_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a load's record as it is written."""
    return _published("load", LoadReport.model_fields["schema_version"].default, LoadReport)


def gate_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what `quantcheck gate --json` writes."""
    return _published("gate", GateResult.model_fields["schema_version"].default, GateResult)


def _published(name: str, version: int, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"quantcheck/{name}/{version}",
        **model.model_json_schema(mode="serialization"),
    }
