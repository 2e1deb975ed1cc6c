"""lm-eval's files of one variant as tasks: items take the place of scores, and the parts of a group become one task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quantcheck.importers.parts import Part, Read

__all__ = ["Source", "gathered"]

Source = tuple[Read, str, str]
"""A file that was read, its name and its SHA-256."""


def gathered(sources: Sequence[Source]) -> list[tuple[Part, Source]]:
    """Every part with the file that it comes from; of lm-eval each task once.

    A task that has items and a score keeps the items, and the score's version, examples and hash. A group all of whose
    tasks have items of one metric is one task, its tasks being the items' groups; a group that has a score of its own
    stands for its tasks. Other groups are left out, their tasks are kept.
    """
    found = [(part, source) for source in sources for part in source[0].parts]
    scores = {part.subject: (part, source) for part, source in found if part.result.get("aggregate")
              and source[0].tool == "lm-eval"}
    items = {part.subject: (part, source) for part, source in found if source[0].tool == "lm-eval"
             and not part.result.get("aggregate")}
    for task in items.keys() & scores.keys():
        items[task] = _with_score(*items[task], scores[task])
    groups = {name: leaves for read, _, _ in sources for name, leaves in read.groups.items()}
    inner = {leaf for leaves in groups.values() for leaf in leaves}
    tasks = {**scores, **items}
    for name in groups:
        if name in inner:  # a group within a group: the outer one speaks for it, or its tasks do
            tasks.pop(name, None)
            continue
        leaves = _leaves(groups, name)
        own = [items[leaf] for leaf in leaves if leaf in items]
        if own and len(own) == len(leaves) and len({part.result["metric"] for part, _ in own}) == 1:
            tasks[name] = _together(name, own)
        elif name not in scores or own:
            tasks.pop(name, None)
            continue
        for leaf in leaves:
            tasks.pop(leaf, None)
    return [(part, source) for part, source in found if source[0].tool != "lm-eval"] + list(tasks.values())


def _leaves(groups: Mapping[str, list[str]], name: str, depth: int = 20) -> list[str]:
    if name not in groups or not depth:
        return [name]
    return list(dict.fromkeys(leaf for one in groups[name] for leaf in _leaves(groups, one, depth - 1)))


def _with_score(part: Part, source: Source, score: tuple[Part, Source]) -> tuple[Part, Source]:
    told, (read, _, _) = score
    if told.result["metric"] != part.result["metric"]:
        return part, source
    own = replace(source[0], version=read.version, engine=read.engine)
    result = {**part.result, **{key: told.result[key] for key in ("task_sha256",) if key in told.result}}
    return replace(part, result=result, work=told.work), (own, *source[1:])


def _together(name: str, leaves: Sequence[tuple[Part, Source]]) -> tuple[Part, Source]:
    tables = [part.tables["items"] for part, _ in leaves]
    columns: dict[str, Any] = {key: np.concatenate([table[key] for table in tables])
                               for key in tables[0] if all(key in table for table in tables)}
    sizes = [len(table["id"]) for table in tables]
    columns["group"] = np.repeat(np.array([part.subject for part, _ in leaves]), sizes)
    columns["id"] = np.array([f"{group}/{one}" for group, one in zip(columns["group"], columns["id"], strict=True)])
    first, source = leaves[0]
    result = {"kind": "task", "n": sum(sizes), "accuracy": float(np.mean(columns["right"])),
              "metric": first.result["metric"]}
    works = [part.work for part, _ in leaves]
    work = {key: works[0].get(key) if len({work.get(key) for work in works}) == 1 else
            ", ".join(str(work.get(key)) for work in works)[:200] for key in works[0]}
    return Part("quality", name, result, work, {"items": columns}), source
