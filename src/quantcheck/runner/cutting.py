"""Where an experiment's suites may be cut, for runs that score them in parts on several machines."""

import shutil
import sys
from collections.abc import Mapping

from quantcheck.process.managed import ManagedProcess
from quantcheck.quality.job import Job
from quantcheck.quality.parts import Unit
from quantcheck.quality.scorers import BatchShape
from quantcheck.runner.listen import events_of, raised
from quantcheck.runner.loading import scoring_batch
from quantcheck.runner.plan import Plan
from quantcheck.runner.progress import Progress
from quantcheck.runner.scoring import AGAIN_BATCH_TOKENS, BATCH_TOKENS
from quantcheck.spec.experiment import LlamaCppEngine, TransformersEngine
from quantcheck.store import Store
from quantcheck.variants.artifact import Artifact

__all__ = ["units_of"]


def units_of(plan: Plan, artifacts: Mapping[str, Artifact], store: Store, progress: Progress) -> list[Unit]:
    """The units of all suites, with the baseline's tokens: a variant of other tokens is refused when it is compared.

    They are counted in a process of its own, because native code reads a GGUF file. Raises what that process raised.
    """
    assert plan.experiment.quality is not None
    folder = store.work / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = Job(model=artifacts[plan.baseline].path, quality=plan.experiment.quality, suites=[], role="baseline",
              logits={}, threads=1, batch_tokens=BATCH_TOKENS, cut_for=_shapes(plan))
    (folder / "job.json").write_text(job.model_dump_json(by_alias=True), encoding="utf-8")
    process = ManagedProcess([sys.executable, "-m", "quantcheck.quality.job", str(folder)],
                             name="cutting of the suites", log=store.logs / "cut.log")
    with process:
        for event in events_of(folder / "events.jsonl", process, progress, lambda: None):
            if "error" in event:
                raise raised(event)
            if "units" in event:
                return [Unit(*unit) for unit in event["units"]]
    raise AssertionError("events end with the process's error")


def _shapes(plan: Plan) -> list[BatchShape]:
    """Of all batches in which entries are scored; none where a server makes them of what comes together."""
    engine = plan.experiment.engine
    if isinstance(engine, TransformersEngine):
        return [scoring_batch(engine, again=again) for again in (False, True)]
    return [(None, BATCH_TOKENS), (None, AGAIN_BATCH_TOKENS)] if isinstance(engine, LlamaCppEngine) else []
