"""Which cells an experiment consists of, and the order in which they are measured.

Quality comes first, the baseline before all others, because divergence is measured against its logits. Then the
blocks: in each, every variant's engine is started once and all loads are measured; the order of the variants is
reversed from block to block (A B B A), so that a machine that drifts favours none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from quantcheck.ggml.library import WHEEL_VERSION
from quantcheck.quality.suites import Corpus, Suite, load_suites
from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import AGAIN, Experiment, Workload
from quantcheck.store import CellKey
from quantcheck.variants.artifact import Artifact

__all__ = ["LoadStep", "Plan", "QualityStep", "Step", "Task", "Window", "make_plan"]

HARNESS = 1
"""Raised when a change of quantcheck makes its figures differ: older cells are then measured again."""


@dataclass(frozen=True, slots=True)
class Window:
    """One workload at one concurrency."""

    name: str
    workload: Workload
    concurrency: int

    @property
    def subject(self) -> str:
        return f"{self.name}@c{self.concurrency}"


@dataclass(frozen=True, slots=True)
class QualityStep:
    """One scoring process: `entry` on all suites."""

    entry: str
    variant: str
    suites: tuple[Suite, ...]

    @property
    def subjects(self) -> list[str]:
        return [suite.name for suite in self.suites]


@dataclass(frozen=True, slots=True)
class LoadStep:
    """One engine start: `entry` at all loads."""

    entry: str
    variant: str
    block: int
    windows: tuple[Window, ...]

    @property
    def subjects(self) -> list[str]:
        return [window.subject for window in self.windows]


Step = QualityStep | LoadStep

_NO_MATTER = {"start_timeout_s", "port", "scoring_threads"}
"""Settings of an engine that change no figure of speed."""
_ITEM_TOKENS = 64
_TOKEN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Task:
    """One cell that is to be measured; `work` is about how many tokens it processes."""

    entry: str
    subject: str
    block: int
    kind: Literal["quality", "load"]
    work: float


@dataclass(frozen=True)
class Plan:
    """All steps in order. `entry` is a variant's name, or the baseline's twin's."""

    experiment: Experiment
    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return sum(len(step.subjects) for step in self.steps)

    @property
    def baseline(self) -> str:
        return self.experiment.baseline

    def keys(self, artifacts: Mapping[str, Artifact]) -> Iterator[tuple[Step, str, CellKey]]:
        """Every cell as (step, subject, key)."""
        for step in self.steps:
            for subject in step.subjects:
                yield step, subject, self.key(step, subject, artifacts)

    def tasks(self) -> Iterator[Task]:
        """Every cell with about how much work it is."""
        for step in self.steps:
            if isinstance(step, QualityStep):
                for suite in step.suites:
                    yield Task(step.entry, suite.name, 0, "quality", _suite_tokens(suite))
            else:
                load = self.experiment.load
                assert load is not None
                for window in step.windows:
                    requests = max(load.requests, window.concurrency) + load.warmup_requests * window.concurrency
                    tokens = window.workload.prompt_tokens + window.workload.output_tokens
                    yield Task(step.entry, window.subject, step.block, "load", float(requests * tokens))

    def key(self, step: Step, subject: str, artifacts: Mapping[str, Artifact]) -> CellKey:
        """The key of one cell: its digest covers all that the result depends on."""
        experiment = self.experiment
        depends: dict[str, object] = {
            "harness": HARNESS,
            "artifact": artifacts[step.variant].sha256,
            "engine_version": WHEEL_VERSION if experiment.engine.kind == "llama.cpp" else None,
            "subject": subject,
        }
        if isinstance(step, LoadStep):
            assert experiment.load is not None
            window = next(window for window in step.windows if window.subject == subject)
            depends |= {
                "engine": experiment.engine.model_dump(mode="json", exclude=_NO_MATTER),
                # One server serves all windows of a step, so its slots and context depend on all of them.
                "windows": [[other.subject, other.workload.model_dump()] for other in step.windows],
                "workload": window.workload.model_dump(),
                "requests": experiment.load.requests,
                "warmup_requests": experiment.load.warmup_requests,
                "block": step.block,
                "seed": experiment.seed,
            }
            return CellKey("load", step.entry, subject, step.block, content_hash(depends))
        assert experiment.quality is not None
        suite = next(suite for suite in step.suites if suite.name == subject)
        depends |= {
            "engine": experiment.engine.kind,
            "suite": suite.digest,
            "twin": step.entry.endswith(AGAIN),
        }
        if isinstance(suite, Corpus):
            quality = experiment.quality
            depends |= {"context": quality.context, "stride": quality.stride, "tokens": suite.tokens,
                        "against": artifacts[experiment.baseline].sha256}
        else:
            depends |= {"items": [item.id for item in suite.items]}
        return CellKey("quality", step.entry, subject, 0, content_hash(depends))


def make_plan(experiment: Experiment) -> Plan:
    """The plan of `experiment`. Raises `SpecError` when a suite or a text is not there."""
    others = [name for name in experiment.variants if name != experiment.baseline]
    entries = [(experiment.baseline, experiment.baseline)]
    if experiment.noise_floor:
        entries.append((experiment.baseline + AGAIN, experiment.baseline))
    entries += [(name, name) for name in others]
    steps: list[Step] = []
    if experiment.quality is not None:
        suites = tuple(load_suites(experiment.quality))
        steps += [QualityStep(entry, variant, suites) for entry, variant in entries]
    if experiment.load is not None:
        windows = tuple(
            Window(name, workload, concurrency)
            for name, workload in experiment.load.workloads.items()
            for concurrency in experiment.load.concurrency
        )
        for block in range(experiment.blocks):
            order = entries if block % 2 == 0 else entries[::-1]
            steps += [LoadStep(entry, variant, block, windows) for entry, variant in order]
    return Plan(experiment, tuple(steps))


def _suite_tokens(suite: Suite) -> float:
    if isinstance(suite, Corpus):
        text = sum(map(len, suite.documents)) / _TOKEN_CHARACTERS
        return min(text, suite.tokens or text)
    return float(len(suite.items) * _ITEM_TOKENS)
