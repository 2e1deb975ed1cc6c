"""What differs between two stored runs beside the variants: each by its name, and what it makes incomparable."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from quantcheck.report.comparison import Difference
from quantcheck.report.imported import imported_differences
from quantcheck.report.pairs import unlike_hashes
from quantcheck.report.stored import StoredRun

__all__ = ["differences"]

_NO_MATTER = {"kind", "start_timeout_s", "port", "scoring_threads", "python"}
"""Settings of an engine that change no figure; its kind has a line of its own."""
_AS_RUN = ("threads", "slots", "context_per_slot", "omp_wait_policy", "prompt_cache")
"""What an engine says of itself that its settings may have left open."""
_ENGINE_PACKAGES = {"llama.cpp": "xllamacpp"}


def differences(a: StoredRun, b: StoredRun, variants: Mapping[str, str]) -> list[Difference]:
    """Everything that keeps figures of `a` and `b` from being compared; `variants` maps a's names to b's.

    What differs for one subject alone (its prompts, its items) is told at that subject's row instead.
    """
    if a.imported or b.imported:
        return list(_imported(a, b, variants))
    return [
        Difference(what=what, a=_text(ours), b=_text(theirs), concerns=concerns)
        for what, ours, theirs, concerns in [
            *_work(a, b, variants), *_engine(a, b), *_machine(a, b), *_load(a, b), *_quality(a, b)]
        if ours != theirs
    ]


def _imported(a: StoredRun, b: StoredRun, variants: Mapping[str, str]) -> Iterator[Difference]:
    """By the cells: an imported folder may hold results of several tools and engines."""
    engines = a.experiment.engine.kind, b.experiment.engine.kind
    for ours, theirs in variants.items():
        for load in a.index.loads:
            sides = [list(run.index.load(name, load).values()) for run, name in ((a, ours), (b, theirs))]
            if all(sides):
                yield from imported_differences(load, "speed", sides[0], sides[1], engines)
        for subject in (*a.index.tasks, *a.index.corpora):
            cells = a.index.quality(ours, subject), b.index.quality(theirs, subject)
            if cells[0] is not None and cells[1] is not None:
                kind: Literal["tasks", "perplexity"] = "tasks" if subject in a.index.tasks else "perplexity"
                yield from imported_differences(subject, kind, [cells[0]], [cells[1]], engines)


def _text(value: Any) -> str:
    return "not recorded" if value is None else str(value)


Found = Iterator[tuple[str, Any, Any, str]]


def _work(a: StoredRun, b: StoredRun, variants: Mapping[str, str]) -> Found:
    yield "harness", _harness(a), _harness(b), "all"
    for ours, theirs in variants.items():
        name = ours if ours == theirs else f"{ours}, {theirs}"
        yield (f"model of {name}", *_models(a, ours, b, theirs), "all")
    quality = a.experiment.quality
    drawn = quality is not None and (quality.sampling is not None or quality.stop == "early")
    yield "seed", a.experiment.seed, b.experiment.seed, "all" if drawn else "speed"


def _harness(run: StoredRun) -> str:
    """Its number; before it was recorded, the release stands for it."""
    number = run.document.get("harness")
    return str(number) if number is not None else f"quantcheck {run.document.get('quantcheck')}"


def _models(a: StoredRun, ours: str, b: StoredRun, theirs: str) -> tuple[Any, Any]:
    """What the two variants were made from: by hash; ready files are their own source, so there by their weights."""
    recipes = a.artifacts.get(ours, {}), b.artifacts.get(theirs, {})
    sources = [recipe.get("source", {}).get("sha256") for recipe in recipes]
    if all(sources) and not any("ready" in recipe for recipe in recipes):
        return sources[0][:12], sources[1][:12]
    counts = [recipe.get("parameters") for recipe in recipes]
    if all(counts):
        return f"{counts[0]:,} weights", f"{counts[1]:,} weights"
    return a.experiment.model, b.experiment.model


def _engine(a: StoredRun, b: StoredRun) -> Found:
    ours, theirs = a.experiment.engine.model_dump(mode="json"), b.experiment.engine.model_dump(mode="json")
    yield "engine", ours["kind"], theirs["kind"], "all"
    yield "engine version", _version(a), _version(b), "all"
    if ours["kind"] != theirs["kind"]:
        return
    for key in dict.fromkeys([*ours, *theirs]):
        if key not in _NO_MATTER:
            yield f"engine.{key}", ours.get(key), theirs.get(key), "speed"
    told = _described(a), _described(b)
    for key in _AS_RUN:
        if all(key in one for one in told) and ours.get(key) == theirs.get(key):
            yield f"engine {key.replace('_', ' ')} as run", told[0][key], told[1][key], "speed"


def _version(run: StoredRun) -> Any:
    package = _ENGINE_PACKAGES.get(run.experiment.engine.kind)
    if package is not None:
        return run.document.get("environment", {}).get("packages", {}).get(package)
    return _described(run).get("version")


def _described(run: StoredRun) -> Mapping[str, Any]:
    for variant in run.index.variants:
        for cell in run.index.load_cells(variant):
            found: Mapping[str, Any] = cell.record["result"].get("engine", {})
            return found
        for subject in [*run.index.tasks, *run.index.corpora]:
            if (scored := run.index.quality(variant, subject)) is not None:
                told: Mapping[str, Any] = scored.record.get("engine", {})
                return told
    return {}


def _machine(a: StoredRun, b: StoredRun) -> Found:
    """Speed belongs to a machine. Answers do not, but for rounding, which the noise floor shows."""
    yield "hardware", _hardware(a), _hardware(b), "speed"
    yield "GPUs", _gpus(a), _gpus(b), "speed"


def _hardware(run: StoredRun) -> str:
    environment = run.document.get("environment", {})
    return f"{run.document.get('hardware_id')} ({environment.get('cpu')}, {environment.get('threads')} threads)"


def _gpus(run: StoredRun) -> str:
    return ", ".join(gpu.get("name", "?") for gpu in run.document.get("environment", {}).get("gpus", [])) or "none"


def _load(a: StoredRun, b: StoredRun) -> Found:
    ours, theirs = a.experiment.load, b.experiment.load
    if ours is None or theirs is None:
        return
    yield "load.requests", ours.requests, theirs.requests, "speed"
    yield "load.warmup_requests", ours.warmup_requests, theirs.warmup_requests, "speed"
    if any(point.rate is not None for point in [*ours.points(), *theirs.points()]):
        yield "load.arrival", ours.arrival, theirs.arrival, "speed"
    shared = {point.name for point in ours.points()} & {point.name for point in theirs.points()}
    for name in sorted(shared):
        one, other = (load.workloads[name].model_dump(exclude_defaults=True) for load in (ours, theirs))
        yield f"load.workloads.{name}", one, other, "speed"
    for load in a.index.loads:
        if load in b.index.loads and (unlike := _prompts(a, b, load)):
            yield f"prompts of {load}", "one text", f"another ({unlike})", "speed"


def _prompts(a: StoredRun, b: StoredRun, load: str) -> str | None:
    """By the baselines: within a run all variants got the same."""
    ours, theirs = a.index.load(a.index.baseline, load), b.index.load(b.index.baseline, load)
    found = (unlike_hashes(ours[block], theirs[block]) for block in ours.keys() & theirs.keys())
    return next((reason for reason in found if reason), None)


def _quality(a: StoredRun, b: StoredRun) -> Found:
    ours, theirs = a.experiment.quality, b.experiment.quality
    if ours is None or theirs is None:
        return
    for key in ("context", "stride"):
        if a.index.corpora and b.index.corpora:
            yield f"quality.{key}", getattr(ours, key), getattr(theirs, key), "perplexity"
    if a.index.tasks and b.index.tasks:
        yield "quality.sampling", ours.sampling, theirs.sampling, "tasks"
