"""Which cells an experiment consists of, and the order in which they are measured.

Quality comes first, the baseline before all others, because divergence is measured against its logits. Then the
blocks: in each, every variant's engine is started once and all loads are measured. A block begins with the baseline and
ends with its twin, so that the two span it and their difference is its drift; the order is reversed from block to block
(A B C A', A' C B A), so that a machine that drifts steadily favours none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from quantcheck.load.guidellm import guidellm_version
from quantcheck.load.sizes import expected_tokens, workload_digest
from quantcheck.quality.named import TASK_CONTEXT
from quantcheck.quality.suite import file_digest
from quantcheck.quality.suites import Continued, Corpus, GenerationTask, JudgedSuite, NamedTask, Suite, load_suites
from quantcheck.quality.work import suite_tokens
from quantcheck.runner.clients import guidellm_python
from quantcheck.runner.serving import engine_version, own_arguments, scoring_depends
from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import AGAIN, Experiment
from quantcheck.spec.load import Load, Point
from quantcheck.store import CellKey
from quantcheck.variants.artifact import Artifact

__all__ = ["HARNESS", "LoadStep", "Plan", "QualityStep", "Step", "Task", "make_plan", "requests_of"]

HARNESS = 3
"""Raised when a change of quantcheck makes its figures differ: older cells are then measured again."""


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
    points: tuple[Point, ...]

    @property
    def subjects(self) -> list[str]:
        return [point.subject for point in self.points]


Step = QualityStep | LoadStep

_NO_MATTER = {"start_timeout_s", "port", "scoring_threads", "python", "api_key_env", "concurrency",
              "top_logprobs", "build"}
"""Settings of an engine that change no figure of speed, or that its version tells."""
LEAST_PER_STREAM = 3
"""A stream that answers fewer requests than this shows its ramp, not its rate."""


@dataclass(frozen=True, slots=True)
class Task:
    """One cell that is to be measured; `work` is about how many tokens it processes.

    `starts`: it is measured on an engine that is started for it and the others of its entry, kind and block.
    """

    entry: str
    subject: str
    block: int
    kind: Literal["quality", "load"]
    work: float
    starts: bool = True


@dataclass(frozen=True)
class Plan:
    """All steps in order. `entry` is a variant's name, or the baseline's twin's."""

    experiment: Experiment
    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return sum(len(step.subjects) for step in self.steps)

    @cached_property
    def engine_version(self) -> str | None:
        """What stored figures depend on; None for the fake engine. Raises `EngineUnavailable`."""
        return engine_version(self.experiment)

    @cached_property
    def _client(self) -> dict[str, str]:
        """Who measures speed in the place of our own client."""
        return {"with": "guidellm", "version": guidellm_version(guidellm_python(self.experiment))}

    @cached_property
    def _digests(self) -> dict[str, dict[str, Any]]:
        """Every workload's digest by its name: its files are read once, not for every cell."""
        load = self.experiment.load
        return {name: workload_digest(workload) for name, workload in load.workloads.items()} if load else {}

    @cached_property
    def _tokens(self) -> dict[str, float]:
        """About how many tokens a request of each workload has."""
        load = self.experiment.load
        return {name: expected_tokens(workload) for name, workload in load.workloads.items()} if load else {}

    @property
    def baseline(self) -> str:
        return self.experiment.baseline

    @property
    def baseline_step(self) -> QualityStep:
        """The step that scores the baseline; `StopIteration` without a quality part (a programming error)."""
        return next(step for step in self.steps if isinstance(step, QualityStep) and step.entry == self.baseline)

    def stops_early(self, entry: str) -> bool:
        """Whether the tasks of `entry` may end before their last item: those of variants, under `stop: early`."""
        quality = self.experiment.quality
        return bool(quality and quality.stop == "early" and entry != self.baseline and not entry.endswith(AGAIN))

    def keys(self, artifacts: Mapping[str, Artifact]) -> Iterator[tuple[Step, str, CellKey]]:
        """Every cell of the variants that have an artifact, as (step, subject, key)."""
        for step in self.steps:
            if step.variant in artifacts:
                for subject in step.subjects:
                    yield step, subject, self.key(step, subject, artifacts)

    def tasks(self) -> Iterator[Task]:
        """Every cell with about how much work it is."""
        served = self.experiment.engine.kind != "llama.cpp"  # which scores in a process of ours that starts at once
        for step in self.steps:
            if isinstance(step, QualityStep):
                for suite in step.suites:
                    yield Task(step.entry, suite.name, 0, "quality", suite_tokens(suite), served)
            else:
                load = self.experiment.load
                assert load is not None
                for point in step.points:
                    requests = requests_of(load, point) + load.warmup_requests * (point.concurrency or 1)
                    yield Task(step.entry, point.subject, step.block, "load", requests * self._tokens[point.name])

    def key(self, step: Step, subject: str, artifacts: Mapping[str, Artifact]) -> CellKey:
        """The key of one cell: its digest covers all that the result depends on."""
        experiment = self.experiment
        depends: dict[str, object] = {
            "harness": HARNESS,
            "artifact": artifacts[step.variant].sha256,
            "engine_version": self.engine_version,
            "subject": subject,
        }
        if isinstance(step, LoadStep):
            assert experiment.load is not None
            load = experiment.load
            point = next(point for point in step.points if point.subject == subject)
            depends |= {
                "engine": experiment.engine.model_dump(mode="json", exclude=_NO_MATTER),
                # One server serves all windows of a step, so its slots and context depend on all of them.
                "points": [[other.subject, self._digests[other.name]] for other in step.points],
                "workload": self._digests[point.name],
                "arrival": load.arrival.model_dump() if point.rate is not None else None,
                "slo": load.slo.model_dump() if load.slo else None,
                "requests": load.requests,
                "warmup_requests": load.warmup_requests,
                "block": step.block,
                "seed": experiment.seed,
            }
            if args := own_arguments(experiment, step.variant, artifacts[step.variant]):
                depends["args"] = args
            if load.with_ != "quantcheck":
                depends["client"] = self._client
            return CellKey("load", step.entry, subject, step.block, content_hash(depends))
        assert experiment.quality is not None
        suite = next(suite for suite in step.suites if suite.name == subject)
        depends |= {
            "engine": scoring_depends(experiment, step.variant, artifacts[step.variant],
                                      again=step.entry.endswith(AGAIN)),
            "suite": suite.digest,
            "twin": step.entry.endswith(AGAIN),
        }
        if isinstance(suite, Corpus):
            quality = experiment.quality
            depends |= {"context": quality.context, "stride": quality.stride, "tokens": suite.tokens,
                        "against": self._against(artifacts)}
            if quality.divergence:
                depends |= {"divergence": quality.divergence}
        elif isinstance(suite, Continued):
            depends |= {"max_tokens": suite.max_tokens}
        else:
            depends |= {"items": [item.id for item in suite.items], **self._task_depends(step, suite, artifacts)}
        return CellKey("quality", step.entry, subject, 0, content_hash(depends))

    def _task_depends(
        self, step: QualityStep, suite: Suite, artifacts: Mapping[str, Artifact]
    ) -> dict[str, object]:
        """What a task's answers depend on besides its items."""
        quality, seed = self.experiment.quality, self.experiment.seed
        assert quality is not None
        depends: dict[str, object] = {}
        if isinstance(suite, NamedTask):
            template = quality.chat_template
            depends |= {"limit": suite.limit, "shots": quality.shots(suite.name), "context": TASK_CONTEXT,
                        "chat_template": file_digest(Path(template)) if isinstance(template, str) else template}
        if quality.sampling and isinstance(suite, GenerationTask):
            depends |= {"sampling": quality.sampling.model_dump(), "seed": seed}
        if quality.stop == "early":
            depends |= {"order": seed}
        if self.stops_early(step.entry):
            # Where it ends depends on the margin, on how many tasks are judged together, and on the baseline.
            tasks = sum(isinstance(other, JudgedSuite) for other in step.suites)
            depends |= {"margin": self.experiment.policy.margin.accuracy(suite.name), "tasks": tasks,
                        "against": self._against(artifacts)}
        return depends

    def _against(self, artifacts: Mapping[str, Artifact]) -> object:
        """The baseline as it was scored: by its files and, with another engine than llama.cpp, by its options, too."""
        artifact = artifacts[self.baseline]
        if self.experiment.engine.kind == "llama.cpp":
            return artifact.sha256
        return [artifact.sha256, scoring_depends(self.experiment, self.baseline, artifact)]


def make_plan(experiment: Experiment) -> Plan:
    """The plan of `experiment`. Raises `SpecError` when a suite or a text is not there."""
    others = [name for name in experiment.variants if name != experiment.baseline]
    first = [(experiment.baseline, experiment.baseline)]
    twin = [(experiment.baseline + AGAIN, experiment.baseline)] if experiment.noise_floor else []
    rest = [(name, name) for name in others]
    steps: list[Step] = []
    if experiment.quality is not None:
        suites = tuple(load_suites(experiment.quality))
        steps += [QualityStep(entry, variant, suites) for entry, variant in [*first, *twin, *rest]]
    if experiment.load is not None:
        points = tuple(experiment.load.points())
        for block in range(experiment.blocks):
            order = [*first, *rest, *twin]
            steps += [LoadStep(entry, variant, block, points) for entry, variant in order[:: -1 if block % 2 else 1]]
    return Plan(experiment, tuple(steps))


def requests_of(load: Load, point: Point) -> int:
    """How many requests are measured in one window."""
    return max(load.requests, LEAST_PER_STREAM * (point.concurrency or 1))
