"""lm-evaluation-harness: results_TIME.json (a score and its error for each task), samples_TASK_TIME.jsonl (each item).

An item is right where the task's metric is 1. `doc_hash`, `prompt_hash` and `target_hash` are kept: two runs' items are
of one question when all three agree. `--metric` names another metric than the first that the task lists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.importers.content import Content
from quantcheck.importers.fields import Fields, Wrong, fields_of, number_of, plain, printable
from quantcheck.importers.parts import Part, Read, Work

__all__ = ["HASHES", "read", "recognises", "task_of"]

TOOL = "lm-eval"
HASHES = ("doc_hash", "prompt_hash", "target_hash")
SAMPLES = re.compile(r"^samples_(.+)_\d{4}-\d\d-\d\dT[\d.\-]+$")
ENGINES = {"vllm": "vllm", "hf": "transformers", "hf-auto": "transformers", "sglang": "sglang", "gguf": "llama.cpp"}
"""What lm-eval's model types run; of an API it does not tell."""
TEXT = ("perplexity", "bits_per_byte", "byte_perplexity", "word_perplexity")


def recognises(content: Content) -> bool:
    document = content.json
    if isinstance(document, dict) and "doc_id" not in document:
        return "results" in document and ("lm_eval_version" in document or {"versions", "configs"} <= document.keys())
    first = content.first_line
    return isinstance(first, dict) and {"doc_id", "filter", "filtered_resps"} <= first.keys()


def read(content: Content, metric: str | None = None) -> Read:
    document = content.json
    if isinstance(document, dict) and "doc_id" not in document:
        return _results(fields_of(document, ""), metric)
    return _samples(content, metric)


def task_of(content: Content) -> str:
    """Samples do not name their task: the file does, as lm-eval writes it."""
    stem = content.path.name.removesuffix(".jsonl")
    found = SAMPLES.match(stem)
    return plain(found.group(1) if found else stem)


def _results(found: Fields, metric: str | None) -> Read:
    results = found.fields("results")
    notes: list[str] = []
    parts = []
    for name in results.value:
        part = _aggregate(found, name, results.fields(name), metric)
        if isinstance(part, str):
            notes.append(f"{plain(name)}: {part}")
        else:
            parts.append(part)
    if not parts:
        raise Wrong("; ".join(notes)[:200] or "results is empty: lm-eval measured nothing")
    groups = {plain(name): [plain(str(leaf)) for leaf in leaves] for name, leaves in _groups(found).items()}
    config = found.fields("config") if found.has("config") else Fields({})
    return Read(TOOL, found.text_or_none("lm_eval_version"), parts, engine=ENGINES.get(str(config.value.get("model"))),
                groups=groups, notes=notes)


def _groups(found: Fields) -> Mapping[str, list[Any]]:
    told = found.fields("group_subtasks") if found.has("group_subtasks") else Fields({})
    return {name: told.list(name) for name in told.value if told.value[name]}


def _aggregate(found: Fields, name: str, scores: Fields, metric: str | None) -> Part | str:
    names = [key for key in scores.value if "," in key and "_stderr" not in key]
    chosen = _chosen(names, metric)
    if chosen is None:
        return f"has no metric {metric!r} ({', '.join(names)})" if metric else "has no score of its own"
    if chosen.startswith(TEXT) or "perplexity" in chosen:
        return "perplexity of lm-eval is per word or byte and has no error: not imported"
    value = scores.number(chosen)
    base, _, judge = chosen.partition(",")
    told = scores.value.get(f"{base}_stderr,{judge}")
    error = None if told in (None, "N/A") else number_of(told, scores.at(f"{base}_stderr,{judge}"))
    n = _items(found, name, scores)
    if not 0 <= value <= 1 or (error is not None and error < 0):
        return f"{chosen} is {value:g}, no share of right answers"
    result = {"kind": "task", "aggregate": True, "n": n, "accuracy": value, "stderr": error, "metric": chosen}
    hashes = found.fields("task_hashes") if found.has("task_hashes") else Fields({})
    if (digest := hashes.text_or_none(name)) is not None:
        result["task_sha256"] = digest
    return Part("quality", plain(name), result, _work(found, name, chosen))


def _work(found: Fields, name: str, metric: str) -> Work:
    told = {key: found.fields(key).value.get(name) if found.has(key) else None for key in ("versions", "n-shot")}
    return {"metric": metric, "task version": None if told["versions"] is None else str(told["versions"])[:40],
            "examples in the prompt": None if told["n-shot"] is None else str(told["n-shot"])[:40],
            "chat template": found.text_or_none("chat_template_sha")}


def _items(found: Fields, name: str, scores: Fields) -> int:
    counts = found.fields("n-samples") if found.has("n-samples") else Fields({})
    if counts.has(name):
        n = counts.fields(name).count("effective")
    elif scores.has("sample_len"):
        n = scores.count("sample_len")
    else:
        leaves = _leaves(_groups(found), name)
        n = sum(counts.fields(leaf).count("effective") for leaf in leaves if counts.has(leaf))
    if n < 1:
        raise Wrong(f"n-samples does not tell how many items {plain(name)} has")
    return n


def _leaves(groups: Mapping[str, list[Any]], name: str, depth: int = 20) -> list[str]:
    if name not in groups or not depth:
        return [name]
    return [leaf for one in groups[name] for leaf in _leaves(groups, str(one), depth - 1)]


def _chosen(names: list[str], metric: str | None) -> str | None:
    """`metric` is a name alone, or with its filter after a comma."""
    fitting = [name for name in names if metric is None or metric in (name, name.partition(",")[0])]
    return fitting[0] if fitting else None


@dataclass(frozen=True)
class _Item:
    """One sample under the chosen filter."""

    id: str
    score: float
    answer: str
    hashes: tuple[str, ...]


def _samples(content: Content, metric: str | None) -> Read:
    lines = content.lines
    if lines is None:
        raise Wrong("is cut off or damaged: a line is no JSON")
    rows = [fields_of(one, f"sample {place + 1}") for place, one in enumerate(lines)]
    names = list(dict.fromkeys(f"{printable(str(name))},{row.text('filter')}" for row in rows
                               for name in row.list("metrics")))
    chosen = _chosen(names, metric)
    if chosen is None:
        raise Wrong(f"has no metric {metric!r} ({', '.join(names)[:100]})" if metric else "its samples have no metric")
    name, _, judge = chosen.partition(",")
    items = [_item(row, name) for row in rows if row.text("filter") == judge]
    if not items:
        raise Wrong(f"has no sample of {chosen[:60]!r}")
    if len({item.id for item in items}) < len(items):
        raise Wrong("holds several samples of one doc_id: drawn answers are not imported")
    scores = np.array([item.score for item in items])
    if not np.isin(scores, (0.0, 1.0)).all():
        raise Wrong(f"{chosen} of its samples is not right or wrong (0 or 1); name another with --metric, or import "
                    "the results file alone")
    tables: dict[str, Any] = {
        "id": np.array([item.id for item in items]), "group": np.array([""] * len(items)), "right": scores == 1.0,
        "output": np.array([item.answer for item in items]),
    }
    hashed = all(all(item.hashes) for item in items)
    if hashed:
        tables |= {key: np.array([item.hashes[place] for item in items]) for place, key in enumerate(HASHES)}
    result = {"kind": "task", "n": len(items), "accuracy": float(scores.mean()), "metric": chosen}
    notes = [] if hashed else [f"{content.path.name}: its samples have no hashes, so nothing shows that two runs asked "
                               "the same"]
    return Read(TOOL, None, [Part("quality", task_of(content), result, {"metric": chosen}, {"items": tables})],
                notes=notes)


def _item(row: Fields, name: str) -> _Item:
    answers = row.list("filtered_resps")
    value = row.value.get(name)
    score = float(value) if isinstance(value, bool) else number_of(value, row.at(name))
    answer = answers[0] if len(answers) == 1 and isinstance(answers[0], str) else _likeliest(answers)
    hashes = tuple(row.text_or_none(key) or "" for key in HASHES)
    return _Item(str(row.count("doc_id")), score, printable(answer), hashes)


def _likeliest(answers: list[Any]) -> str:
    """The number of the choice with the highest log-likelihood; empty where the answers are no choices."""
    try:
        return str(int(np.argmax([float(answer[0]) for answer in answers])))
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return ""
