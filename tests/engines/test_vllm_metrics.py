"""What vLLM's /metrics tells; the texts are of a real server, lines of its process and of Python taken out."""

from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.engines.vllm_metrics import NAMES, Counters, Histogram, difference, read_counters

BOUNDS = (0.01, 0.1, 1.0, inf)

LOGS = Path(__file__).with_name("logs")

counts = st.integers(0, 10**12)
values = st.lists(st.sampled_from([0.004, 0.01, 0.05, 0.7, 3.0]), max_size=30)
reasons = st.dictionaries(st.sampled_from(["stop", "length", "abort"]), counts)


def histogram(observed: Sequence[float]) -> Histogram:
    return Histogram(BOUNDS, tuple(sum(value <= bound for value in observed) for bound in BOUNDS), sum(observed))


@given(counts, counts, reasons, reasons, values, values)
def test_the_difference_is_what_came_between(
    old: int, new: int, before: dict[str, int], came: dict[str, int], early: list[float], late: list[float]
) -> None:
    first = Counters(prompt_tokens=old, requests=before, ttft=histogram(early))
    both = {key: before.get(key, 0) + came.get(key, 0) for key in {**before, **came}}
    found, fell = difference(first, Counters(old + new, requests=both, ttft=histogram(early + late)))
    assert fell == []
    assert found.prompt_tokens == new
    assert found.requests is not None
    assert {key: n for key, n in found.requests.items() if n} == {key: n for key, n in came.items() if n}
    assert found.ttft is not None
    assert found.ttft.counts == histogram(late).counts
    assert found.ttft.total == pytest.approx(sum(late), abs=1e-9)
    assert (found.itl, found.preemptions) == (None, None)


@given(counts, st.integers(1, 10**6), values, values.filter(bool))
def test_what_falls_is_said_and_not_counted(new: int, gone: int, kept: list[float], lost: list[float]) -> None:
    before = Counters(prompt_tokens=new + gone, preemptions=1, requests={"stop": gone}, ttft=histogram(kept + lost))
    after = Counters(prompt_tokens=new, preemptions=1, requests={"length": 5}, ttft=histogram(kept))
    found, fell = difference(before, after)
    assert fell == ["prompt_tokens", "requests", "ttft"]
    assert found == Counters(preemptions=0)


@given(values.filter(bool), st.floats(0, 1))
def test_a_quantiles_bucket_holds_it(observed: list[float], q: float) -> None:
    bucket = histogram(observed).quantile(q)
    assert bucket is not None
    rank = next(n for n in range(1, len(observed) + 1) if n >= q * len(observed))
    value = sorted(observed)[rank - 1]
    low, high = bucket
    assert low < value <= (inf if high is None else high)


def test_no_values_have_no_quantile_and_no_mean() -> None:
    empty = histogram([])
    assert (empty.quantile(0.5), empty.mean, empty.count) == (None, None, 0)


def test_a_real_server() -> None:
    """It had answered 48 requests of 300 prompt tokens, 20 of them a second time, and 6 whose clients left."""
    found = read_counters((LOGS / "vllm-metrics-0.32.0-cpu.txt").read_text(encoding="utf-8"))
    assert (found.prompt_tokens, found.generation_tokens) == (54 * 300, 1156)
    assert (found.prefix_cache_queries, found.prefix_cache_hits) == (54 * 300, 23 * 2 * 128)
    assert (found.preemptions, found.busy) == (0, 0)
    assert found.requests == {"stop": 0, "length": 48, "abort": 0, "error": 0, "repetition": 0}
    assert found.ttft is not None
    assert found.ttft.count == 54
    assert found.ttft.mean == pytest.approx(2.56452 / 54)
    assert (found.ttft.quantile(0.5), found.ttft.quantile(0.95)) == ((0.02, 0.04), (0.1, 0.25))
    assert found.itl is not None
    assert (found.itl.count, found.itl.quantile(0.5)) == (1156 - 54, (0.0, 0.01))
    assert found.e2e is not None
    assert (found.e2e.count, found.e2e.quantile(1.0)) == (48, (0.5, 0.8))
    assert found.queue is not None
    assert found.queue.count == 48
    assert found.queue.total == pytest.approx(0.000794348)


def test_engines_and_models_of_one_server_are_added_up() -> None:
    found = read_counters("""\
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a \\"b\\" {c}"} 3.0
vllm:prompt_tokens_total{engine="1",model_name="a \\"b\\" {c}"} 4.0
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="length",model_name="a"} 2.0
vllm:request_success_total{engine="1",finished_reason="length",model_name="a"} 3.0
vllm:request_success_total{engine="1",finished_reason="stop",model_name="a"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="a"} 1.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="a"} 2.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="a"} 2.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="a"} 1.25
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.5",model_name="a"} 3.0
vllm:time_to_first_token_seconds_bucket{engine="1",le="+Inf",model_name="a"} 3.0
vllm:time_to_first_token_seconds_count{engine="1",model_name="a"} 3.0
vllm:time_to_first_token_seconds_sum{engine="1",model_name="a"} 0.5
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="1",model_name="a"} 2.0
""")
    assert found == Counters(
        prompt_tokens=7, requests={"length": 5, "stop": 1}, ttft=Histogram((0.5, inf), (4, 5), 1.75), busy=3)


def test_the_older_name_of_a_metric() -> None:
    found = read_counters("""\
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_bucket{le="+Inf"} 2.0
vllm:time_per_output_token_seconds_sum 0.5
""")
    assert found == Counters(itl=Histogram((inf,), (2,), 0.5))


@pytest.mark.parametrize("text", [
    "", "<html>not found</html>", "vllm:prompt_tokens_total{", "vllm:prompt_tokens_total{} x",
    "vllm:prompt_tokens_total NaN", 'vllm:time_to_first_token_seconds_bucket{lo="1"} 1',
])
def test_what_is_no_such_text_tells_nothing(text: str) -> None:
    assert read_counters(text) == Counters()


def test_every_field_has_a_name() -> None:
    assert [*NAMES, "busy"] == list(Counters.__dataclass_fields__)
