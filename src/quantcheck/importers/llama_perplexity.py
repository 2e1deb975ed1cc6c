"""llama-perplexity's log: the perplexity of one text, and with --kl-divergence its damage against a base.

The plus-minus is one standard error, over tokens as if they were independent. The log does not name the text.
"""

import math
import re

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Wrong, number_of
from quantcheck.importers.parts import Part, Read, Work

__all__ = ["read", "recognises"]

TOOL = "llama-perplexity"
NUMBER = r"\s*([-+.\deEnaif]+)"
RUN = re.compile(r"over (\d+) chunks, n_ctx=(\d+)")
BUILD = re.compile(r"^(?:.*\s)?build: (\S+ \(\S+\))", re.MULTILINE)
FINAL = re.compile(rf"Final estimate: PPL ={NUMBER} \+/-{NUMBER}")
TABLE = {
    "perplexity": re.compile(rf"^Mean PPL\(Q\)\s*:{NUMBER} ±{NUMBER}", re.MULTILINE),
    "base_perplexity": re.compile(rf"^Mean PPL\(base\)\s*:{NUMBER} ±{NUMBER}", re.MULTILINE),
    "log_ratio": re.compile(rf"^Mean ln\(PPL\(Q\)/PPL\(base\)\)\s*:{NUMBER} ±{NUMBER}", re.MULTILINE),
    "kl_divergence": re.compile(rf"^Mean\s+KLD:{NUMBER} ±{NUMBER}", re.MULTILINE),
    "top1_agreement": re.compile(rf"^Same top p:{NUMBER} ±{NUMBER}", re.MULTILINE),
}


def recognises(content: Content) -> bool:
    text = content.text
    return "Final estimate: PPL" in text or "Mean PPL(Q)" in text or \
        ("perplexity: calculating perplexity over" in text) or ("kl_divergence: computing over" in text)


def read(content: Content) -> Read:
    run = RUN.search(content.text)
    if run is None:
        raise Wrong("does not say over how many chunks; give the whole log, standard error included")
    chunks, context = (int(number_of(text, "chunks")) for text in run.groups())
    build = BUILD.search(content.text)
    version = build.group(1) if build else None
    result = {
        "kind": "perplexity", "aggregate": True, "chunks": chunks, "context": context,
        "tokens": chunks * (context - 1 - context // 2), **_figures(content.text),
    }  # fmt: skip
    work: Work = {"chunks": chunks, "context": context}
    return Read(TOOL, version, [Part("quality", "text", result, work)], engine="llama.cpp", engine_version=version)


def _figures(text: str) -> dict[str, float]:
    if (final := FINAL.search(text)) is not None:
        value, error = (number_of(one, "PPL") for one in final.groups())
        return _checked({"perplexity": value, "perplexity_se": error})
    found: dict[str, float] = {}
    for key, pattern in TABLE.items():
        if (line := pattern.search(text)) is None:
            raise Wrong(f"has no line for {key.replace('_', ' ')}: the run did not come to its end")
        scale = 0.01 if key == "top1_agreement" else 1.0
        found[key], found[f"{key}_se"] = (number_of(one, key) * scale for one in line.groups())
    return _checked(found)


def _checked(found: dict[str, float]) -> dict[str, float]:
    if found["perplexity"] < 1 or any(value < 0 for key, value in found.items() if key.endswith("_se")):
        raise Wrong(f"tells a perplexity of {found['perplexity']:g} with an error of {found['perplexity_se']:g}")
    ratio = found.get("log_ratio")
    if ratio is not None and abs(ratio - math.log(found["perplexity"] / max(found["base_perplexity"], 1.0))) > 0.01:
        raise Wrong("its perplexities and their ratio do not fit together")
    return found
