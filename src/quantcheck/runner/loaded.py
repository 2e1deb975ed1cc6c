"""Whether an engine holds random weights in the variant's format: nothing else tells, as their text means nothing."""

from collections.abc import Mapping
from typing import Any

from quantcheck.errors import EngineError
from quantcheck.variants.artifact import Artifact

__all__ = ["check_loaded"]

MOST = 1.25
"""Times the predicted bytes: kernels widen zero points and pad (AWQ under Machete: 1.01)."""
ROUNDED = 0.005 * (1 << 30)
"""Bytes that a rank may hold less than it says: logs have two decimals of GiB."""


def check_loaded(entry: str, artifact: Artifact, facts: Mapping[str, Any]) -> None:
    """Raise `EngineError` when the engine holds far more bytes than the format of a weightless variant takes.

    `facts`: what the engine tells of itself; one that does not tell the bytes of its weights passes. They are of one
    rank of a tensor-parallel engine.
    """
    held, predicted = facts.get("weights_bytes"), artifact.recipe.get("bytes")
    if artifact.recipe.get("weights") != "random" or not held or not predicted:
        return
    ranks = facts.get("tensor_parallel") or 1
    total = held * ranks
    # An engine that was told to compute in float32 holds what is not quantized in twice the configuration's 16 bits.
    if total - ROUNDED * ranks > MOST * predicted * (2 if facts.get("dtype") == "float32" else 1):
        raise EngineError(
            f"{entry}: the engine holds {total / 1e9:.3g} GB of weights where {artifact.scheme} takes "
            f"{predicted / 1e9:.3g} GB: it did not load this format; measure a ready checkpoint (`checkpoint:`)"
        )
