"""The figures of a window, from records written by hand."""

import numpy as np
import pytest

from quantcheck.load.dialects import Stream
from quantcheck.load.records import Exchange, Outcome, Phase, Record, tables
from quantcheck.load.summary import summarize, window_ns

MS = 1_000_000


def record(
    number: int, stream: int, phase: Phase, sent_ms: float, chunks: list[tuple[float, int]], outcome: Outcome = "ok"
) -> Record:
    tokens = sum(count for _, count in chunks)
    exchange = Exchange(number, stream, phase, b"", 10, tokens, round(sent_ms * MS))
    exchange.end_ns = round((chunks[-1][0] if chunks else sent_ms + 1) * MS)
    answer = Stream([(round(at * MS), count) for at, count in chunks], total=tokens)
    return Record(exchange, answer, outcome, "")


def figures(records: list[Record]) -> dict[str, float]:
    begin, end = window_ns(records)
    found: dict[str, float] = summarize(records, tables(records, begin), (end - begin) / 1e9)["metrics"]
    return found


def test_one_stream_by_hand() -> None:
    found = figures([
        record(0, 0, "warmup", 0, [(5, 1), (10, 1)]),
        record(1, 0, "measured", 10, [(20, 1), (24, 1), (30, 2)]),
        record(2, 0, "measured", 30, [(50, 1), (58, 1), (60, 2)]),
    ])
    assert found == pytest.approx({
        "output_throughput": 8 / 0.050, "request_throughput": 2 / 0.050,
        "ttft": 0.015, "tpot": (0.010 + 0.010) / 2 / 3, "itl": (0.003 + 0.003) / 2, "e2e": 0.025,
    })


def test_window_begins_when_all_are_in_and_ends_with_the_last_measured_token() -> None:
    records = [
        record(0, 0, "warmup", 0, [(10, 1), (20, 1)]), record(1, 1, "warmup", 0, [(10, 1), (24, 1)]),
        record(2, 0, "measured", 20, [(30, 1), (40, 1)]), record(3, 1, "measured", 24, [(30, 1), (44, 1)]),
        record(4, 0, "tail", 40, [(42, 1), (43, 1), (50, 1)], "cancelled"),
    ]
    assert window_ns(records) == (24 * MS, 44 * MS)
    found = figures(records)
    assert found["output_throughput"] == pytest.approx(6 / 0.020)  # four measured tokens and two of the tail
    assert found["request_throughput"] == pytest.approx(2 / 0.020)


def test_engines_in_step_lose_and_gain_nothing() -> None:
    # Four streams, every answer is 5 tokens at 10 ms each, all in step but for 0.1 ms from stream to stream.
    records = []
    for stream in range(4):
        skew = 0.1 * stream
        phases: list[Phase] = ["warmup", "measured", "measured", "tail"]
        for turn, phase in enumerate(phases):
            chunks = [(50.0 * turn + 10 * k + 10 + skew, 1) for k in range(0 if phase == "tail" else 5)]
            outcome: Outcome = "cancelled" if phase == "tail" else "ok"
            records.append(record(4 * turn + stream, stream, phase, 50.0 * turn + skew, chunks, outcome))
    found = figures(records)
    assert found["output_throughput"] == pytest.approx(400.0)
    assert found["request_throughput"] == pytest.approx(80.0)


def test_failures_never_count_as_fast_successes() -> None:
    good = [record(k, 0, "measured", 10.0 * k, [(10.0 * k + 5, 1), (10.0 * k + 10, 1)]) for k in range(2)]
    bad = record(2, 0, "measured", 20, [(20.1, 1), (20.2, 1)], "incomplete")
    later = record(3, 0, "measured", 21, [(35, 1), (40, 1)])
    begin, end = window_ns([*good, bad, later])
    found = summarize([*good, bad, later], tables([*good, bad, later], begin), (end - begin) / 1e9)
    assert found["outcomes"] == {"ok": 3, "incomplete": 1}
    assert found["metrics"]["output_throughput"] == pytest.approx(6 / 0.040)
    assert found["metrics"]["ttft"] == pytest.approx(0.005)
    assert found["faults"] == ["request 2: incomplete: "]


def test_nothing_good_means_no_figure() -> None:
    records = [record(0, 0, "measured", 5, [], "timeout")]
    begin, end = window_ns(records)
    found = summarize(records, tables(records, begin), (end - begin) / 1e9)
    assert found["metrics"] == {}
    assert np.isnan(tables(records, begin)["requests"]["first_s"][0])
    assert window_ns([]) == (0, 0)


def test_chunks_that_were_read_together_are_told() -> None:
    records = [record(0, 0, "measured", 0, [(5, 1), (5, 1), (9, 1)]), record(1, 0, "measured", 10, [(15, 1), (19, 1)])]
    assert summarize(records, tables(records, 0), 0.019)["coalesced_chunks"] == pytest.approx(1 / 3)
    one = [record(0, 0, "measured", 0, [(5, 1)])]
    assert summarize(one, tables(one, 0), 0.005)["coalesced_chunks"] is None


@pytest.mark.parametrize(("count", "given"), [(63, []), (64, ["p90"]), (130, ["p90", "p95"]),
                                               (662, ["p90", "p95", "p99"])])
def test_percentiles_need_their_sample(count: int, given: list[str]) -> None:
    records = [record(k, 0, "measured", 10.0 * k, [(10.0 * k + 5, 1), (10.0 * k + 9, 1)]) for k in range(count)]
    found = summarize(records, tables(records, 0), 1.0)
    assert list(found["percentiles"]["ttft"]) == given
    assert set(found["percentiles_refused"]) == {"p90", "p95", "p99"} - set(given)
