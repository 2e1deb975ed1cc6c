"""The package's own scorers, loaded by path, so that the recipe needs none of the package's dependencies."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SHIPPED = Path(__file__).resolve().parent.parent / "src" / "quantcheck" / "reference"


def _load(name: str) -> ModuleType:
    path = SHIPPED.parent / "quality" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"scoring_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


expressions = _load("expressions")
answers = _load("answers")
