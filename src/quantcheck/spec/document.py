"""YAML in, Experiment out; every mistake is named with its line and the nearest right word."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from quantcheck.errors import SpecError
from quantcheck.spec.engines import KINDS, OpenAIEngine
from quantcheck.spec.experiment import Experiment
from quantcheck.spec.policy import Policy
from quantcheck.spec.quality import SHIPPED

__all__ = ["content_hash", "parse", "read", "read_policy"]

Path_ = tuple[int | str, ...]
MOST_VALUES = 100_000


def read(file: Path) -> Experiment:
    """The experiment in `file`; its name defaults to the file's. Relative paths are taken from its folder.

    Raises `SpecError` with file, line and remedy.
    """
    text = _text(file, "an experiment's YAML file or a preset's name (see `quantcheck presets`)")
    return parse(text, source=str(file), name=file.stem, folder=file.parent)


def read_policy(file: Path) -> Policy:
    """The policy in `file`: what an experiment has under `policy:`, as a document of its own.

    Raises `SpecError` with file, line and remedy.
    """
    source = str(file)
    text = _text(file, "a policy's YAML file, what an experiment has under `policy:`")
    node, data = _mapping(text, source, "a policy is a mapping (margin: ..., slo: ..., price: ...)")
    if isinstance(data.get("policy"), dict) and len(data) == 1:
        raise SpecError(f"{source}:{_line(('policy',), node)}: a policy's file has no `policy:` around its keys; "
                        "take that line out")
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        raise SpecError(_explain(error, node, source, Policy)) from error


def _text(file: Path, wanted: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{file}: cannot be read ({error.strerror}); give {wanted}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: not a UTF-8 text file; give {wanted}") from error


def parse(text: str, *, source: str, name: str, folder: Path | None = None) -> Experiment:
    """The experiment that the YAML `text` describes; `source` is how messages call it.

    `folder`: what relative paths of files in the text are relative to; none leaves them alone.
    """
    node, data = _mapping(text, source, "an experiment is a mapping (model: ..., baseline: ..., variants: ...)")
    data.setdefault("name", name)
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        raise SpecError(_explain(error, node, source, Experiment)) from error
    return _resolve(experiment, folder) if folder else experiment


def _mapping(text: str, source: str, wanted: str) -> tuple[yaml.Node, dict[str, Any]]:
    """The YAML `text` as nodes (which know their lines) and as data."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _refuse_endless(node, source)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecError(f"{source}{line}: not valid YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise SpecError(f"{source}: lists within lists, too deep to be read; {wanted}") from error
    if not isinstance(data, dict) or node is None:
        raise SpecError(f"{source}: {wanted}")
    _refuse_twice(node, source)
    return node, data


def content_hash(value: BaseModel | Mapping[str, Any]) -> str:
    """sha256 (hex) over the canonical JSON of `value`: equal content, equal hash, whatever the order of keys."""
    data = value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _refuse_endless(root: yaml.Node, source: str) -> None:
    """A few aliases of aliases can stand for more values than there is memory, or for themselves."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise SpecError(f"{source}:{node.start_mark.line + 1}: an anchor that holds its own alias; write it out")
        if not known:
            sizes[id(node)] = None
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            known = sizes[id(node)] = 1 + sum(size(part) for entry in parts
                                              for part in (entry if isinstance(entry, tuple) else (entry,)))
        if known > MOST_VALUES:
            raise SpecError(f"{source}:{node.start_mark.line + 1}: aliases that stand for {known:,} values; write out "
                            "what is meant")
        return known

    size(root)


def _refuse_twice(node: yaml.Node, source: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SpecError(f"{source}:{line}: {key.value!r} is given twice (first on line "
                                f"{seen[key.value]}); keep one")
            seen[key.value] = line
            _refuse_twice(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_twice(value, source)


def _explain(error: ValidationError, node: yaml.Node, source: str, model: type[BaseModel]) -> str:
    details = error.errors(include_url=False)
    # A misspelt required key is both unknown and missing: the first says what to do.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    where = _in_yaml(first["loc"], node)
    line = _line(where, node)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{source}:{line}: {_sentence(first, where, model)}{more}"


def _sentence(detail: ErrorDetails, where: Path_, model: type[BaseModel]) -> str:
    dotted = ".".join(str(part) for part in where) or f"the {model.__name__.lower()}"
    match detail["type"]:
        case "extra_forbidden":
            parent = where[:-1]
            known = _known_keys(model, parent)
            near = difflib.get_close_matches(str(where[-1]), known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            return f"unknown key {dotted!r}; {remedy}"
        case "missing":
            return f"{dotted!r} is missing; add it"
        case "value_error":
            return detail["msg"].removeprefix("Value error, ")
        case "union_tag_invalid" | "union_tag_not_found":
            return f"{dotted}: `kind:` must be one of {detail['ctx'].get('expected_tags', ', '.join(KINDS))}"
        case "string_pattern_mismatch":
            return (f"{dotted}: {detail['input']!r} is not a name; use letters, digits, '.', '_' and '-', "
                    "beginning with a letter or digit, 64 at most")
    return f"{dotted}: {detail['msg'][0].lower()}{detail['msg'][1:]} (got {_short(detail['input'])})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _in_yaml(loc: Path_, node: yaml.Node) -> Path_:
    """`loc` without the parts that pydantic adds and the file does not have (union tags, dict-key marks)."""
    found: list[int | str] = []
    here: yaml.Node | None = node
    for index, part in enumerate(loc):
        child = _child(here, part)
        last = index == len(loc) - 1
        if child is None and not last and (part in KINDS or part == "[key]"):
            continue
        if child is None and last and part == "[key]":
            continue
        found.append(part)
        here = child
    return tuple(found)


def _child(node: yaml.Node | None, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item: yaml.Node = node.value[part]
        return item
    return None


def _line(where: Path_, node: yaml.Node) -> int:
    line = node.start_mark.line + 1
    here: yaml.Node | None = node
    for part in where:
        if isinstance(here, yaml.MappingNode):
            line = next((key.start_mark.line + 1 for key, _ in here.value if key.value == str(part)), line)
        here = _child(here, part)
        if here is None:
            break
        if isinstance(part, int):
            line = here.start_mark.line + 1
    return line


def _known_keys(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """The keys that the JSON Schema allows at `path`."""
    schema = model.model_json_schema(by_alias=True)
    here: dict[str, Any] = schema
    for part in path:
        here = _deref(here, schema)
        patterns = list(here.get("patternProperties", {}).values())
        here = (here.get("properties", {}).get(str(part)) or (patterns[0] if patterns else None)
                or here.get("additionalProperties") or here.get("items") or {})
    here = _deref(here, schema)
    options = [_deref(option, schema) for option in here.get("oneOf", here.get("anyOf", [here]))]
    return [key for option in options for key in option.get("properties", {})]


def _deref(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        node = options[0]
    while "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        node = found
    return node


def _resolve(experiment: Experiment, folder: Path) -> Experiment:
    """Relative paths of files that lie beside the experiment, made relative to the working folder."""

    def found(name: str) -> str:
        beside = folder / name
        return str(beside) if not Path(name).is_absolute() and beside.exists() else name

    variants = {
        key: variant.model_copy(update={
            "checkpoint": found(variant.checkpoint) if variant.checkpoint else None,
            "quantize": variant.quantize.model_copy(update={
                "imatrix": found(variant.quantize.imatrix) if variant.quantize.imatrix else None}),
        })
        for key, variant in experiment.variants.items()
    }
    update: dict[str, Any] = {"variants": variants}
    if experiment.model != "reference":
        update["model"] = found(experiment.model)
    if isinstance(experiment.engine, OpenAIEngine) and experiment.engine.tokenizer:
        update["engine"] = experiment.engine.model_copy(update={"tokenizer": found(experiment.engine.tokenizer)})
    if experiment.load:
        workloads = {key: work.model_copy(update={name: found(path) for name in ("prompts", "trace")
                                                  if (path := getattr(work, name)) is not None})
                     for key, work in experiment.load.workloads.items()}
        own = {"tokenizer": found(experiment.load.tokenizer)} if experiment.load.tokenizer else {}
        update["load"] = experiment.load.model_copy(update={"workloads": workloads, **own})
    if experiment.quality:
        texts = {key: suite.model_copy(update={"text": found(suite.text)})
                 for key, suite in experiment.quality.texts.items()}
        quality = experiment.quality
        tasks = {key: found(file) for key, file in quality.tasks.items()}
        files: dict[str, Any] = {"texts": texts, "tasks": tasks, "data": quality.data and found(quality.data)}
        if isinstance(quality.chat_template, str):
            files["chat_template"] = found(quality.chat_template)
        if quality.continuations and quality.continuations.prompts != SHIPPED:
            prompts = found(quality.continuations.prompts)
            files["continuations"] = quality.continuations.model_copy(update={"prompts": prompts})
        update["quality"] = quality.model_copy(update=files)
    return experiment.model_copy(update=update)
