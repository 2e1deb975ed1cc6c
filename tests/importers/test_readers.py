"""Each reader on files that its tool wrote (data/): units, what each figure is, and what is missing with its reason."""

import json
from pathlib import Path
from statistics import median

import pytest

from quantcheck.importers.parts import LOAD_KEYS, Part, Read
from quantcheck.importers.registry import read_file

DATA = Path(__file__).parent / "data"
SPEED = ["guidellm-f16.json", "guidellm-q4.json", "vllm-bench-f16-1.json", "vllm-bench-q4-2.json", "aiperf-f16.json",
         "aiperf-q4.json", "llama-bench-f16.json", "llama-bench-f16.jsonl", "llama-bench-f16.sql"]


def read(name: str) -> Read:
    return read_file(DATA / name)[1]


def only(name: str) -> Part:
    (part,) = read(name).parts
    return part


@pytest.mark.parametrize("name", SPEED)
def test_every_metric_is_a_figure_or_says_why_not(name: str) -> None:
    for part in read(name).parts:
        metrics, missing = part.result["metrics"], part.result["missing"]
        assert metrics.keys() | missing.keys() == set(LOAD_KEYS)
        assert not metrics.keys() & missing.keys()
        assert all(value > 0 for value in metrics.values())
        assert all(missing.values())


def test_guidellm() -> None:
    document = json.loads((DATA / "guidellm-f16.json").read_text())
    found = read("guidellm-f16.json")
    assert (found.tool, found.version) == ("guidellm", "0.8.1")
    part = only("guidellm-f16.json")
    assert (part.subject, part.result["concurrency"]) == ("c2", 2)
    requests = document["benchmarks"][0]["requests"]["successful"]
    metrics = part.result["metrics"]
    # By hand from its records, times being Unix seconds.
    span = max(r["request_end_time"] for r in requests) - document["benchmarks"][0]["start_time"]
    assert metrics["output_throughput"] == pytest.approx(sum(r["output_tokens"] for r in requests) / span, rel=0.01)
    assert metrics["request_throughput"] == pytest.approx(len(requests) / span, rel=0.01)
    assert metrics["e2e"] == pytest.approx(median(r["request_end_time"] - r["request_start_time"] for r in requests),
                                           rel=0.2)  # its median of an even number is the lower of two
    assert metrics["tpot"] == pytest.approx(1e-3 * median(r["inter_token_latency_ms"] for r in requests))
    assert metrics["ttft"] < metrics["e2e"] < 1
    assert part.result["outcomes"] == {"ok": 6}
    assert "mean" in part.result["missing"]["itl"]


def test_vllm_bench() -> None:
    document = json.loads((DATA / "vllm-bench-f16-1.json").read_text())
    part = only("vllm-bench-f16-1.json")
    metrics = part.result["metrics"]
    assert part.subject == "c2"
    assert read("vllm-bench-f16-1.json").version is None
    assert metrics["output_throughput"] == pytest.approx(sum(document["output_lens"]) / document["duration"])
    assert metrics["ttft"] == pytest.approx(median(document["ttfts"]))
    assert metrics["e2e"] == pytest.approx(median(document["latencies"]), rel=1e-3)
    gaps = [gap for answer in document["itls"] for gap in answer]
    assert metrics["chunk_gap"] == pytest.approx(median(gaps))
    assert metrics["tpot"] == pytest.approx(median(
        (latency - first) / (tokens - 1)
        for latency, first, tokens in zip(document["latencies"], document["ttfts"], document["output_lens"],
                                          strict=True)), rel=0.05)
    assert part.result["percentiles"]["ttft"] == {}  # 8 requests support no p99
    assert "goodput" in part.result["missing"]


def test_aiperf() -> None:
    document = json.loads((DATA / "aiperf-f16.json").read_text())
    part = only("aiperf-f16.json")
    metrics = part.result["metrics"]
    assert (part.subject, read("aiperf-f16.json").version) == ("c2", "0.13.0")
    assert part.result["outcomes"] == {"ok": 7, "error": 1}
    tokens, seconds = document["total_output_tokens"]["avg"], document["benchmark_duration"]["avg"]
    assert metrics["output_throughput"] == pytest.approx(tokens / seconds, rel=0.06)
    assert metrics["ttft"] == pytest.approx(document["time_to_first_token"]["p50"] / 1000)
    assert part.result["window_s"] == pytest.approx(seconds)
    # Most answers came in one chunk: a median of 0 is no figure.
    assert document["inter_token_latency"]["p50"] == 0
    assert part.result["missing"]["tpot"] == "aiperf tells 0, which is no figure"


def test_llama_bench_says_the_same_in_all_formats() -> None:
    first = read("llama-bench-f16.json")
    assert [part.subject for part in first.parts] == ["pp64", "tg16", "pp64+tg16"]
    assert (first.engine, first.engine_version) == ("llama.cpp", "b0 (unknown)")
    document = json.loads((DATA / "llama-bench-f16.json").read_text())
    reads, writes, both = (part.result["metrics"] for part in first.parts)
    assert reads == {"input_throughput": document[0]["avg_ts"]}
    assert writes == {"output_throughput": pytest.approx(document[1]["avg_ts"], rel=0.01)}
    assert both == {"output_throughput": pytest.approx(16e9 / document[2]["avg_ns"])}
    assert first.parts[0].result["missing"]["ttft"] == "imported from llama-bench: no per-request records"
    for other in ("llama-bench-f16.jsonl", "llama-bench-f16.sql"):
        found = read(other)
        assert [part.subject for part in found.parts] == [part.subject for part in first.parts]
        assert [part.work for part in found.parts] == [part.work for part in first.parts]
        assert [part.result["metrics"].keys() for part in found.parts] == \
            [part.result["metrics"].keys() for part in first.parts]


def test_llama_perplexity() -> None:
    plain = only("llama-perplexity-f16.log")
    assert plain.result["perplexity"] == 2.7225
    assert plain.result["perplexity_se"] == 0.15856
    assert plain.work["context"] == 128
    damage = only("llama-perplexity-q4-kl.log").result
    assert damage["kl_divergence"] == 0.019756
    assert damage["log_ratio"] == 0.040954
    assert damage["top1_agreement"] == pytest.approx(0.86888)
    assert damage["perplexity"] == pytest.approx(only("llama-perplexity-q4.log").result["perplexity"], abs=1e-4)


def test_lm_eval() -> None:
    results = next((DATA / "lm-eval-q2_k").glob("results_*.json"))
    found = read_file(results)[1]
    assert found.version == "0.4.13"
    assert found.groups == {"ref_knowledge": ["ref_color", "ref_month"]}
    scores = {part.subject: part.result for part in found.parts}
    assert scores["ref_color"]["accuracy"] == 0.75
    assert scores["ref_color"]["n"] == 12
    assert scores["ref_knowledge"]["n"] == 24
    assert scores["ref_arithmetic"]["metric"] == "exact_match,last"
    for samples in (DATA / "lm-eval-q2_k").glob("samples_*.jsonl"):
        (part,) = read_file(samples)[1].parts
        told = scores[part.subject]
        assert (part.result["n"], part.result["accuracy"]) == (told["n"], told["accuracy"])
        items = part.tables["items"]
        assert all(len(digest) == 64 for digest in items["prompt_hash"])


def test_another_metric_of_lm_eval() -> None:
    results = next((DATA / "lm-eval-q2_k").glob("results_*.json"))
    found = read_file(results, metric="acc_norm")[1]
    assert {part.subject for part in found.parts} == {"ref_color", "ref_month"}
    assert {part.result["metric"] for part in found.parts} == {"acc_norm,none"}
    assert any("ref_arithmetic: has no metric" in note for note in found.notes)
