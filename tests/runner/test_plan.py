"""The plan: order, counts, and digests that change with what a result depends on and with nothing else."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.errors import SpecError
from quantcheck.runner.plan import LoadStep, QualityStep, make_plan
from quantcheck.spec.experiment import AGAIN, Experiment
from quantcheck.variants.artifact import Artifact

BASE: dict[str, Any] = {
    "name": "exp",
    "model": "none",
    "baseline": "a",
    "variants": {"b": {"scheme": "gguf/Q8_0"}, "a": {"scheme": "gguf/F16"}, "c": {"scheme": "gguf/Q2_K"}},
    "engine": {"kind": "llama.cpp", "threads": 1},
    "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 4},
                           "l": {"prompt_tokens": 64, "output_tokens": 4}},
             "concurrency": [1, 4], "requests": 6},
    "quality": {"suites": ["reference/stories", "reference/knowledge"], "items": 20, "tokens": 500},
    "blocks": 3,
}


def experiment(**changes: Any) -> Experiment:
    """BASE with parts replaced; `load__requests=9` reaches into a part."""
    data: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for path, value in changes.items():
        *parts, last = path.split("__")
        here = data
        for part in parts:
            here[part] = dict(here[part])
            here = here[part]
        here[last] = value
    return Experiment.model_validate(data)


def stand_ins(chosen: Experiment) -> dict[str, Artifact]:
    """Artifacts as the plan sees them: each with a hash of its own."""
    return {name: Artifact(name, Path(), {"sha256": hashlib.sha256(name.encode()).hexdigest()})
            for name in chosen.variants}


Name = tuple[str, str, int]


def digests(chosen: Experiment, artifacts: Mapping[str, Artifact] | None = None) -> dict[Name, str]:
    """The digest of every cell, by variant, subject and block."""
    artifacts = artifacts or stand_ins(chosen)
    keys = [key for _, _, key in make_plan(chosen).keys(artifacts)]
    assert len({key.id for key in keys}) == len(keys)
    return {(key.variant, key.subject, key.block): key.digest for key in keys}


def changed(first: Mapping[Name, str], second: Mapping[Name, str]) -> set[Name]:
    """Cells of both that are not the same any more."""
    return {name for name in first.keys() & second.keys() if first[name] != second[name]}


def loads(names: Mapping[Name, str]) -> set[Name]:
    return {name for name in names if "@c" in name[1]}


def test_blocks_alternate_and_the_baselines_two_measurements_span_them() -> None:
    steps = make_plan(experiment()).steps
    assert [step.entry for step in steps if isinstance(step, QualityStep)] == ["a", "a@again", "b", "c"]
    order = ["a", "b", "c", "a@again"]
    for block in range(3):
        mine = [step for step in steps if isinstance(step, LoadStep) and step.block == block]
        assert [step.entry for step in mine] == (order if block % 2 == 0 else order[::-1])
        assert all(step.subjects == ["s@c1", "s@c4", "l@c1", "l@c4"] for step in mine)
    assert [step.variant for step in steps[:4]] == ["a", "a", "b", "c"]
    kinds = [isinstance(step, LoadStep) for step in steps]
    assert kinds == sorted(kinds), "quality first"


def test_without_a_noise_floor_there_is_no_twin() -> None:
    plan = make_plan(experiment(noise_floor=False))
    assert not any(step.entry.endswith(AGAIN) for step in plan.steps)
    assert len(plan) == 3 * (2 + 3 * 4)


@given(st.integers(1, 6), st.integers(1, 4), st.lists(st.integers(1, 64), min_size=1, max_size=3, unique=True),
       st.booleans(), st.booleans(), st.integers(1, 5))
def test_counts(
    variants: int, workloads: int, concurrency: list[int], twin: bool, quality: bool, blocks: int
) -> None:
    names = [f"v{number}" for number in range(variants)]
    chosen = Experiment.model_validate({
        "name": "x", "model": "none", "baseline": names[-1], "noise_floor": twin,
        "blocks": blocks, "variants": {name: {"scheme": "gguf/F16"} for name in names},
        "load": {"concurrency": concurrency,
                 "workloads": {f"w{k}": {"prompt_tokens": k + 1, "output_tokens": 2} for k in range(workloads)}},
        **({"quality": {"suites": ["reference/stories"], "tokens": 10}} if quality else {}),
    })
    plan = make_plan(chosen)
    entries = variants + twin
    assert len(plan) == entries * (blocks * workloads * len(concurrency) + quality)
    assert len(digests(chosen)) == len(plan)
    # Mirrored neighbours: whatever drifts steadily hits every entry alike over two blocks.
    places = dict.fromkeys(names, 0)
    orders = [[s.entry for s in plan.steps if isinstance(s, LoadStep) and s.block == block] for block in range(blocks)]
    for order in orders[: blocks // 2 * 2]:
        for entry in places:
            places[entry] += order.index(entry)
    assert set(places.values()) <= {blocks // 2 * (entries - 1)}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"engine__port": 8099},
        {"engine__start_timeout_s": 99.0},
        {"policy": {"margin": {"accuracy_pp": 5.0}}},
        {"blocks": 7},
        {"noise_floor": False},
        {"variants": {**BASE["variants"], "d": {"scheme": "gguf/Q4_0"}}},
        {"load__request_timeout_s": 7.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_result_does_not_depend_on_changes_no_digest(change: dict[str, Any]) -> None:
    first, second = digests(experiment()), digests(experiment(**change))
    assert len(first.keys() & second.keys()) >= min(len(first), len(second)) * 0.7
    assert changed(first, second) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"engine__threads": 2},
        {"engine__context": 4096},
        {"load__requests": 7},
        {"load__warmup_requests": 5},
        {"load__concurrency": [1, 4, 8]},
        {"load__workloads": {**BASE["load"]["workloads"], "s": {"prompt_tokens": 9, "output_tokens": 4}}},
        {"load__workloads": {**BASE["load"]["workloads"], "s": {"prompt_tokens": 8, "output_tokens": 5}}},
    ],
    ids=["threads", "context", "requests", "warmup", "concurrency", "prompt-length", "answer-length"],
)
def test_another_load_or_engine_is_measured_again_and_quality_is_not(change: dict[str, Any]) -> None:
    first, second = digests(experiment()), digests(experiment(**change))
    assert changed(first, second) == loads(first) & loads(second)


def test_another_script_of_the_fake_engine_is_measured_again() -> None:
    def of(**settings: Any) -> dict[Name, str]:
        return digests(experiment(quality=None, engine={"kind": "fake", "ttft_ms": 3, **settings}))

    first = of()
    assert changed(first, of(port=8099, start_timeout_s=3.0)) == set()
    for settings in ({"ttft_ms": 4}, {"itl_ms": 1}, {"speed": {"b": 1.1}}, {"fault": "short:3"}):
        assert changed(first, of(**settings)) == set(first)
    # Another engine's figures are never taken for these.
    assert changed(first, digests(experiment(quality=None))) == set(first)


def test_another_seed_draws_other_prompts() -> None:
    first = digests(experiment())
    assert loads(first) <= changed(first, digests(experiment(seed=1)))


def test_an_artifact_concerns_its_own_cells_and_the_baselines_all_divergences() -> None:
    chosen = experiment()
    artifacts = stand_ins(chosen)
    first = digests(chosen, artifacts)

    def remade(name: str) -> set[Name]:
        other = Artifact(name, artifacts[name].path, {**artifacts[name].recipe, "sha256": "f" * 64})
        return changed(first, digests(chosen, {**artifacts, name: other}))

    assert remade("b") == {name for name in first if name[0] == "b"}
    assert remade("a") == {name for name in first if name[0] in ("a", "a@again") or name[1] == "reference/stories"}


def test_quality_settings_concern_what_they_cut() -> None:
    first = digests(experiment())
    corpora = {name for name in first if name[1] == "reference/stories"}
    tasks = {name for name in first if name[1] == "reference/knowledge"}
    for change in ({"quality__tokens": 400}, {"quality__context": 256}, {"quality__stride": 128}):
        other = {"quality__stride": 100, **change} if "quality__context" in change else change
        assert changed(first, digests(experiment(**other))) == corpora
    assert changed(first, digests(experiment(quality__items=19))) == tasks


def test_a_text_is_known_by_its_content(tmp_path: Path) -> None:
    def of(content: str, name: str = "mine.txt") -> dict[Name, str]:
        (tmp_path / name).write_text(content)
        quality = {**BASE["quality"], "texts": {"mine": {"text": str(tmp_path / name)}}}
        return digests(experiment(quality=quality))

    first = of("some words")
    assert changed(first, of("other words")) == {name for name in first if name[1] == "mine"}
    assert changed(first, of("some words", "moved.txt")) == set()


def test_the_twin_shares_no_digest_with_the_baseline() -> None:
    found = digests(experiment())
    for variant, subject, block in found:
        if variant == "a" and "@c" not in subject:
            assert found[variant, subject, block] != found["a@again", subject, block]
    # A load cell of the twin is the same work by the same file: only its name tells them apart.
    assert found["a", "s@c1", 0] == found["a@again", "s@c1", 0]
    assert found["a", "s@c1", 0] != found["a", "s@c1", 1]


def test_an_unknown_suite_ends_the_plan() -> None:
    with pytest.raises(SpecError, match="did you mean 'reference/stories'"):
        make_plan(experiment(quality__suites=["reference/story"]))


GENERATION, CHOICE, CORPUS = "reference/arithmetic", "reference/knowledge", "reference/stories"


def of_suites(**quality: Any) -> Experiment:
    return experiment(quality={"suites": [GENERATION, CHOICE, CORPUS], "items": 20, "tokens": 500, **quality})


def seeded(seed: int, **quality: Any) -> Experiment:
    return of_suites(**quality).model_copy(update={"seed": seed})


def test_drawn_answers_concern_what_is_drawn() -> None:
    first = digests(of_suites())
    drawn = digests(of_suites(sampling={}))
    answered = {name for name in first if name[1] == GENERATION}
    assert changed(first, drawn) == answered
    for other in ({"temperature": 1.0}, {"top_p": 0.9}, {"draws": 2}):
        assert changed(drawn, digests(of_suites(sampling=other))) == answered
    assert changed(drawn, digests(seeded(1, sampling={}))) == loads(first) | answered
    assert changed(first, digests(seeded(1))) == loads(first), "greedy answers have no seed"


def test_an_early_stop_hangs_on_margin_tasks_order_and_baseline() -> None:
    first = digests(of_suites())
    early = digests(of_suites(stop="early"))
    tasks = {name for name in first if name[1] in (GENERATION, CHOICE)}
    variants = {name for name in tasks if name[0] in ("b", "c")}
    assert changed(first, early) == tasks
    assert changed(early, digests(seeded(1, stop="early"))) == loads(first) | tasks, "another order"

    def margins(**margin: Any) -> dict[Name, str]:
        chosen = of_suites(stop="early").model_dump(by_alias=True)
        return digests(Experiment.model_validate({**chosen, "policy": {"margin": margin}}))

    assert changed(early, margins(accuracy_pp=2.0)) == variants, "the baseline answers all items in any case"
    assert changed(early, margins(tasks={CHOICE: 2.0})) == {name for name in variants if name[1] == CHOICE}
    alone = digests(of_suites(stop="early", suites=[CHOICE, CORPUS]))
    assert changed(early, alone) == {name for name in variants if name[1] == CHOICE}, "fewer tasks, another threshold"

    chosen = of_suites(stop="early")
    artifacts = stand_ins(chosen)
    remade = Artifact("a", artifacts["a"].path, {**artifacts["a"].recipe, "sha256": "f" * 64})
    moved = changed(early, digests(chosen, {**artifacts, "a": remade}))
    assert variants <= moved


def test_only_variants_stop_early() -> None:
    plan = make_plan(of_suites(stop="early"))
    assert [plan.stops_early(entry) for entry in ("a", "a@again", "b", "c")] == [False, False, True, True]
    assert not any(make_plan(of_suites()).stops_early(entry) for entry in ("a", "a@again", "b", "c"))
