"""GuideLLM's JSON (0.8: metadata version 2): one load for each of its benchmarks.

Its words: *inter token latency* is a request's mean gap, our TPOT, and the summary counts each request once for every
gap that it has, so the requests themselves are read. *time per output token* divides by all tokens, the first included;
it is none of our metrics. Rates are over the benchmark's whole measured time.
"""

import json
from statistics import median
from typing import Any

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Fields, Wrong, fields_of
from quantcheck.importers.parts import Distribution, Part, Read, Work, load_part

__all__ = ["read", "recognises"]

TOOL = "guidellm"
PERCENTILES = {"p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99.9"}


def recognises(content: Content) -> bool:
    document = content.json
    return isinstance(document, dict) and "benchmarks" in document and isinstance(document.get("metadata"), dict) \
        and "guidellm_version" in document["metadata"]


def read(content: Content) -> Read:
    document = fields_of(content.json, "")
    version = document.fields("metadata").text("guidellm_version")
    benchmarks = [fields_of(one, f"benchmarks[{place}]") for place, one in enumerate(document.list("benchmarks"))]
    if not benchmarks:
        raise Wrong("benchmarks is empty: GuideLLM measured nothing")
    if not all("config" in one.value for one in benchmarks):
        raise Wrong(f"written by GuideLLM {version}, and files of 0.8 are read; measure again with a newer GuideLLM")
    spec = document.fields("config").fields("spec")
    return Read(TOOL, version, [_part(one, spec) for one in benchmarks])


def _part(benchmark: Fields, spec: Fields) -> Part:
    config = benchmark.fields("config")
    strategy = config.fields("strategy")
    point, concurrency, rate = _point(strategy)
    metrics = benchmark.fields("metrics")
    totals = metrics.fields("request_totals")
    outcomes = {name: count for name, key in (("ok", "successful"), ("error", "errored"), ("incomplete", "incomplete"))
                if (count := totals.count(key))}
    tokens = _mean(metrics, "prompt_token_count"), _mean(metrics, "output_token_count")
    work: Work = {
        "data": json.dumps(spec.value.get("data"), sort_keys=True),
        "seed": json.dumps(spec.value.get("seed"), sort_keys=True),
        "request format": spec.fields("backend").text_or_none("request_format"),
        "prompt tokens per request": tokens[0],
        **{name: json.dumps(config.value.get(name), sort_keys=True) for name in ("warmup", "cooldown")},
        "ramp-up": strategy.number_or_none("rampup_duration"),
    }
    return load_part(
        TOOL, point, outcomes=outcomes, work=work, concurrency=concurrency, rate=rate,
        duration_s=benchmark.number_or_none("duration"), prompt_tokens=tokens[0], output_tokens=tokens[1],
        rates={ours: _rate(metrics, theirs) for ours, theirs in (
            ("output_throughput", "output_tokens_per_second"), ("request_throughput", "requests_per_second"),
            ("input_throughput", "prompt_tokens_per_second"))},
        latencies={
            "ttft": _distribution(metrics, "time_to_first_token_ms", 1e-3),
            "tpot": _tpot(benchmark),
            "e2e": _distribution(metrics, "request_latency", 1.0),
            "itl": "imported from guidellm: its inter token latency is a request's mean, see tpot",
        },
    )


def _point(strategy: Fields) -> tuple[str, int | None, float | None]:
    kind = strategy.text("type_")
    if kind == "synchronous":
        return "c1", 1, None
    if kind == "concurrent":
        streams = strategy.count("streams")
        return f"c{streams}", streams, None
    if kind in ("constant", "poisson"):
        rate = strategy.number("rate")
        return f"r{rate:g}.{kind}", None, rate
    return kind, None, None


def _successful(metrics: Fields, key: str) -> Fields | None:
    """The distribution over good requests; None where there is none."""
    if not metrics.has(key):
        return None
    found = metrics.fields(key).fields("successful")
    return found if found.count("count") else None


def _mean(metrics: Fields, key: str) -> float | None:
    found = _successful(metrics, key)
    return None if found is None else found.number("mean")


def _rate(metrics: Fields, key: str) -> float | str:
    mean = _mean(metrics, key)
    return "no request ended well" if mean is None else mean


def _distribution(metrics: Fields, key: str, scale: float) -> Distribution | str:
    found = _successful(metrics, key)
    if found is None:
        return "no request ended well"
    told = found.fields("percentiles")
    return Distribution(found.number("median") * scale,
                        {ours: told.number(theirs) * scale for theirs, ours in PERCENTILES.items() if told.has(theirs)})


def _tpot(benchmark: Fields) -> Distribution | str:
    """One value per request, as ours; of several tokens only."""
    requests: list[Any] = benchmark.fields("requests").list("successful") if benchmark.has("requests") else []
    values = []
    for place, request in enumerate(requests):
        value = fields_of(request, f"requests.successful[{place}]").number_or_none("inter_token_latency_ms")
        if value is not None and value < 0:
            raise Wrong(f"requests.successful[{place}].inter_token_latency_ms is {value:g}, below 0")
        if value is not None:
            values.append(value * 1e-3)
    if not values:
        return "imported from guidellm: no per-request records, and its summary counts long answers more"
    return Distribution(median(values))
