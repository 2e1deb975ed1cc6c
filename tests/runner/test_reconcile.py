"""The server's counts beside the client's: the sentences, and what a load cell holds of them."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantcheck
from quantcheck import Experiment
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.vllm_metrics import Counters, Histogram
from quantcheck.load.raw import Table
from quantcheck.runner.reconcile import cached_tokens, server_record
from quantcheck.store import Store

BOUNDS = (0.1, 0.5, float("inf"))


def requests(*outcomes: str, tokens: int = 4) -> Table:
    """10 prompt tokens each, 200 ms to the first token, 50 ms between tokens; one that failed got nothing."""
    count = len(outcomes)
    ok = np.array([outcome == "ok" for outcome in outcomes])
    sent = np.arange(count, dtype=np.float64)
    first = np.where(ok, sent + 0.2, np.nan)
    return {
        "prompt_tokens": np.full(count, 10, np.int32), "output_tokens": np.where(ok, tokens, 0).astype(np.int32),
        "sent_s": sent, "first_s": first, "last_s": first + 0.05 * (tokens - 1),
        "outcome": np.array(outcomes, object),
    }


def times(count: int, mean: float) -> Histogram:
    below = tuple(count if mean <= bound else 0 for bound in BOUNDS)
    return Histogram(BOUNDS, below, count * mean)


def counted(count: int, *, tokens: int = 4, ttft: float = 0.19) -> Counters:
    """What a server says that did just that."""
    return Counters(
        prompt_tokens=10 * count, generation_tokens=tokens * count, prefix_cache_queries=0, prefix_cache_hits=0,
        preemptions=0, requests={"length": count, "stop": 0, "abort": 0}, ttft=times(count, ttft),
        itl=times((tokens - 1) * count, 0.05), e2e=times(count, 0.34), queue=times(count, 0.001), busy=0,
    )


def record(after: Counters, table: Table, before: Counters | None = None, caching: bool = False) -> dict[str, Any]:
    return server_record(before or counted(0), after, table, prefix_caching=caching)


def test_equal_counts_are_no_difference() -> None:
    found = record(counted(13), requests(*["ok"] * 3), before=counted(10))
    assert found == {
        "prompt_tokens": 30, "generation_tokens": 12, "prefix_cache_queries": 0, "prefix_cache_hits": 0,
        "preemptions": 0, "requests": {"length": 3},
        "ttft": {"count": 3, "mean_s": pytest.approx(0.19), "p50_s": [0.1, 0.5],
                 "client_count": 3, "client_mean_s": pytest.approx(0.2)},
        "itl": {"count": 9, "mean_s": pytest.approx(0.05), "p50_s": [0.0, 0.1],
                "client_count": 9, "client_mean_s": pytest.approx(0.05)},
        "e2e": {"count": 3, "mean_s": pytest.approx(0.34), "p50_s": [0.1, 0.5],
                "client_count": 3, "client_mean_s": pytest.approx(0.35)},
        "queue": {"count": 3, "mean_s": pytest.approx(0.001), "p50_s": [0.0, 0.1]},
        "client": {"prompt_tokens": [30, 30], "generation_tokens": [12, 12], "requests": [3, 3]},
        "missing": [], "differences": [],
    }


@pytest.mark.parametrize(("change", "sentence"), [
    ({"prompt_tokens": 32}, "the server counts 32 prompt tokens, the client 30"),
    ({"generation_tokens": 11}, "the server counts 11 generated tokens, the client 12"),
    ({"requests": {"length": 3, "abort": 1}}, "the server counts 4 finished requests, the client 3"),
    ({"prefix_cache_hits": 16}, "16 prompt tokens came from the server's prefix cache, which was to be off"),
    ({"ttft": times(3, 0.2015)}, "the client's mean time to first token is 200.0 ms, the server's part of it 201.5 ms"),
])
def test_a_count_that_cannot_be(change: dict[str, Any], sentence: str) -> None:
    assert record(replace(counted(3), **change), requests(*["ok"] * 3))["differences"] == [sentence]


@pytest.mark.parametrize("change", [
    {"prefix_cache_hits": 0, "preemptions": 3},
    {"ttft": times(3, 0.2005)},
    {"ttft": times(2, 0.3)},
    {"ttft": times(0, 0.3)},
])
def test_what_may_well_be(change: dict[str, Any]) -> None:
    assert record(replace(counted(3), **change), requests(*["ok"] * 3))["differences"] == []


def test_hits_of_a_cache_that_is_on() -> None:
    assert record(replace(counted(3), prefix_cache_hits=16), requests(*["ok"] * 3), caching=True)["differences"] == []


@pytest.mark.parametrize(("change", "sentences"), [
    ({}, []),
    # The failed one's prompt was read, 40 tokens were written for it that never came, and its end was counted or not.
    ({"prompt_tokens": 30, "generation_tokens": 48}, []),
    ({"prompt_tokens": 30, "requests": {"length": 2, "abort": 1}}, []),
    ({"prompt_tokens": 31}, ["the server counts 31 prompt tokens, the client at most 30"]),
    ({"prompt_tokens": 19}, ["the server counts 19 prompt tokens, the client at least 20"]),
    ({"generation_tokens": 7}, ["the server counts 7 generated tokens, the client at least 8"]),
    ({"requests": {"length": 4}}, ["the server counts 4 finished requests, the client at most 3"]),
    ({"requests": {"length": 1}}, ["the server counts 1 finished requests, the client at least 2"]),
])
def test_a_failed_request_leaves_room(change: dict[str, Any], sentences: list[str]) -> None:
    found = record(replace(counted(2), **change), requests("ok", "stalled", "ok"))
    assert found["differences"] == sentences
    assert found["client"] == {"prompt_tokens": [20, 30], "generation_tokens": [8, None], "requests": [2, 3]}


def test_prompts_of_unknown_length_are_not_compared() -> None:
    table = requests("ok", "ok")
    table["prompt_tokens"][1] = 0
    assert record(counted(2), table)["differences"] == []


def test_a_server_that_began_anew() -> None:
    found = record(counted(3), requests(*["ok"] * 3), before=counted(2000))
    assert found["differences"] == ["the server's counts fell during the window (prompt_tokens, generation_tokens, "
                                    "requests, ttft, itl, e2e, queue): it was started again"]
    assert (found["prompt_tokens"], found["requests"], found["ttft"]) == (None, None, None)
    assert found["preemptions"] == 0
    assert found["missing"] == []


def test_a_server_that_tells_less_says_what_is_missing() -> None:
    found = record(replace(counted(3), preemptions=None, itl=None), requests(*["ok"] * 3))
    assert (found["preemptions"], found["itl"]) == (None, None)
    assert found["missing"] == ["vllm:num_preemptions_total", "vllm:inter_token_latency_seconds"]
    assert found["differences"] == []
    nothing = record(Counters(), requests("ok"))
    assert len(nothing["missing"]) == 10
    assert nothing["differences"] == []
    assert cached_tokens(nothing, 100) is None


def test_a_window_in_which_nothing_came() -> None:
    found = record(counted(0), requests("refused", "refused"))
    assert found["ttft"] == {"count": 0, "mean_s": None, "p50_s": None, "client_count": 0, "client_mean_s": None}
    assert (found["requests"], found["differences"]) == ({}, [])


@pytest.mark.parametrize(("hits", "cached"), [(0, 0), (32, 16), (64, 32)])
def test_the_measured_requests_take_their_share_of_the_hits(hits: int, cached: int) -> None:
    found = {"prefix_cache_hits": hits, "prompt_tokens": 64}
    assert cached_tokens(found, 32) == cached


def experiment() -> Experiment:
    return Experiment.model_validate({
        "name": "x", "model": "none", "baseline": "a", "blocks": 1, "noise_floor": False,
        "variants": {"a": {"scheme": "gguf/F16"}},
        "engine": {"kind": "fake", "ttft_ms": 5, "itl_ms": 1},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 6}}, "requests": 5, "warmup_requests": 2},
    })  # fmt: skip


def results(out: Path) -> list[dict[str, Any]]:
    return [cell.record["result"] for cell in Store(out).cells()]


def test_a_cell_of_an_engine_that_counts_nothing_says_nothing(tmp_path: Path) -> None:
    quantcheck.run(experiment(), tmp_path / "out")
    (result,) = results(tmp_path / "out")
    assert "server" not in result
    assert result["token_counts"]["prompt_cached"] is None


def test_a_cell_of_an_engine_that_counts_has_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are those of the fake server's own log."""
    out = tmp_path / "out"

    def counters(self: FakeServer) -> Counters:
        log = out / "logs" / "a-block1.jsonl"
        truths: list[Truth] = []
        while len(truths) < len(seen := read_log(log) if log.exists() else []):  # the server writes when it has time
            truths = seen
            time.sleep(0.3)
        return Counters(
            prompt_tokens=sum(truth.prompt_tokens for truth in truths), prefix_cache_hits=4 * len(truths),
            generation_tokens=sum(int(truth.tokens.sum()) for truth in truths), requests={"length": len(truths)},
        )

    monkeypatch.setattr(FakeServer, "counters", counters)
    quantcheck.run(experiment(), out)
    (result,) = results(out)
    sent = len(next(Store(out).cells()).table("requests")["request"])
    server = result["server"]
    assert sent >= 7
    assert (server["prompt_tokens"], server["generation_tokens"], server["requests"]) == (
        8 * sent, 6 * sent, {"length": sent})
    assert server["differences"] == []
    assert server["missing"] == [
        "vllm:prefix_cache_queries_total", "vllm:num_preemptions_total", "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds", "vllm:e2e_request_latency_seconds", "vllm:request_queue_time_seconds",
    ]
    assert result["token_counts"]["prompt_cached"] == 20  # half of the 40 measured prompt tokens
