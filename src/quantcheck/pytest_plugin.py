"""A pytest plugin: hold a stored run against a policy in a test. pytest finds it by its entry point."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from quantcheck.report.gate import GateResult

__all__ = ["quantcheck_gate"]


@pytest.fixture
def quantcheck_gate() -> "Callable[..., GateResult]":
    """A function `(run, policy=None, variant=None)` that fails the test unless the word is `ship`.

    `policy`: a file, its content as a mapping, or none for the experiment's own. It returns the gate's result.
    """

    def check(run: str | Path, policy: str | Path | Mapping[str, Any] | None = None, variant: str | None = None
              ) -> "GateResult":
        from quantcheck.library import gate

        result = gate(run, policy, variant)
        if result.word != "ship":
            pytest.fail(f"quantcheck: {result.variant or 'all variants'}: {result.word}. {result.sentence}",
                        pytrace=False)
        return result

    return check
