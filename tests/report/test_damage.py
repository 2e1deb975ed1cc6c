"""Where damage sits: parts of a corpus against their own arithmetic."""

from typing import Any

import numpy as np
import pytest

from quantcheck.report.cells import CellIndex
from quantcheck.report.damage import damage_rows, worst_token_rows
from tests.report import synthetic
from tests.report.synthetic import FakeCell

CORPUS = "reference/stories"


def pair(documents: int = 20, tokens: int = 100, *, confident: bool = True) -> tuple[FakeCell, FakeCell]:
    """A variant that is 1 nat off where the baseline is unsure, 0.01 elsewhere, and 3 in document 7."""
    rng = synthetic.random("damage test", documents)
    document = np.repeat(np.arange(documents, dtype=np.int32), tokens)
    confidence = rng.uniform(0.2, 1.0, len(document)).astype(np.float32)
    kl = np.where(confidence < 0.3, 1.0, 0.01) + 3.0 * (document == 7)
    nll = rng.uniform(0, 4, len(document))
    cells = []
    for variant, change in (("F16", 0.0), ("Q2_K", 0.25)):
        table: dict[str, Any] = {"document": document, "nll": nll + change}
        if confident:
            table["confidence"] = confidence
        if change:
            table |= {"kl": kl, "top1": confidence >= 0.3}
        result = {"kind": "perplexity", "context": 64, "stride": 32, "suite_sha256": "5" * 64}
        cells.append(FakeCell({"schema": 1, "key": synthetic.key("quality", variant, CORPUS), "result": result},
                              {"tokens": table}))
    return cells[0], cells[1]


def index_of(*cells: FakeCell) -> CellIndex:
    return CellIndex(synthetic.experiment(load=None, quality={"suites": [CORPUS]}), cells, [])


def test_bins_hold_every_token_once_and_their_own_means() -> None:
    base, variant = pair()
    rows = damage_rows(index_of(base, variant), "Q2_K")
    kl, confidence = variant.tables["tokens"]["kl"], base.tables["tokens"]["confidence"]
    for by in ("position", "confidence"):
        bins = [row for row in rows if row.by == by]
        assert sum(row.tokens for row in bins) == len(kl)
        assert sum(row.kl_share or 0.0 for row in bins) == pytest.approx(1.0)
    unsure = next(row for row in rows if row.part == "0.1 to 0.3")
    inside = (confidence >= 0.1) & (confidence < 0.3)
    assert unsure.tokens == inside.sum()
    assert unsure.kl_divergence.value == pytest.approx(kl[inside].mean())
    assert unsure.top1_agreement.value == 0.0
    assert unsure.nll_change.value == pytest.approx(0.25)


def test_an_interval_stays_within_what_the_quantity_can_be() -> None:
    base, variant = pair(documents=10)
    kl = np.zeros(1000)
    kl[150] = 9.0  # one token of one document
    variant.tables["tokens"]["kl"] = kl
    found = [row.kl_divergence for row in damage_rows(index_of(base, variant), "Q2_K") if row.part == "tokens 16 to 63"]
    assert found[0].value is not None
    assert found[0].low == 0.0
    assert (found[0].high or 0.0) > 2 * found[0].value


def test_positions_count_from_each_documents_second_token() -> None:
    rows = [row for row in damage_rows(index_of(*pair()), "Q2_K") if row.by == "position"]
    assert [row.part for row in rows] == ["tokens 1 to 15", "tokens 16 to 63", "tokens 64 to 100"]
    assert [row.tokens for row in rows] == [20 * 15, 20 * 48, 20 * 37]
    assert rows[-1].high == 256


def test_intervals_rest_on_documents() -> None:
    """Doubling every token of a document tells nothing new: the interval stays."""
    base, variant = pair()
    once = damage_rows(index_of(base, variant), "Q2_K")
    for cell in (base, variant):
        cell.tables["tokens"] = {name: np.repeat(values, 2) for name, values in cell.tables["tokens"].items()}
    twice = damage_rows(index_of(base, variant), "Q2_K")

    def sure(rows: Any) -> Any:
        return next(row.kl_divergence for row in rows if row.part == "0.99 to 1")

    assert (sure(once).low, sure(once).high) == pytest.approx((sure(twice).low, sure(twice).high))
    assert sure(once).low < sure(once).value < sure(once).high


def test_the_worst_document_comes_first_and_quantiles_have_order_statistics_as_ends() -> None:
    base, variant = pair()
    rows = damage_rows(index_of(base, variant), "Q2_K")
    worst = [row for row in rows if row.by == "worst document"]
    assert len(worst) == 5
    assert worst[0].part == "document 7"
    assert worst[0].documents == 1
    means = variant.tables["tokens"]["kl"].reshape(20, 100).mean(axis=1)
    assert [row.kl_divergence.value for row in worst] == pytest.approx(sorted(means)[::-1][:5])
    median = next(row for row in rows if row.part == "median")
    assert median.kl_divergence.value == pytest.approx(np.median(means))
    assert [median.kl_divergence.low, median.kl_divergence.high] == pytest.approx(np.sort(means)[[5, 14]])


def test_cells_of_older_versions_lack_only_the_confidence() -> None:
    rows = damage_rows(index_of(*pair(confident=False)), "Q2_K")
    assert {row.by for row in rows} == {"position", "document quantile", "worst document"}


def test_nothing_is_said_of_the_baseline_or_of_cells_that_do_not_pair() -> None:
    base, variant = pair()
    assert damage_rows(index_of(base, variant), "F16") == []
    assert damage_rows(index_of(variant), "Q2_K") == []
    base.record["result"]["suite_sha256"] = "6" * 64
    assert damage_rows(index_of(base, variant), "Q2_K") == []


def test_one_document_has_no_quantile_and_an_identical_variant_no_shares() -> None:
    base, variant = pair(documents=1)
    variant.tables["tokens"]["kl"] = np.zeros(100)
    rows = damage_rows(index_of(base, variant), "Q2_K")
    assert not [row for row in rows if row.by == "document quantile"]
    assert all(row.kl_share is None for row in rows)
    assert all(row.kl_divergence.low is None and row.kl_divergence.reason for row in rows)


def test_worst_tokens_are_told_in_order() -> None:
    base, variant = pair()
    token = {"document": 3, "position": 9, "kl_divergence": 2.5, "before": "once", "token": " upon", "baseline_p": 0.9,
             "baseline_likeliest": " upon", "baseline_likeliest_p": 0.9, "variant_p": None, "variant_likeliest": "x",
             "variant_likeliest_p": 0.5}
    variant.record["result"]["worst_tokens"] = [token, {**token, "kl_divergence": 1.0}]
    rows = worst_token_rows(index_of(base, variant), "Q2_K")
    assert [(row.rank, row.kl_divergence, row.variant, row.corpus) for row in rows] == [
        (1, 2.5, "Q2_K", CORPUS), (2, 1.0, "Q2_K", CORPUS)]
    assert worst_token_rows(index_of(base, variant), "F16") == []
