"""GuideLLM measures a window in the place of our client, as a program in an environment of its own.

It gets the same work: prompt and answer lengths, streams or rate, seed and number of requests, and the baseline's
tokenizer for all variants, so that all get the same texts. Beyond the measured requests it is asked for two more per
stream: without them its streams would run dry while the last ones are measured.
"""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Endpoint
from quantcheck.errors import EngineError, EngineUnavailable
from quantcheck.load.guidellm_report import Asked, read_report
from quantcheck.load.measure import LoadResult
from quantcheck.process.managed import ManagedProcess
from quantcheck.spec.load import SLO, Arrival, Workload

__all__ = ["START_S", "GuideLlm", "guidellm_version", "measure_with_guidellm"]

START_S = 20.0
"""About how long GuideLLM takes, beyond what it measures, to import its libraries and to draw its prompts."""
PATIENCE_S = 300.0
"""Within this, beyond what its requests may take, it must have ended."""
TAIL_PER_STREAM = 2
ASK_S = 60.0
POLL_S = 0.05
_PATHS = {"completions": "/v1/completions", "llama-server": "/v1/completions", "chat": "/v1/chat/completions"}


@dataclass(frozen=True, slots=True)
class GuideLlm:
    """The interpreter that has it, and the folder of the tokenizer that its prompts are cut by."""

    python: Path
    tokenizer: Path


@cache
def guidellm_version(python: Path) -> str:
    """Raises `EngineUnavailable` when `python` cannot be run or has no GuideLLM."""
    ask = "import importlib.metadata as m\nprint(m.version('guidellm'))"
    remedy = "name another interpreter (load.python), or leave it out and run `quantcheck engines install guidellm`"
    try:
        done = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineUnavailable(f"{python}: cannot be asked for its GuideLLM ({type(error).__name__}); {remedy}"
                                ) from error
    if done.returncode or not done.stdout.strip():
        raise EngineUnavailable(f"{python}: has no GuideLLM; {remedy}")
    return done.stdout.split()[-1]


def measure_with_guidellm(
    guidellm: GuideLlm,
    endpoint: Endpoint,
    workload: Workload,
    *,
    concurrency: int | None,
    rate: float | None,
    arrival: Arrival,
    requests: int,
    warmup_requests: int,
    seed: int,
    request_timeout_s: float,
    slo: SLO | None,
    scratch: Path,
    log: Path,
    check: Callable[[], None],
) -> LoadResult:
    """One window, as `load.measure.measure` gives it. `log`: gets what the program prints.

    Raises `EngineError` when GuideLLM fails, does not end or leaves no readable report, and what `check` raises, which
    is called all the while.
    """
    assert isinstance(workload.prompt_tokens, int)  # the experiment was checked
    assert isinstance(workload.output_tokens, int)
    streams = concurrency or 1
    asked = Asked(warmup_requests * streams, requests, workload.prompt_tokens, workload.output_tokens, concurrency,
                  rate)
    count = asked.warmup + requests + (TAIL_PER_STREAM * streams if concurrency else 0)
    report, scenario = scratch / "guidellm.json", scratch / "guidellm-scenario.json"
    report.unlink(missing_ok=True)
    scenario.write_text(json.dumps({"spec": {
        "backend": {"kind": "openai_http", "target": endpoint.base_url, "model": endpoint.model,
                    "request_format": _PATHS[endpoint.dialect], "timeout": request_timeout_s},
        "tokenizer": {"kind": "hf_auto", "model": str(guidellm.tokenizer.absolute())},
        "profile": _profile(concurrency, rate, arrival),
        "data": [{"kind": "synthetic_text", "prompt_tokens": asked.prompt_tokens,
                  "output_tokens": asked.output_tokens}],
        "constraints": [{"kind": "max_requests", "count": count}],
        "seed": {"kind": "static", "value": seed % 2**32},
        "outputs": [{"kind": "json", "path": str(report.absolute())}],
    }}), encoding="utf-8")
    offered_s = count / rate if rate else 0.0
    deadline_s = PATIENCE_S + offered_s + request_timeout_s * (1 if rate else -(-count // streams))
    process = ManagedProcess(
        [str(guidellm.python), "-m", "guidellm", "run", "--config", str(scenario.absolute()), "--disable-console"],
        name="GuideLLM", log=log, tree=True,
        environment={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    now = time.monotonic_ns(), time.time()
    with process:
        while process.running():
            check()
            if process.age_s > deadline_s:
                raise EngineError(f"GuideLLM has not ended after {deadline_s:.0f} s; its last log lines: "
                                  f"{process.log_tail()}; full log: {log}")
            time.sleep(POLL_S)
        how, tail = process.exit_text(), process.log_tail()
    check()  # an engine that died is named before what GuideLLM made of it
    if how != "exit status 0" or not report.is_file():
        wrote = "" if report.is_file() else " and wrote no report"
        raise EngineError(f"GuideLLM ended with {how}{wrote}; its last log lines: {tail}; full log: {log}")
    try:
        result, tables = read_report(report.read_text(encoding="utf-8", errors="replace"), asked, name=report.name,
                                     now=now, slo=slo)
    except EngineError as error:
        raise EngineError(f"{error}; full log: {log}") from error
    finally:
        with suppress(OSError):  # prompts and answers of every request; what is kept of them are the tables
            report.unlink()
    return LoadResult(result, tables)


def _profile(concurrency: int | None, rate: float | None, arrival: Arrival) -> dict[str, Any]:
    if concurrency is not None:
        return {"kind": "concurrent", "streams": [concurrency]}
    return {"kind": arrival.process, "rate": [rate]}
