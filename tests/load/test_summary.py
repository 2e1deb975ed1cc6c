"""The figures of a window, from records written by hand."""

import json

import numpy as np
import pytest
from scipy import stats

from quantcheck.load.dialects import Stream
from quantcheck.load.exchange import Exchange
from quantcheck.load.intervals import clustered_quantile, order_interval, rate_interval
from quantcheck.load.limits import client_limits
from quantcheck.load.records import Outcome, Phase, Record
from quantcheck.load.summary import LOAD_METRICS, PERCENTILES, summarize, window_ns
from quantcheck.metrics import METRICS
from quantcheck.spec.load import SLO

MS = 1_000_000


def record(
    number: int, stream: int, phase: Phase, sent_ms: float, chunks: list[tuple[float, int]], outcome: Outcome = "ok", *,
    due_ms: float | None = None, end_ms: float | None = None, kernel_lag_ms: float | None = None, prompt: int = 10,
    wanted: int | None = None, forced: bool = True, total: int | None = None, streamed: bool = True,
    finish: str | None = None,
) -> Record:
    """Chunks with the same time come out of one read."""
    times = sorted({at for at, _ in chunks})
    user = np.array([round(at * MS) for at in times], np.int64)
    kernel = np.zeros_like(user) if kernel_lag_ms is None else user - round(kernel_lag_ms * MS)
    tokens = sum(count for _, count in chunks)
    exchange = Exchange(
        request=number, stream=stream, phase=phase, prompt_tokens=prompt, wanted=tokens if wanted is None else wanted,
        forced=forced, due_ns=None if due_ms is None else round(due_ms * MS), sent_ns=round(sent_ms * MS),
        end_ns=round((end_ms if end_ms is not None else times[-1] if times else sent_ms + 1) * MS), status=200,
        headers={}, fault=None, detail="", pieces=[b""] * len(times), user_ns=user, kernel_ns=kernel,
    )
    answer = Stream(
        chunks=[(times.index(at), count) for at, count in chunks], counted="token ids",
        total=tokens if total is None else total, done=True, streamed=streamed, finish_reason=finish,
    )
    return Record(exchange, answer, outcome, "")


def closed(count: int, *, gap_ms: float = 10.0, outcome: Outcome = "ok") -> list[Record]:
    """One stream; TTFT 5 ms, one more token 4 ms later."""
    return [record(k, 0, "measured", gap_ms * k, [(gap_ms * k + 5, 1), (gap_ms * k + 9, 1)], outcome)
            for k in range(count)]


def opened(count: int, *, late_ms: float = 0.0) -> list[Record]:
    """A request every 10 ms, sent `late_ms` late; first token 20 ms after sending, three more 5 ms apart."""
    return [
        record(k, k, "measured", due + late_ms, [(due + late_ms + 20 + 5 * i, 1) for i in range(4)], due_ms=due)
        for k, due in enumerate(10.0 * np.arange(count))
    ]


def test_one_stream_by_hand() -> None:
    found = summarize([
        record(0, 0, "warmup", 0, [(5, 1), (10, 1)]),
        record(1, 0, "measured", 10, [(20, 1), (24, 1), (30, 2)]),
        record(2, 0, "measured", 30, [(50, 1), (58, 1), (60, 2)]),
    ])
    assert found["metrics"] == pytest.approx({
        "output_throughput": 8 / 0.050, "request_throughput": 2 / 0.050, "input_throughput": 20 / 0.050,
        "offered_rate": 1 / 0.050, "achieved_rate": 2 / 0.050,  # the first is sent at the begin, which is not inside
        "ttft": 0.015, "tpot": (0.010 + 0.010) / 2 / 3, "itl": (0.003 + 0.003) / 2, "chunk_gap": 0.005, "e2e": 0.025,
        "concurrency": 1.0, "littles_law": 0.0, "output_length": 4.0,
    })
    assert set(found["missing"]) == {"ttft_intended", "e2e_intended", "schedule_lag", "goodput", "slo_attainment"}
    assert found["missing"]["schedule_lag"].startswith("closed loop")
    assert found["window"] == {
        "method": found["window_method"], "begin_ns": 10 * MS, "end_ns": 60 * MS, "length_s": 0.05, "requests": 2,
        "cut_as_warm": 0, "steady": None, "reason": "MSER-5 not applied: 2 requests, needs 50",
    }


def test_every_metric_is_registered_and_given_or_explained() -> None:
    assert set(LOAD_METRICS) <= set(METRICS)
    for records in ([], closed(1), closed(80), opened(80), closed(3, outcome="cut")):
        for slo in (None, SLO(e2e_ms=20)):
            found = summarize(records, slo=slo)
            assert set(found["metrics"]) | set(found["missing"]) == set(LOAD_METRICS)
            assert set(found["metrics"]).isdisjoint(found["missing"])
            json.dumps(found, allow_nan=False)


def test_window_begins_when_all_are_in_and_ends_with_the_last_measured_token() -> None:
    records = [
        record(0, 0, "warmup", 0, [(10, 1), (20, 1)]), record(1, 1, "warmup", 0, [(10, 1), (24, 1)]),
        record(2, 0, "measured", 20, [(30, 1), (40, 1)]), record(3, 1, "measured", 24, [(30, 1), (44, 1)]),
        record(4, 0, "tail", 40, [(42, 1), (43, 1), (50, 1)], "cancelled"),
    ]
    assert window_ns(records) == (24 * MS, 44 * MS)
    found = summarize(records)["metrics"]
    assert found["output_throughput"] == pytest.approx(6 / 0.020)  # four measured tokens and two of the tail
    assert found["request_throughput"] == pytest.approx(2 / 0.020)
    assert found["concurrency"] == pytest.approx(2)


def test_engines_in_step_lose_and_gain_nothing() -> None:
    # Four streams, every answer is 5 tokens at 10 ms each, all in step but for 0.1 ms from stream to stream.
    records = []
    for stream in range(4):
        skew = 0.1 * stream
        phases: list[Phase] = ["warmup", "measured", "measured", "tail"]
        for turn, phase in enumerate(phases):
            chunks = [(50.0 * turn + 10 * k + 10 + skew, 1) for k in range(0 if phase == "tail" else 5)]
            outcome: Outcome = "cancelled" if phase == "tail" else "ok"
            end = None if chunks else 200.0
            records.append(record(4 * turn + stream, stream, phase, 50.0 * turn + skew, chunks, outcome, end_ms=end))
    found = summarize(records, concurrency=4)
    assert found["metrics"]["output_throughput"] == pytest.approx(400.0)
    assert found["metrics"]["request_throughput"] == pytest.approx(80.0)
    assert found["metrics"]["concurrency"] == pytest.approx(4)
    assert found["metrics"]["littles_law"] == pytest.approx(0, abs=0.01)
    assert found["client"]["limited"] == []


def test_failures_never_count_as_fast_successes() -> None:
    good = [record(k, 0, "measured", 10.0 * k, [(10.0 * k + 5, 1), (10.0 * k + 10, 1)]) for k in range(2)]
    bad = record(2, 0, "measured", 20, [(20.1, 1), (20.2, 1)], "incomplete")
    later = record(3, 0, "measured", 21, [(35, 1), (40, 1)])
    found = summarize([*good, bad, later], slo=SLO(e2e_ms=15))
    assert found["outcomes"] == {"ok": 3, "incomplete": 1}
    assert found["metrics"]["output_throughput"] == pytest.approx(6 / 0.040)
    assert found["metrics"]["achieved_rate"] == pytest.approx(4 / 0.040)
    assert found["metrics"]["ttft"] == pytest.approx(0.005)
    assert found["metrics"]["slo_attainment"] == pytest.approx(2 / 4)
    assert found["metrics"]["goodput"] == pytest.approx(2 / 0.040)
    assert found["faults"] == ["request 2: incomplete: "]


def test_nothing_good_means_no_figure() -> None:
    records = [record(0, 0, "measured", 5, [], "no_first_byte")]
    found = summarize(records)
    assert found["metrics"] == {}
    assert found["missing"]["ttft"] == "no request of the window ended well"
    # But that none met the SLO is a figure.
    assert summarize(records, slo=SLO(ttft_ms=1))["metrics"] == {"slo_attainment": 0.0, "goodput": 0.0}
    assert window_ns([]) == (0, 0)
    assert summarize([])["missing"]["ttft"] == "no measured request was sent"


def test_an_open_loop_is_measured_over_the_time_in_which_load_was_offered() -> None:
    records = opened(101, late_ms=2)
    found = summarize(records, rate=100.0, slo=SLO(ttft_ms=21))
    metrics = found["metrics"]
    assert found["window"]["length_s"] == pytest.approx(1.0)
    assert metrics["offered_rate"] == pytest.approx(100)
    assert metrics["achieved_rate"] == pytest.approx(97)  # four were still in flight at the end
    assert metrics["ttft"] == pytest.approx(0.020)
    assert metrics["ttft_intended"] == pytest.approx(0.022)
    assert metrics["e2e_intended"] - metrics["e2e"] == pytest.approx(0.002)
    assert metrics["schedule_lag"] == pytest.approx(0.002)
    assert metrics["slo_attainment"] == 0.0  # 22 ms from the intended time
    assert found["client"]["limited"] == ["requests were sent late: schedule lag p99 2.00 ms, bound 1.00 ms"]
    assert found["notes"][0].startswith("invalid (client-limited): requests were sent late")
    assert found["window"]["steady"] is True


def test_a_stall_shows_in_latency_from_the_intended_time() -> None:
    # The client stood still: 20 requests that were due in its 200 ms all went out at its end.
    records = [
        record(k, k, "measured", max(due, 700.0 if 500 <= due < 700 else due),
               [(max(due, 700.0 if 500 <= due < 700 else due) + 20, 1)], due_ms=due)
        for k, due in enumerate(10.0 * np.arange(200))
    ]
    found = summarize(records)
    assert found["percentiles"]["ttft"]["p95"] == pytest.approx(0.020)
    assert found["percentiles"]["ttft_intended"]["p95"] > 0.1
    assert "sent late" in found["client"]["limited"][0]


def test_overload_has_no_steady_state() -> None:
    rng = np.random.default_rng(0)
    ends = 15.0 * np.arange(100) + 20 + rng.normal(0, 1, 100)  # served every 15 ms, offered every 10 ms
    records = [record(k, k, "measured", 10.0 * k, [(float(end) - 1, 1), (float(end), 1)], due_ms=10.0 * k)
               for k, end in enumerate(ends)]
    found = summarize(records)
    assert found["window"]["steady"] is False
    assert found["notes"] == [found["window"]["reason"]]
    assert found["metrics"]["achieved_rate"] < 0.7 * found["metrics"]["offered_rate"]


def test_requests_that_wait_out_their_deadline_count_with_the_time_they_waited() -> None:
    records = [record(k, k, "measured", 10.0 * k, [], "no_first_byte", due_ms=10.0 * k, end_ms=10.0 * k + 20 + 5 * k)
               for k in range(60)]
    assert summarize(records)["window"]["steady"] is False


def test_warm_up_is_cut_off_the_window() -> None:
    rng = np.random.default_rng(1)
    at, records = 0.0, []
    for k in range(100):
        length = (40 if k < 20 else 10) * float(rng.normal(1, 0.02))
        records.append(record(k, 0, "measured", at, [(at + length / 2, 1), (at + length, 1)]))
        at += length
    found = summarize(records)
    assert found["window"]["cut_as_warm"] == 20
    assert found["window"]["requests"] == 80
    assert found["window"]["begin_ns"] == records[19].last_ns
    assert found["metrics"]["output_throughput"] == pytest.approx(200, rel=0.02)
    assert found["percentiles"]["e2e"]["p90"] < 0.012
    assert found["requests"] == 100


def test_chunks_that_were_read_together_are_told() -> None:
    records = [record(2 * k + n, 0, "measured", 20.0 * k + 10 * n, [(20.0 * k + 10 * n + at, 1) for at in chunks])
               for k in range(20) for n, chunks in enumerate([(5, 5, 9), (5, 9)])]
    found = summarize(records)
    assert summarize(records[:8])["client"]["limited"] == []  # too few to say
    assert found["coalesced_chunks"] == pytest.approx(1 / 3)
    assert found["client"]["limited"] == ["33.3% of the chunks were read together with the one before, bound 10%"]
    assert summarize([record(0, 0, "measured", 0, [(5, 1)])])["coalesced_chunks"] is None


def test_chunks_that_the_server_sent_together_are_not_the_clients_fault() -> None:
    records = [record(k, 0, "measured", 10.0 * k, [(10.0 * k + 5, 1), (10.0 * k + 5, 1), (10.0 * k + 9, 1)],
                      kernel_lag_ms=0.01) for k in range(5)]
    found = summarize(records)
    assert found["client"]["stamps"] == {"kernel": 5, "user": 0}
    assert found["client"]["read_lag"]["p99"] == pytest.approx(1e-5)
    assert found["coalesced_chunks"] == pytest.approx(0.5)
    assert found["client"]["limited"] == []
    assert found["metrics"]["ttft"] == pytest.approx(0.00499)


def test_each_limit_of_the_client_has_its_reason() -> None:
    late = [record(k, 0, "measured", 100.0 * k, [(100.0 * k + 50, 1), (100.0 * k + 99, 1)], kernel_lag_ms=12)
            for k in range(25)]
    assert summarize(late)["client"]["limited"] == ["data were read late: read lag p99 12.00 ms, bound 10.00 ms"]
    slow = [record(k, k, "measured", 10.2 * k, [(10.2 * k + 500, 1), (10.2 * k + 510, 1)], due_ms=10.0 * k)
            for k in range(120)]
    assert any("sent at 98.0% of the rate" in reason for reason in summarize(slow)["client"]["limited"])
    idle = summarize(closed(20, gap_ms=20), concurrency=1)
    assert idle["client"]["limited"] == ["0.5 of 1 streams were busy on average, bound 90%"]
    fast = summarize(closed(20), calibration={"chunks_per_s": 220.0})
    assert "of the 220 that this client reached in calibration" in fast["client"]["limited"][0]
    assert summarize(closed(20), calibration={"chunks_per_s": 2200.0})["client"]["limited"] == []
    fast["client"] |= {"loop_lag": {"p50": 0.0, "p99": 0.02, "max": 0.02}, "calibrated_chunks_per_s": None}
    assert client_limits(fast) == ["the client stood still: loop lag p99 20.00 ms, bound 10.00 ms"]


def test_lengths_that_the_server_did_not_force_are_told() -> None:
    records = [
        record(0, 0, "measured", 0, [(5, 1), (9, 3)], wanted=8, finish="stop"),
        record(1, 0, "measured", 10, [(15, 1), (19, 7)], wanted=4, total=9),
        record(2, 0, "measured", 20, [(25, 1), (29, 5)], wanted=50, forced=False),
    ]
    found = summarize(records)
    counts = found["token_counts"]
    assert counts["counted_by"] == {"token ids": 3}
    assert (counts["shorter_than_asked"], counts["longer_than_asked"], counts["free_length_mean"]) == (1, 1, 6.0)
    assert (counts["unlike_server"], counts["unlike_server_tokens"]) == (1, -1)
    assert any("did not force the length: 1 of 3" in note for note in found["notes"])


def test_estimated_counts_go_by_the_servers_total() -> None:
    # Six tokens in two chunks, and nothing tells how many in which.
    one = record(0, 0, "measured", 0, [(10, 1), (20, 1)], total=6)
    one.answer.counted = "one per chunk"
    found = summarize([one])["metrics"]
    assert found["output_throughput"] == pytest.approx(6 / 0.020)
    assert found["tpot"] == pytest.approx(0.010 / 5)
    assert found["output_length"] == 6


def test_answers_in_one_piece_have_no_first_token_time() -> None:
    found = summarize([record(0, 0, "measured", 0, [(10, 8)], streamed=False)])
    assert found["metrics"]["e2e"] == pytest.approx(0.010)
    assert found["missing"]["ttft"] == "the answers were not streamed"


def test_unknown_prompt_lengths_are_not_zero() -> None:
    found = summarize([record(0, 0, "measured", 0, [(5, 1), (9, 1)], prompt=0)])
    assert found["missing"]["input_throughput"] == "prompt lengths are not known"


@pytest.mark.parametrize(("count", "given"), [
    (63, ["p50"]), (64, ["p50", "p90"]), (130, ["p50", "p90", "p95"]), (662, ["p50", "p90", "p95", "p99"]),
])
def test_percentiles_need_their_sample(count: int, given: list[str]) -> None:
    found = summarize(closed(count))
    assert list(found["percentiles"]["ttft"]) == given
    assert set(found["percentiles_refused"]) == set(PERCENTILES) - set(given)
    assert found["percentiles_refused"]["p99.9"] == f"needs 6636 requests, has {count}"


def test_the_intervals_of_a_window() -> None:
    rng = np.random.default_rng(3)
    at, records = 0.0, []
    for k in range(200):
        ttft, gaps = float(rng.gamma(4, 1)), rng.gamma(4, 0.5, 3).cumsum()
        records.append(record(k, 0, "measured", at, [(at + ttft, 1), *((at + ttft + float(g), 1) for g in gaps)]))
        at = at + ttft + float(gaps[-1])
    found = summarize(records, slo=SLO(e2e_ms=12))
    for key, (low, high) in found["intervals"].items():
        name, _, percentile = key.partition("_p9")
        value = found["percentiles"][name][f"p9{percentile}"] if percentile else found["metrics"][key]
        assert low <= value <= high, key
    assert {"output_throughput", "ttft", "ttft_p90", "itl", "goodput", "slo_attainment"} <= set(found["intervals"])
    short = summarize(closed(49))
    assert "output_throughput" not in short["intervals"]
    assert short["intervals_refused"]["rates"] == (
        "needs 10 time slices in which 5 requests end; 49 requests ended in the window")


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95])
def test_order_statistics_cover(q: float) -> None:
    rng = np.random.default_rng(5)
    truth, hits, n = stats.expon.ppf(q), 0, 150
    for _ in range(600):
        bounds = order_interval(rng.exponential(size=n), q)
        assert bounds is not None
        hits += bounds[0] <= truth <= bounds[1]
    assert 0.94 <= hits / 600 <= 0.99
    # The ranks against scipy's own: P[lower <= quantile] and P[quantile <= upper] are each at least 97.5%.
    bounds = order_interval(np.arange(1.0, n + 1), q)
    assert bounds is not None
    lower, upper = bounds
    assert stats.binom.cdf(lower - 1, n, q) <= 0.025 < stats.binom.cdf(lower, n, q)
    assert stats.binom.sf(upper - 1, n, q) <= 0.025 < stats.binom.sf(upper - 2, n, q)


def test_order_statistics_refuse_what_they_cannot_bound() -> None:
    assert order_interval(np.arange(5.0), 0.5) is None
    assert order_interval(np.arange(64.0), 0.99) is None
    assert order_interval(np.empty(0), 0.5) is None


def test_clustered_quantiles_cover_where_tokens_of_a_request_are_alike() -> None:
    rng = np.random.default_rng(6)
    hits = naive = 0
    clusters = np.repeat(np.arange(60), 20)
    for _ in range(400):
        values = np.repeat(rng.normal(size=60), 20) + 0.3 * rng.normal(size=1200)
        bounds, plain = clustered_quantile(values, clusters, 0.5), order_interval(values, 0.5)
        assert bounds is not None
        assert plain is not None
        hits += bounds[0] <= 0 <= bounds[1]
        naive += plain[0] <= 0 <= plain[1]
    assert hits / 400 >= 0.93
    assert naive / 400 < 0.6
    assert clustered_quantile(np.arange(90.0), np.arange(90) // 10, 0.5) is None


def test_rates_by_batch_means_cover() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(500):
        times = np.sort(rng.uniform(0, 10, rng.poisson(500)))
        low, high = rate_interval(times[times > 0], np.ones(len(times)), 10.0, 20)
        hits += low <= 50 <= high
    assert 0.92 <= hits / 500 <= 0.98
