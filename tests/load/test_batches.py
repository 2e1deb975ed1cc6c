"""Figures of batches that an engine timed itself, from made-up stamps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.load.batches import Batch, summarize_batches
from quantcheck.load.prompts import prompts_sha256
from quantcheck.load.summary import LOAD_METRICS

MS = 1_000_000


def batch(began_ms: int, stamps_ms: list[int], prompts: tuple[int, ...] = (3, 5), **more: Any) -> Batch:
    return Batch([np.arange(length, dtype=np.int32) for length in prompts], began_ms * MS,
                 np.array(stamps_ms, np.int64) * MS, **more)


def test_prefill_and_decode_are_told_apart() -> None:
    found, tables = summarize_batches([batch(100, [40, 50, 60, 70], kv_bytes=8, peak_bytes=20),
                                       batch(900, [60, 80, 100, 130], kv_bytes=9)], "CUDA events")
    metrics = found["metrics"]
    assert found["measured_by"] == "engine"
    assert (found["prefill_s"], found["decode_s"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found["window_s"] == pytest.approx(0.2), "not the 730 ms between which other things happened"
    assert metrics["prefill_throughput"] == pytest.approx(16 / 0.1)
    assert metrics["decode_throughput"] == pytest.approx(4 * 3 / 0.1)
    assert metrics["output_throughput"] == pytest.approx(4 * 4 / 0.2)
    assert metrics["ttft"] == pytest.approx(0.05)
    assert metrics["tpot"] == pytest.approx((0.01 + 0.07 / 3) / 2)
    assert metrics["itl"] == pytest.approx(0.015)
    assert metrics["e2e"] == pytest.approx(0.1)
    assert (metrics["concurrency"], metrics["output_length"]) == (2.0, 4.0)
    assert (found["requests"], found["outcomes"], found["concurrency"]) == (4, {"ok": 4}, 2)
    assert (found["prompt_tokens"], found["output_tokens"]) == (16, 16)
    assert (found["kv_bytes"], found["peak_bytes"]) == (9, 20)
    assert (found["window"]["begin_ns"], found["window"]["end_ns"]) == (100 * MS, 1030 * MS)

    requests, chunks = tables["requests"], tables["chunks"]
    assert requests["batch"].tolist() == [0, 0, 1, 1]
    assert requests["sent_s"] == pytest.approx([0, 0, 0.07, 0.07])
    assert requests["first_s"] == pytest.approx([0.04, 0.04, 0.13, 0.13])
    assert requests["last_s"] == pytest.approx([0.07, 0.07, 0.2, 0.2])
    assert requests["prompt_tokens"].tolist() == [3, 5, 3, 5]
    assert chunks["at_s"][:4] == pytest.approx([0.04, 0.05, 0.06, 0.07])
    assert chunks["request"].tolist() == np.repeat(range(4), 4).tolist()


def test_one_token_has_no_decode() -> None:
    found, _ = summarize_batches([batch(0, [10])], "monotonic clock")
    assert found["decode_s"] == 0
    assert "tpot" not in found["metrics"]
    assert "decode_throughput" not in found["metrics"]
    assert found["missing"]["tpot"] == "the answers have 1 token"


def test_what_only_a_client_measures_is_missing_with_its_reason() -> None:
    found, _ = summarize_batches([batch(0, [10, 20])], "monotonic clock")
    assert set(LOAD_METRICS) == set(found["missing"]) | (set(found["metrics"]) & set(LOAD_METRICS))
    assert "no client" in found["missing"]["schedule_lag"]
    assert "client" not in found


def test_the_prompts_hash_is_that_of_a_served_window() -> None:
    batches = [batch(0, [10, 20]), batch(5, [10, 20], prompts=(7, 2))]
    found, _ = summarize_batches(batches, "monotonic clock")
    assert found["prompts_sha256"] == prompts_sha256([prompt for one in batches for prompt in one.prompts])


@given(st.lists(st.lists(st.integers(1, 10**9), min_size=3, max_size=3), min_size=1, max_size=40), st.integers(1, 5))
def test_rates_and_times_are_one_account(gaps: list[list[int]], size: int) -> None:
    batches = [Batch([np.zeros(4, np.int32)] * size, place, np.cumsum(gap)) for place, gap in enumerate(gaps)]
    found, tables = summarize_batches(batches, "monotonic clock")
    metrics = found["metrics"]
    total = found["prefill_s"] + found["decode_s"]
    assert found["window_s"] == pytest.approx(total)
    assert metrics["output_throughput"] * total == pytest.approx(3 * size * len(gaps))
    assert metrics["prefill_throughput"] * found["prefill_s"] == pytest.approx(4 * size * len(gaps))
    assert metrics["decode_throughput"] * found["decode_s"] == pytest.approx(2 * size * len(gaps))
    assert tables["requests"]["last_s"][-1] == pytest.approx(total)
    for key, (low, high) in found["intervals"].items():
        assert low <= metrics[key] * (1 + 1e-9), key
        assert high >= metrics[key] * (1 - 1e-9), key
