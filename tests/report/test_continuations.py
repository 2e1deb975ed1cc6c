"""Outputs side by side: what two cells of continuations come to."""

import numpy as np
import pytest

from quantcheck.report.cells import CellIndex, Problem
from quantcheck.report.continuations import changed_rows, continuation_rows
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell

BASE = ["1 2 3 4", "1 2 3 4", "5 6", "", "7 8 9 9"]
SAME = BASE
OTHER = ["1 2 3 4", "1 2 9 9", "5", "", "8 7 7 7"]


def cell(variant: str, tokens: list[str], *, prompts: str = "p") -> FakeCell:
    table = {
        "id": np.array([str(at) for at in range(len(tokens))]),
        "prompt": np.array([f"prompt {at}" for at in range(len(tokens))]),
        "output": np.array([text.replace(" ", "") for text in tokens]),
        "tokens": np.array(tokens),
    }
    result = {"kind": "continuations", "n": len(tokens), "max_tokens": 4, "prompts_sha256": prompts}
    return FakeCell({"schema": 1, "key": synthetic.key("quality", variant, "continuations"), "result": result},
                    {"items": table})


def index_of(*cells: FakeCell, problems: tuple[Problem, ...] = ()) -> CellIndex:
    experiment = synthetic.experiment(load=None, quality={"continuations": {}})
    return CellIndex(experiment, cells, list(problems))


def row_of(index: CellIndex, variant: str = "Q2_K"):  # type: ignore[no-untyped-def]
    return next(row for row in continuation_rows(index) if row.variant == variant)


def test_agreement_divergence_and_length() -> None:
    row = row_of(index_of(cell("F16", BASE), cell("F16@again", SAME), cell("Q2_K", OTHER)))
    assert (row.prompts, row.max_tokens) == (5, 4)
    assert row.agreement.value == 2 / 5
    # Wilson's for 2 of 5, as in Newcombe 1998: 0.1176 to 0.7693
    assert (row.agreement.low, row.agreement.high) == pytest.approx((0.11762, 0.76928), abs=1e-5)
    assert row.noise.value == 1.0
    assert row.first_divergence.value == 1.0  # of 2, 1 and 0
    assert row.same_share.value == pytest.approx((1 + 2 / 4 + 1 / 2 + 1 + 0) / 5)
    assert row.length_ratio.value == pytest.approx(13 / 14)


def test_the_most_changed_have_least_in_common() -> None:
    rows = changed_rows(index_of(cell("F16", BASE), cell("Q2_K", OTHER)), "Q2_K")
    assert [(row.id, row.first_divergence, row.character) for row in rows] == [("4", 0, 0), ("1", 2, 2), ("2", 1, 1)]
    assert rows[0].rank == 1
    assert rows[0].common == pytest.approx(2 * 1 / 8)
    assert (rows[0].baseline_text, rows[0].variant_text, rows[0].prompt) == ("7899", "8777", "prompt 4")
    assert (rows[2].baseline_tokens, rows[2].variant_tokens) == (2, 1)


def test_a_loop_of_thousands_of_tokens_is_compared_at_once() -> None:
    loops = [" ".join(["7"] * 4000) + " 8", " ".join(["7"] * 4096)]
    rows = changed_rows(index_of(cell("F16", loops[:1] * 40), cell("Q2_K", loops[1:] * 40)), "Q2_K")
    assert len(rows) == 10
    assert (rows[0].first_divergence, rows[0].common, len(rows[0].variant_text)) == (4000, 1.0, 4000)


def test_the_same_texts_leave_nothing_changed() -> None:
    index = index_of(cell("F16", BASE), cell("Q2_K", SAME))
    row = row_of(index)
    assert row.agreement.value == 1.0
    assert row.agreement.low < 1.0
    assert row.first_divergence.value is None
    assert row.first_divergence.reason == "no continuation changed"
    assert changed_rows(index, "Q2_K") == []


def test_what_is_missing_says_why() -> None:
    index = index_of(cell("F16", BASE), cell("Q2_K", OTHER, prompts="others"),
                     problems=(Problem("it burned", "Q8_0"),))
    assert row_of(index).reason == "not the same work: prompts differ"
    assert row_of(index, "Q8_0").agreement.reason == "it burned"
    assert row_of(index).noise.reason == "no result stored"
    assert changed_rows(index, "Q2_K") == []
    assert continuation_rows(CellIndex(synthetic.experiment(), [], [])) == []


def test_a_summary_of_continuations_alone_says_what_was_not_measured() -> None:
    experiment = synthetic.experiment(load=None, quality={"continuations": {}})
    cells = [cell("F16", BASE), cell("F16@again", SAME), cell("Q2_K", OTHER)]
    summary = build_summary(experiment, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    assert [row.variant for row in summary.continuations] == ["Q8_0", "Q4_K_M", "Q2_K"]
    assert len(summary.most_changed) == 3
    assert any("Q8_0" in item.what for item in summary.not_measured)
    assert not any("Q2_K: continuations" in item.what for item in summary.not_measured)
