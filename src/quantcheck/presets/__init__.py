"""Experiments that ship with the package, one per use."""

from importlib import resources
from pathlib import Path

from quantcheck.spec.document import parse
from quantcheck.spec.experiment import Experiment

__all__ = ["DEFAULT", "load", "names", "text"]

DEFAULT = "reference"


def names() -> list[str]:
    """All presets, the default first."""
    files = [Path(file.name) for file in resources.files(__name__).iterdir()]
    return sorted((file.stem for file in files if file.suffix == ".yaml"), key=lambda name: (name != DEFAULT, name))


def text(name: str) -> str:
    """The preset's YAML, comments and all."""
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> Experiment:
    """The preset as an experiment."""
    return parse(text(name), source=f"preset {name}", name=name)
