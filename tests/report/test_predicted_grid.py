"""Predicted memory as a table: the prediction beside what was measured, or why there is none."""

from quantcheck.report.markdown import render
from quantcheck.report.predicted_grid import predicted_grid
from quantcheck.report.summary import Figure, PredictedMemoryRow
from tests.report.situations import all_measured, single_variant

ROW = PredictedMemoryRow(
    variant="F16", weights_bytes=Figure(value=15.4e6), kv_bytes_per_token=Figure(value=8192.0),
    kv_room_tokens=Figure(value=512.0), kv_held_tokens=Figure(value=64.0), kv_cache_bytes=Figure(value=4.19e6),
    kv_needed_bytes=Figure(reason="not told"),
)  # fmt: skip


def test_measured_stands_beside_predicted() -> None:
    summary = single_variant().model_copy(update={"predicted_memory": [ROW]})
    assert [item.text or item.missing for item in predicted_grid(summary).rows[0]] == [
        "F16", "15.4 MB", "8.2 kB", "512", "4.2 MB", "4.2 MB", "not told"]
    assert "| F16 | 15.4 MB | 8.2 kB | 512 | 4.2 MB | 4.2 MB | n/a (not told) |" in render(summary)


def test_every_variant_has_a_line() -> None:
    assert [row[0].text for row in predicted_grid(all_measured()).rows] == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]


def test_without_any_prediction_there_is_a_reason_and_no_table() -> None:
    text = render(all_measured())
    assert "Predicted KV cache: n/a (the recipe does not say that the model is Llama-like)." in text
    assert "### Predicted" not in text
