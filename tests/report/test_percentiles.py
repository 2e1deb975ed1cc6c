"""Percentiles: the median always, the others only where the sample supports them."""

from quantcheck.report.percentiles import client_lines, percentile_grid
from quantcheck.report.summary import Figure, Summary


def test_supported_ones_are_shown_and_the_others_refused_with_their_reason(summary: Summary) -> None:
    """200 requests a load: enough for p95, too few for p99; of ITL no stamps are stored."""
    grid, refused = percentile_grid(summary)
    names = [column.name for column in grid.columns]
    assert names[4:7] == ["TTFT p50, ms", "TTFT p90, ms", "TTFT p95, ms"]
    assert "TTFT p99, ms" not in names
    assert "TTFT, TPOT, End to end p99: n/a (200 requests; p99 needs 662)" in refused
    assert any(line.startswith("ITL p90: n/a (") for line in refused)


def test_the_median_is_that_of_the_tables(summary: Summary) -> None:
    grid, _ = percentile_grid(summary)
    at = [column.name for column in grid.columns].index("ITL p50, ms")
    for row in grid.rows:
        value = next(r.value.value for r in summary.speed
                     if (r.load, r.variant, r.metric) == (row[0].text, row[1].text, "itl"))  # fmt: skip
        assert value is not None
        assert abs(float(row[at].text) - 1000 * value) < 0.01


def test_how_late_the_client_was_and_what_was_saturated(summary: Summary) -> None:
    assert client_lines(summary) == []  # the made-up cells do not tell
    first, *others = summary.loads
    told = first.model_copy(update={"read_lag": Figure(value=0.00123), "saturated": 2})
    assert client_lines(summary.model_copy(update={"loads": [told, *others]})) == [
        "The client read at most 1.2 ms late (p99 of the worst block).",
        "F16 at short@c1: latencies came to no steady state in 2 of 5 blocks; they depend on how long was measured.",
    ]
