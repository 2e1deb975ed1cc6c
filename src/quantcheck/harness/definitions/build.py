"""Builds lm-eval's task objects over plain files: its definition, our documents.

A definition is read by its path: lm-eval's own index of all its tasks takes ten seconds to make.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.harness.definitions.documents import document
from quantcheck.harness.definitions.named import NAMED, Named
from quantcheck.harness.library import VERSION, need
from quantcheck.tasks import DATASETS, Item, MultipleChoice, read

__all__ = ["Part", "build", "need_judge", "sha256_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """One of lm-eval's tasks, ready to be evaluated: all of a named task, or one subject of it.

    `task`: an `lm_eval` `ConfigurableTask`. `shots`: examples in a prompt. `shots_from`: the split they come from, None
    where there are none. `sha256`: over the definition, as it is used.
    """

    task: Any
    group: str
    shots: int
    shots_from: str | None
    sha256: str


def build(name: str, data: Path, fewshot: int | None = None) -> list[Part]:
    """The parts of the task `name` over the files in `data`; `fewshot`: examples in a prompt, None: the task's own.

    Where the split that examples come from is missing, they come from the items themselves, but never the item that is
    asked about; `shots_from` tells. Raises `SpecError` for what is wrong in `data`, `EngineUnavailable` where something
    has to be installed.
    """
    need()
    named = NAMED[name]
    need_judge(name)
    items = read(data, named.dataset)
    shots = _shots(named, data)
    if "{subject}" not in named.definition:
        return [_part(name, named, named.definition, "", items, shots, fewshot)]
    parts = []
    for subject in sorted({_subject(item) for item in items}):
        def of(some: Sequence[Item], subject: str = subject) -> tuple[Item, ...]:
            return tuple(item for item in some if _subject(item) == subject)

        definition = named.definition.format(subject=subject)
        parts.append(_part(f"{name}_{subject}", named, definition, subject, of(items), of(shots), fewshot))
    return parts


def _subject(item: Item) -> str:
    assert isinstance(item, MultipleChoice)
    return item.subject


def _shots(named: Named, data: Path) -> tuple[Item, ...]:
    if named.shots is None:
        return ()
    pattern, _ = DATASETS[named.dataset].splits[named.shots]
    if not any(data.glob(pattern + "*")):
        return ()
    return read(data, named.dataset, named.shots)


def _part(
    name: str, named: Named, definition: str, group: str, items: Sequence[Item], shots: Sequence[Item],
    fewshot: int | None,
) -> Part:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    config = _definition(definition, code=named.judge == "lm-eval")
    count = config.get("num_fewshot") or 0 if fewshot is None else fewshot
    split = str(config.get("test_split") or config["validation_split"])
    splits = {split: [document(named.dataset, item) for item in items]}
    if named.judge == "sandbox" and "fewshot_config" in config:
        # lm-eval's examples of code stand in a module that runs code when it is imported; they are in the data set.
        samples = _code_examples(named, shots) if count else []
        config["fewshot_config"] = {**config["fewshot_config"], "samples": samples}
    own = (config.get("fewshot_config") or {}).get("samples")  # examples that the definition itself holds
    shots_from = None
    if count:
        pool = own or shots or items[1:]
        shots_from = "the definition" if own else named.shots if shots else split
        if count > len(pool):
            raise SpecError(f"{name}: {count} examples are asked for, {shots_from} has {len(pool)}; lower fewshot")
    if count and shots and not own:
        splits["shots"] = [document(named.dataset, item) for item in shots]
    config |= {"test_split": split, "fewshot_split": None if own or not count else "shots" if shots else split,
               "num_fewshot": count}
    for key in ("training_split", "validation_split", "dataset_path", "dataset_name", "dataset_kwargs", "tag", "group"):
        config.pop(key, None)
    if named.dataset == "hellaswag":
        config.pop("process_docs")  # the plain file holds what it makes
    if named.judge == "sandbox":
        for key in ("metric_list", "filter_list", "unsafe_code"):
            config.pop(key, None)
        config["process_results"] = _judged_elsewhere
    digest = sha256_of(config)
    loaded = {key: Dataset.from_list(rows) for key, rows in splits.items()}
    task = ConfigurableTask(config={**config, "task": name, "custom_dataset": _held(loaded)})
    return Part(task, group, count, shots_from, digest)


def _definition(path: str, *, code: bool) -> dict[str, Any]:
    """lm-eval's YAML file, what it includes put in; without `code` the functions that it names stay names."""
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    whole = Path(lm_eval.tasks.__file__).parent / path
    if not whole.is_file():
        raise SpecError(f"{path}: lm-eval {VERSION} has no such definition; leave out the files that it would be for")
    config: dict[str, Any] = load_yaml(whole, resolve_func=code)
    return config


def _code_examples(named: Named, shots: Sequence[Item]) -> list[dict[str, Any]]:
    if len(shots) < 4:
        raise SpecError(f"{named.dataset}: the items 2 to 4, which lm-eval's prompt shows, are not in the file")
    return [{**document(named.dataset, item), "is_fewshot": True} for item in shots[1:4]]


def _judged_elsewhere(_document: Any, _results: Any) -> dict[str, float]:
    return {}


def _held(splits: Mapping[str, Any]) -> Callable[..., Mapping[str, Any]]:
    return lambda **_: splits


def sha256_of(config: Mapping[str, Any]) -> str:
    """In hex, over lm-eval's version and the definition; functions count by module and name."""
    def plain(value: Any) -> str:
        return f"{value.__module__}.{value.__name__}" if callable(value) else repr(value)

    content = json.dumps([VERSION, config], sort_keys=True, default=plain)
    return hashlib.sha256(content.encode()).hexdigest()


def need_judge(name: str) -> None:
    """Raises `EngineUnavailable` where what the judge of a task in `NAMED` needs is not there, and does nothing for
    others: lm-eval would fetch it from the web when the judge is imported.
    """
    named = NAMED.get(name)
    if named is None or named.needs is None:
        return
    import nltk

    try:
        nltk.data.find(named.needs)
    except LookupError as error:
        package = named.needs.rpartition("/")[2]
        raise EngineUnavailable(f"{name}: its judge needs NLTK's {package}: python -m nltk.downloader {package}"
                                ) from error
