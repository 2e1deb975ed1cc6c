"""AIPerf's profile_export_aiperf.json: one load; every figure with the unit that stands beside it.

Its words: *inter token latency* is (request latency - TTFT) / (output tokens - 1), one value per request: our TPOT.
*Inter chunk latency* is one value per gap between chunks, our chunk gap. Rates are over the benchmark's duration.
"""

import json

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Fields, Wrong, fields_of
from quantcheck.importers.parts import Distribution, Part, Read, Work, load_part

__all__ = ["read", "recognises"]

TOOL = "aiperf"
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
RATES = {"output_throughput": ("output_token_throughput", "tokens/sec"),
         "request_throughput": ("request_throughput", "requests/sec"),
         "input_throughput": ("input_token_throughput", "tokens/sec"),
         "goodput": ("goodput", "requests/sec")}
LATENCIES = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "chunk_gap": "inter_chunk_latency",
             "e2e": "request_latency"}
ABSENT = "imported from aiperf: not in its results"


def recognises(content: Content) -> bool:
    document = content.json
    return isinstance(document, dict) and "aiperf_version" in document and "input_config" in document


def read(content: Content) -> Read:
    found = fields_of(content.json, "")
    notes = ["the benchmark was cancelled before its end"] if found.value.get("was_cancelled") is True else []
    return Read(TOOL, found.text("aiperf_version"), [_part(found)], notes=notes)


def _part(found: Fields) -> Part:
    config = found.fields("input_config")
    phases = [phase for place, one in enumerate(config.list("phases"))
              if (phase := fields_of(one, f"input_config.phases[{place}]")).value.get("kind") == "profiling"]
    if len(phases) != 1:
        raise Wrong(f"input_config.phases holds {len(phases)} profiling phases, and one is read")
    streams, rate = phases[0].count_or_none("concurrency"), phases[0].number_or_none("rate")
    endpoint = config.fields("endpoint")
    prompt, answer = (_average(found, key) for key in ("input_sequence_length", "output_sequence_length"))
    errors = int(_average(found, "error_request_count") or 0)
    work: Work = {
        "data": json.dumps(config.value.get("datasets"), sort_keys=True), "endpoint": endpoint.text_or_none("type"),
        "streaming": json.dumps(endpoint.value.get("streaming")),
        "request fields": json.dumps(endpoint.value.get("extra"), sort_keys=True),
        "requests": phases[0].number_or_none("requests"), "prompt tokens per request": prompt,
    }
    duration = _seconds(found, "benchmark_duration")
    return load_part(
        TOOL, _point(phases[0], streams, rate), work=work, concurrency=streams, rate=rate,
        duration_s=None if duration is None else found.fields("benchmark_duration").number("avg") * duration,
        outcomes={"ok": int(_average(found, "request_count") or 0), **({"error": errors} if errors else {})},
        prompt_tokens=prompt, output_tokens=answer,
        rates={key: _rate(found, *told) for key, told in RATES.items()},
        latencies={
            **{key: _latency(found, told) for key, told in LATENCIES.items()},
            "itl": "imported from aiperf: its inter token latency is a request's mean, see tpot",
        },
    )


def _point(phase: Fields, streams: int | None, rate: float | None) -> str:
    if rate is not None:
        return f"r{rate:g}.{phase.text('type')}" + (f".c{streams}" if streams else "")
    return f"c{streams}" if streams is not None else phase.text("type")


def _average(found: Fields, key: str) -> float | None:
    return found.fields(key).number("avg") if found.has(key) else None


def _rate(found: Fields, key: str, unit: str) -> float | str:
    if not found.has(key):
        return ABSENT
    told = found.fields(key)
    if told.text("unit") != unit:
        raise Wrong(f"{key}.unit is {told.text('unit')[:40]!r}, not {unit!r}")
    return told.number("avg")


def _seconds(found: Fields, key: str) -> float | None:
    """What the figure is to be multiplied with to be in s."""
    if not found.has(key):
        return None
    unit = found.fields(key).text("unit")
    if unit not in SECONDS:
        raise Wrong(f"{key}.unit is {unit[:40]!r}, none of {', '.join(SECONDS)}")
    return SECONDS[unit]


def _latency(found: Fields, key: str) -> Distribution | str:
    scale = _seconds(found, key)
    if scale is None:
        return ABSENT
    told = found.fields(key)
    if not told.has("p50"):
        return f"{ABSENT} (no median)"
    return Distribution(told.number("p50") * scale,
                        {name: told.number(name) * scale for name in ("p90", "p95", "p99") if told.has(name)})
