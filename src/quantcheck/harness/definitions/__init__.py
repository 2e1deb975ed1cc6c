"""Tasks by name: lm-eval's own definitions, read over the plain files in a user's folder."""

from quantcheck.harness.definitions.build import Part, build
from quantcheck.harness.definitions.named import NAMED, Named

__all__ = ["NAMED", "Named", "Part", "build"]
