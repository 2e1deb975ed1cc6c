"""`vllm bench serve --save-result`: one load. Its rates are over the whole duration, ramp and drain included.

Its ITL has one value per SSE message, however many tokens that carries: our chunk gap. TTFT of chat counts an empty
first message. The file does not tell vLLM's version, nor which server answered.
"""

import hashlib

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Fields, Wrong, fields_of, number_of
from quantcheck.importers.parts import Distribution, Part, Read, Work, load_part

__all__ = ["read", "recognises"]

TOOL = "vllm bench"


def recognises(content: Content) -> bool:
    document = content.json
    return isinstance(document, dict) and {"num_prompts", "request_rate", "total_output_tokens"} <= document.keys()


def read(content: Content) -> Read:
    return Read(TOOL, None, [_part(fields_of(content.json, ""))])


def _part(found: Fields) -> Part:
    completed, failed = found.count("completed"), found.count_or_none("failed")
    prompts = found.count("num_prompts")
    lost = failed if failed is not None else prompts - completed
    if lost < 0:
        raise Wrong(f"completed is {completed}, more than num_prompts ({prompts})")
    streams, rate = found.count_or_none("max_concurrency"), _rate(found)
    duration = found.number("duration")
    if duration <= 0:
        raise Wrong(f"duration is {duration:g} s: nothing was measured")
    read, written = found.number("total_input_tokens"), found.number("total_output_tokens")
    work: Work = {
        "backend": found.text_or_none("backend"), "endpoint": found.text_or_none("endpoint_type"),
        "requests": prompts, "burstiness": found.number_or_none("burstiness"),
        "prompt tokens per request": read / completed if completed else None,
        "prompt lengths": _lengths(found),
    }
    return load_part(
        TOOL, _point(streams, rate), work=work, concurrency=streams, rate=rate, duration_s=duration,
        outcomes={"ok": completed, **({"error": lost} if lost else {})},
        prompt_tokens=read / completed if completed else None,
        output_tokens=written / completed if completed else None,
        rates={
            "output_throughput": found.number("output_throughput"),
            "request_throughput": found.number("request_throughput"),
            "input_throughput": read / duration,
            "goodput": found.number("request_goodput") if found.has("request_goodput") else "no goodput asked for",
        },
        latencies={
            **{ours: _latency(found, theirs) for ours, theirs in (
                ("ttft", "ttft"), ("tpot", "tpot"), ("chunk_gap", "itl"), ("e2e", "e2el"))},
            "itl": "imported from vllm bench: its ITL is one value per SSE message, see chunk_gap",
        },
    )


def _rate(found: Fields) -> float | None:
    """Requests per s; None for all at once, which it writes as the text "inf"."""
    value = found.value.get("request_rate")
    if value in ("inf", float("inf")):
        return None
    rate = number_of(value, "request_rate")
    if rate <= 0:
        raise Wrong(f"request_rate is {rate:g}, not above 0")
    return rate


def _point(streams: int | None, rate: float | None) -> str:
    if rate is None:
        return "max" if streams is None else f"c{streams}"
    return f"r{rate:g}" if streams is None else f"r{rate:g}.c{streams}"


def _lengths(found: Fields) -> str | None:
    """Tells whether two runs sent prompts of the same lengths; only with --save-detailed."""
    if not found.has("input_lens"):
        return None
    lengths = [number_of(one, "input_lens") for one in found.list("input_lens")]
    if len(lengths) != found.count("num_prompts"):
        raise Wrong(f"input_lens has {len(lengths)} values, num_prompts is {found.count('num_prompts')}")
    return f"{len(lengths)} with digest {hashlib.sha256(repr(lengths).encode()).hexdigest()[:12]}"


def _latency(found: Fields, name: str) -> Distribution | str:
    if not found.has(f"median_{name}_ms"):
        return f"imported from vllm bench: not among its --percentile-metrics ({name})"
    percentiles = {f"p{q}": found.number(f"p{q}_{name}_ms") * 1e-3 for q in ("90", "95", "99", "99.9")
                   if found.has(f"p{q}_{name}_ms")}
    return Distribution(found.number(f"median_{name}_ms") * 1e-3, percentiles)
