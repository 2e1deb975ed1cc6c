"""Which experiment a command line means: a file, a preset's name, or the embedded default."""

import difflib
from pathlib import Path

from quantcheck import presets
from quantcheck.errors import SpecError
from quantcheck.spec.document import read
from quantcheck.spec.experiment import Experiment

__all__ = ["experiment_named"]


def experiment_named(source: str | None) -> Experiment:
    """The experiment in the file or preset `source`; none: the default preset. Raises `SpecError`."""
    if source is None:
        return presets.load(presets.DEFAULT)
    if source in presets.names():
        return presets.load(source)
    path = Path(source)
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        near = difflib.get_close_matches(source, presets.names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"presets: {', '.join(presets.names())}"
        raise SpecError(f"{source}: neither a preset nor a file; {hint}")
    return read(path)
