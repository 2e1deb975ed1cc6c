"""The machine's ceilings: measured once per machine and user, kept in the cache, and stored with each run."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcheck.engines.llamacpp import default_threads
from quantcheck.process.managed import guarded
from quantcheck.runner.plan import Plan
from quantcheck.runner.progress import Progress
from quantcheck.runner.serving import interpreter
from quantcheck.spec.experiment import LlamaCppEngine, TransformersEngine
from quantcheck.store import Store
from quantcheck.telemetry import ceilings
from quantcheck.telemetry.ceilings import SCHEMA
from quantcheck.telemetry.environment import gpus, hardware_id, usable_threads
from quantcheck.variants.artifact import cache_root

__all__ = ["ceilings_of"]

TIMEOUT_S = 120.0


def ceilings_of(plan: Plan, store: Store, progress: Progress, *, quiet: bool = True) -> dict[str, Any] | None:
    """What `telemetry.ceilings` says of this machine, from this results folder, the user's cache, or measured now.

    For llama.cpp the processor with the engine's threads and with all; for other engines the GPU, too. `quiet`: no
    other program takes the machine's time; otherwise what is measured is not kept for other runs. None for the fake
    engine, which computes nothing, for servers of the user's, which may be on another machine, and when the measurement
    fails, which is told and ends nothing.
    """
    engine = plan.experiment.engine
    if engine.kind in ("fake", "openai"):
        return None
    counts = {usable_threads()}
    if isinstance(engine, LlamaCppEngine):
        counts.add(engine.threads or default_threads())
    if isinstance(engine, TransformersEngine) and engine.threads:
        counts.add(engine.threads)
    what = {
        "schema": SCHEMA, "hardware_id": hardware_id(), "threads": sorted(counts),
        "gpus": [gpu.get("name") for gpu in gpus()] if engine.kind != "llama.cpp" else [],
    }
    stored = (store.read_document("experiment.json") or {}).get("ceilings")
    if stored is not None and stored.get("what") == what:
        return dict(stored)
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    kept = cache_root() / "ceilings" / f"{name}.json"
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.get("what") == what:
            return found
    except (OSError, ValueError):
        pass  # not there, or damaged: measured again
    progress.preparing("measuring the machine's bandwidth and arithmetic rate")
    measured = _measure(what, interpreter(plan.experiment), cuda=bool(what["gpus"]))
    if "failed" in measured:
        progress.note(f"the machine's ceilings could not be measured ({measured['failed']}); no roofline")
        return None
    measured = {"what": what, "quiet": quiet, **measured}
    if quiet:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
            part.replace(kept)
        except OSError as error:
            progress.note(f"{kept}: cannot be written ({error.strerror}); ceilings are measured again next time")
    return measured


def _measure(what: Mapping[str, Any], python: Path | None, *, cuda: bool) -> dict[str, Any]:
    """In a process of its own, whose BLAS is held to one thread; `failed` with the reason when it gives nothing.

    `python`: of the engine's environment, which has the torch that knows the GPU; the probe needs nothing of ours.
    """
    threads = ",".join(str(count) for count in what["threads"])
    command = [str(python or sys.executable), str(ceilings.__file__), "--threads", threads,
               *([] if cuda else ["--no-cuda"])]
    try:
        done = subprocess.run(guarded(command), capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        found = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        return {"failed": (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1][:200]}
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return {"failed": (str(error).splitlines() or ["no output"])[0][:200]}
    return dict(found)
