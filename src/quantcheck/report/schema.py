"""The published JSON Schema of `summary.json`."""

from typing import Any

from quantcheck.report.summary import SCHEMA_VERSION, Summary

__all__ = ["summary_schema"]


def summary_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the summary as it is written."""
    schema = Summary.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"quantcheck/summary/{SCHEMA_VERSION}",
        **schema,
    }
