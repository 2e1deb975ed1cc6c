"""quantcheck: which quantized variant of a language model can you ship?

The public API; everything is loaded when first used, so that importing quantcheck is free.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantcheck.errors import (
        EngineError,
        EngineUnavailable,
        MeasurementError,
        ModelError,
        QuantcheckError,
        SpecError,
        StoreError,
    )
    from quantcheck.library import Results, gate, log_to_mlflow, results
    from quantcheck.runner.plan import make_plan
    from quantcheck.runner.run import run
    from quantcheck.spec.document import parse, read
    from quantcheck.spec.experiment import Experiment

__all__ = [
    "EngineError",
    "EngineUnavailable",
    "Experiment",
    "MeasurementError",
    "ModelError",
    "QuantcheckError",
    "Results",
    "SpecError",
    "StoreError",
    "__version__",
    "gate",
    "log_to_mlflow",
    "make_plan",
    "parse",
    "read",
    "results",
    "run",
]

__version__ = "0.1.0"

_HOME = {
    "Experiment": "quantcheck.spec.experiment",
    "Results": "quantcheck.library",
    "gate": "quantcheck.library",
    "log_to_mlflow": "quantcheck.library",
    "make_plan": "quantcheck.runner.plan",
    "parse": "quantcheck.spec.document",
    "read": "quantcheck.spec.document",
    "results": "quantcheck.library",
    "run": "quantcheck.runner.run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'quantcheck' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "quantcheck.errors")), name)
