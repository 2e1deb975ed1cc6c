"""What four comparisons of two models under two engines mean."""

import numpy as np
import pytest

from quantcheck.report.through import ThroughReport, through_grid, through_lines, through_report

DOCUMENT = np.repeat(np.arange(20), 30).astype(np.int32)


def report(here: float, there: float, floor: float = 1e-5, spread: float = 0.1, top_k: int | None = None
           ) -> ThroughReport:
    rng = np.random.default_rng(0)

    def pair(mean: float) -> tuple[np.ndarray, np.ndarray]:
        return np.abs(rng.normal(mean, spread * mean, len(DOCUMENT))), rng.random(len(DOCUMENT)) < 0.9

    found = {"here": pair(here), "there": pair(there), "baseline": pair(floor), "variant": pair(floor)}
    return through_report(found, DOCUMENT, variant="v", baseline="b", engines=("vllm", "transformers"), corpus="mine",
                          top_k=top_k)


@pytest.mark.parametrize(("here", "there", "culprit", "said"), [
    (0.5, 0.49, "weights", "the damage is of the weights (98% of it is there under transformers, too)"),
    (0.5, 0.001, "kernels", "the damage is of vllm's kernels (0% of it is there under transformers, too)"),
    (0.5, 0.25, "both", "the damage is of both, weights and kernels (50% of it is there under transformers, too)"),
    (0.1, 0.9, "both", "the damage is of both"),
    (1e-6, 1e-6, "none", "no damage beyond what the baseline itself shows between the two engines"),
])
def test_the_sentence(here: float, there: float, culprit: str, said: str) -> None:
    found = report(here, there)
    assert found.culprit == culprit
    assert through_lines(found)[1].startswith(said)
    assert len(through_grid(found).rows) == 5


def test_what_the_interval_does_not_carry_is_not_said() -> None:
    """One document in twenty has all of the difference."""
    here, there = np.full(len(DOCUMENT), 0.2), np.full(len(DOCUMENT), 0.2)
    here[DOCUMENT == 3] = 6.0
    same = np.ones(len(DOCUMENT), dtype=bool)
    tiny = np.full(len(DOCUMENT), 1e-5)
    found = through_report(
        {"here": (here, same), "there": (there, same), "baseline": (tiny, same), "variant": (tiny, same)}, DOCUMENT,
        variant="v", baseline="b", engines=("vllm", "transformers"), corpus="mine", top_k=None)
    assert found.kernels.value == pytest.approx(0.29)
    assert found.kernels.low is not None
    assert found.kernels.low < 0
    assert found.culprit == "undecided"
    assert "raise --tokens" in through_lines(found)[1]


def test_a_bound_is_called_one() -> None:
    assert "a lower bound, from the 64 likeliest tokens" in through_lines(report(0.5, 0.4, top_k=64))[0]
    assert "over the whole vocabulary" in through_lines(report(0.5, 0.4))[0]
