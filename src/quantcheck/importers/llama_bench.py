"""llama-bench's results as JSON, JSON lines or SQL: one load for each of its tests.

A test is named as llama-bench names it: pp64 reads 64 tokens, tg16 writes 16 one after another, pp64+tg16 both, @d512
after 512 tokens that are there already. No server and no sampling: what it tells is the model's own speed, of one
sequence. Its repetitions run in one process, so they are one block.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Fields, Wrong, fields_of
from quantcheck.importers.parts import Part, Read, Work, load_part

__all__ = ["models", "read", "recognises"]

TOOL = "llama-bench"
KEYS = {"model_filename", "n_prompt", "n_gen", "avg_ns", "avg_ts"}
INSERT = re.compile(r"^INSERT INTO \w+ \(([^()]*)\) VALUES \((.*)\);\s*$", re.MULTILINE)
VALUE = re.compile(r"'([^']*)'")
OWN = re.compile(r"^(build_|model_(?!n_params)|n_prompt$|n_gen$|n_depth$|test_time$|avg_|stddev_|samples_)")
"""Fields that say what was tested and what came of it; all others are settings."""


def recognises(content: Content) -> bool:
    if "INSERT INTO" in content.text and INSERT.search(content.text):
        return set(INSERT.search(content.text).group(1).split(", ")) >= KEYS  # type: ignore[union-attr]
    document = content.json
    first = document[0] if isinstance(document, list) and document else content.first_line
    return isinstance(first, dict) and first.keys() >= KEYS


def models(content: Content) -> list[str]:
    """The files that were tested, in their order."""
    return list(dict.fromkeys(row.text("model_filename") for row in _rows(content)))


def read(content: Content, model: str | None = None) -> Read:
    """The tests of one model: the one whose file name holds `model`, which is needed where there are several."""
    rows = list(_rows(content))
    if not rows:
        raise Wrong("holds no test of llama-bench")
    names = [name for name in models(content) if model is None or model in name]
    if len(names) != 1:
        found = ", ".join(names or models(content))
        raise Wrong(f"{'no file' if not names else f'{len(names)} files'} of it fit{'s' * (not names)}: {found[:200]}; "
                    "name one with --model")
    rows = [row for row in rows if row.text("model_filename") == names[0]]
    builds = {f"b{row.count('build_number')} ({row.text('build_commit')})" for row in rows}
    version = ", ".join(sorted(builds))
    return Read(TOOL, version, [_part(row, name) for row, name in zip(rows, _names(rows), strict=True)],
                engine="llama.cpp", engine_version=version)


def _rows(content: Content) -> Iterator[Fields]:
    if "INSERT INTO" in content.text:
        for place, found in enumerate(INSERT.finditer(content.text)):
            names, values = found.group(1).split(", "), VALUE.findall(found.group(2))
            if len(names) != len(values):
                raise Wrong(f"INSERT number {place + 1} has {len(names)} columns and {len(values)} values")
            yield Fields(dict(zip(names, values, strict=True)), f"INSERT {place + 1}")
        return
    document = content.json if isinstance(content.json, list) else content.lines
    if document is None:
        raise Wrong("is cut off or damaged: a line is no JSON")
    for place, one in enumerate(document):
        yield fields_of(one, f"test {place + 1}")


def _names(rows: list[Fields]) -> list[str]:
    """llama-bench's own; where one comes more than once, with the settings in which its tests differ."""
    found = [_name(row) for row in rows]
    result = []
    for row, name in zip(rows, found, strict=True):
        alike = [other for other, known in zip(rows, found, strict=True) if known == name]
        unlike = [key for key in row.value if not OWN.match(key)
                  and len({str(other.value.get(key)) for other in alike}) > 1]
        result.append(".".join([name, *(f"{key}={row.value[key]}" for key in unlike)]))
    if len(set(result)) < len(result):
        raise Wrong(f"holds one test twice ({max(result, key=result.count)}); import the runs as files of their own")
    return result


def _name(row: Fields) -> str:
    prompt, written, depth = row.count("n_prompt"), row.count("n_gen"), row.count_or_none("n_depth") or 0
    parts = [f"pp{prompt}"] * bool(prompt) + [f"tg{written}"] * bool(written)
    if not parts:
        raise Wrong(f"{row.where} reads and writes no token")
    return "+".join(parts) + (f"@d{depth}" if depth else "")


def _part(row: Fields, name: str) -> Part:
    prompt, written = row.count("n_prompt"), row.count("n_gen")
    seconds, speed = row.number("avg_ns") * 1e-9, row.number("avg_ts")
    if seconds <= 0 or speed <= 0:
        raise Wrong(f"{row.where} took {seconds:g} s at {speed:g} tokens/s: nothing was measured")
    none = "imported from llama-bench: no per-request records"
    return load_part(
        TOOL, name, work=_settings(row.value), concurrency=1, outcomes={"ok": _repetitions(row)},
        prompt_tokens=prompt or None, output_tokens=written or None,
        rates={
            "output_throughput": written / seconds if written else "imported from llama-bench: this test writes "
                                                                   "nothing",
            "input_throughput": speed if prompt and not written else "imported from llama-bench: reading was not timed "
                                                                     "alone",
            "request_throughput": none, "goodput": none,
        },
        latencies={"ttft": none, "itl": none, "chunk_gap": none, "e2e": none,
                   "tpot": none if prompt or not written else "imported from llama-bench: see output throughput, "
                                                              "which is its inverse"},
        memory={"weights_bytes": row.count("model_size")} if row.has("model_size") else {},
        repetitions={"mean_s": seconds, "sd_s": (row.number_or_none("stddev_ns") or 0.0) * 1e-9},
    )


def _repetitions(row: Fields) -> int:
    """1 where it does not tell: SQL holds no samples."""
    return len(row.list("samples_ns")) if row.has("samples_ns") else 1


def _settings(row: Mapping[str, Any]) -> Work:
    """As texts: SQL has 0 and 1 where JSON has false and true."""
    told = {True: "1", False: "0"}
    return {key: told[value] if isinstance(value, bool) else str(value)[:200]
            for key, value in row.items() if not OWN.match(key) and not isinstance(value, list | dict)}
