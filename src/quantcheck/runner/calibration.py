"""What the load client can do on this machine, measured once for each results folder and kept with it."""

from typing import Any

from quantcheck.load.calibrate import calibrate
from quantcheck.load.sizes import typical
from quantcheck.runner.plan import Plan
from quantcheck.runner.progress import Progress
from quantcheck.runner.speed import OPEN_SLOTS
from quantcheck.store import Store

__all__ = ["calibration_of"]


def calibration_of(plan: Plan, store: Store, progress: Progress) -> dict[str, Any] | None:
    """The stored calibration, or one made now at the experiment's greatest number of streams; takes some seconds.

    None for the fake engine, which is what the client would be calibrated against, for one without a client, and where
    GuideLLM is the client.
    """
    load = plan.experiment.load
    if load is None or plan.experiment.engine.kind in ("fake", "transformers") or load.with_ == "guidellm":
        return None
    points = load.points()
    streams = max(point.concurrency or OPEN_SLOTS for point in points)
    document = store.read_document("experiment.json") or {}
    found: dict[str, Any] | None = document.get("calibration")
    if found is not None and found["streams"] == streams:
        return found
    progress.preparing("calibrating the load client")
    prompt_tokens, output_tokens = typical(points[0].workload)
    return calibrate(streams=streams, prompt_tokens=prompt_tokens, output_tokens=output_tokens, scratch=store.work)
