"""Does an engine leave anything behind, however it ends: a process, or GPU memory?

    python benchmarks/engine_ends.py [--python PATH] [--runs 10] [--parallel 1] [--kinds clean sigterm ...]

A child process starts vLLM through quantcheck's adapter (random weights, eager, a small context) and is ended `--runs`
times in each way:

    clean    the child leaves the engine's context
    sigterm  SIGTERM to the child, as a scheduler or Ctrl-C ends quantcheck
    sigkill  SIGKILL to the child, which can then clean up nothing
    crash    SIGKILL to vLLM's EngineCore
    memory   the model does not fit: 405 billion parameters on a GPU; without one, a KV cache larger than the memory

Within 30 s of each end no process of its tree may be there, nvidia-smi may list none of them, and the GPUs may hold no
more than before the first start. One line per end: seconds until the last process was gone, MiB above before, how the
child ended. `--parallel N` starts N children at once, which share the GPU; its memory is then read after the last of
them. The exit code is 1 when an end left something, or an engine did not start.

`--python`: the interpreter that has vLLM; default the installed environment's. Without a GPU (vLLM's CPU build) only
processes are looked at.
"""

import argparse
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from quantcheck.cli.interrupt import install as raise_on_signals
from quantcheck.engines.vllm import VllmServer
from quantcheck.environments import python_of
from quantcheck.errors import QuantcheckError
from quantcheck.spec.engines import VllmEngine
from quantcheck.telemetry.environment import gpus
from quantcheck.telemetry.gpu_memory import memory_in_use, wait_free
from quantcheck.variants.shapes import read_config_of
from quantcheck.variants.weightless import write_weightless

EXITS = {"clean": 0, "sigterm": 130, "sigkill": -9, "crash": 1, "memory": 1}
"""Each kind of end, and the child's exit status that belongs to it."""
TOO_LARGE = "shape:llama-3.1-405b"
START_S = 150.0
GONE_S = 30.0
POLL_S = 0.1
MARK = "QUANTCHECK_ENGINE_END"
ARGUMENTS = {"enforce-eager": True, "max-model-len": 512, "max-num-seqs": 8}
ON_GPU = {"gpu-memory-utilization": 0.05, "kv-cache-memory-bytes": 256 << 20}
"""A fixed KV cache: vLLM would otherwise mistake its neighbours' memory for its own."""


def serve(given: dict[str, Any]) -> int:
    """The child: start the engine, wait for the end of stdin, leave. Prints `ready`, or why it failed."""
    raise_on_signals()
    settings = VllmEngine(args=given["args"], environment=given["environment"], start_timeout_s=given["start_s"])
    server = VllmServer(settings, Path(given["model"]), name="the model", tokens=512, log=Path(given["log"]),
                        python=Path(given["python"]), arguments={"load-format": "dummy"})
    try:
        with server:
            print("ready", flush=True)
            while not select.select([sys.stdin], [], [], POLL_S)[0]:
                server.check()
    except KeyboardInterrupt:
        return 130
    except QuantcheckError as error:
        print(f"failed: {error}", flush=True)
        return 1
    return 0


@dataclass
class End:
    """One start and its end."""

    kind: str
    number: int
    folder: Path
    child: "subprocess.Popen[bytes]"
    mark: str
    tree: set[psutil.Process] = field(default_factory=set)
    ended_at: float | None = None
    gone_s: float | None = None
    fault: str = ""

    def said(self) -> str:
        return " | ".join((self.folder / "said").read_text("utf-8", "replace").split("\n")[-4:]).strip(" |")

    def look(self) -> list[psutil.Process]:
        """Those of its processes that are there; remembers all that were ever seen."""
        with suppress(psutil.NoSuchProcess):
            child = psutil.Process(self.child.pid)
            self.tree |= {child, *child.children(recursive=True)}
        for process in list(self.tree):
            with suppress(psutil.NoSuchProcess):
                self.tree.update(process.children(recursive=True))
        self.child.poll()  # or it stays as a zombie
        return [process for process in self.tree if alive(process)]

    def end(self) -> None:
        """Ends it in its way; an engine that was to fail by itself has done so."""
        self.ended_at = time.monotonic()
        assert self.child.stdin is not None
        if self.kind == "clean":
            self.child.stdin.close()
        elif self.kind == "sigterm":
            self.child.send_signal(signal.SIGTERM)
        elif self.kind == "sigkill":
            self.child.kill()
        elif self.kind == "crash":
            core = re.search(r"\(EngineCore\S* pid=(\d+)\)", (self.folder / "log").read_text("utf-8", "replace"))
            if core is None or not any(process.pid == int(core[1]) for process in self.tree):
                self.fault = "no EngineCore was found to be killed"
                self.child.kill()
            else:
                os.kill(int(core[1]), signal.SIGKILL)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """Processes with `mark` in their environment: such as left the tree before they were seen in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARK) == mark and alive(process):
                found.append(process)
    return found


def smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing without it."""
    path = shutil.which("nvidia-smi")
    if path is None:
        return ""
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False).stdout.strip()


def start(kind: str, number: int, work: Path, model: Path, given: argparse.Namespace) -> End:
    folder = work / f"{kind}-{number}"
    folder.mkdir()
    environment = {} if given.gpu else {"VLLM_CPU_KVCACHE_SPACE": "1"}
    if kind == "memory" and not given.gpu:
        environment["VLLM_CPU_KVCACHE_SPACE"] = str(2 * psutil.virtual_memory().total >> 30)
    settings = {"model": str(model), "log": str(folder / "log"), "python": str(given.python),
                "args": ARGUMENTS | (ON_GPU if given.gpu else {}), "environment": environment,
                "start_s": given.start_s}
    mark = uuid.uuid4().hex
    with (folder / "said").open("wb") as said:
        child = subprocess.Popen([sys.executable, __file__, "--serve", json.dumps(settings)], stdin=subprocess.PIPE,
                                 stdout=said, stderr=subprocess.STDOUT, env={**os.environ, MARK: mark})
    return End(kind, number, folder, child, mark)


def batch(ends: list[End], start_s: float) -> None:
    """Wait until all are ready, end them, and wait until nothing of them is there; faults are noted in them."""
    deadline = time.monotonic() + start_s + POLL_S
    waiting = list(ends)
    while waiting:
        time.sleep(POLL_S)
        for end in list(waiting):
            end.look()
            said = end.said()
            if said == "ready" and end.kind != "memory":
                waiting.remove(end)
            elif end.child.poll() is not None or said or time.monotonic() > deadline:
                waiting.remove(end)
                end.ended_at = time.monotonic()
                if end.kind != "memory" or said == "ready" or not said:
                    end.fault = "the engine started" if said == "ready" else said or "nothing within its time"
                    end.child.kill()
    for end in ends:
        if end.ended_at is None:
            end.look()
            end.end()
    waiting = list(ends)
    while waiting:
        time.sleep(POLL_S)
        for end in list(waiting):
            assert end.ended_at is not None
            seconds = time.monotonic() - end.ended_at
            left = end.look() or marked(end.mark)
            if not left:
                end.gone_s = seconds
            elif seconds > GONE_S:
                end.fault += f" left running: {', '.join(map(str, left))}"
            if not left or seconds > GONE_S:
                waiting.remove(end)


def judge(ends: list[End], before: dict[str, int]) -> list[str]:
    """A line for each end of a batch, once its processes are gone."""
    held = wait_free(before, GONE_S)
    now = memory_in_use()
    above = ", ".join(f"{(now[uuid_] - was) / 2**20:+.0f} MiB" for uuid_, was in before.items() if uuid_ in now)
    listed = {int(pid) for pid in re.findall(r"^\d+", smi("--query-compute-apps=pid", "--format=csv,noheader"), re.M)}
    lines = []
    for end in ends:
        wanted = EXITS[end.kind]
        if not end.fault and end.child.returncode != wanted:
            end.fault = f"the exit status is not {wanted}"
        if not end.fault and end.kind == "memory" and not re.search(r"failed: .*memory", end.said()):
            end.fault = "it failed for another reason"
        if held:
            end.fault += f" memory in use: {'; '.join(map(str, held.values()))}"
        if ours := listed & {process.pid for process in end.tree}:
            end.fault += f" nvidia-smi lists {sorted(ours)}"
        gone = f"{end.gone_s:5.1f} s" if end.gone_s is not None else f"> {GONE_S:g} s"
        outcome = f"exit status {end.child.returncode}"
        if end.kind in ("memory", "crash"):
            outcome += f": {end.said().removeprefix('ready').strip(' |')[:150]}"
        lines.append(f"{end.kind:<8}{end.number:>3}  {'FAULT' if end.fault else 'ok   '}  {len(end.tree):>2} processes "
                     f"gone after {gone}{f', memory {above}' if above else ''}  {outcome}  {end.fault}".rstrip())
    return lines


def run(given: argparse.Namespace, work: Path) -> int:
    models = {"small": given.model, "large": TOO_LARGE if given.gpu else given.model}
    for name, model in models.items():
        write_weightless(work / name, read_config_of(model, Path.cwd()), "bf16")
    before = memory_in_use()
    print(f"python {' '.join(sys.argv)}")
    print("; ".join(", ".join(gpu.values()) for gpu in gpus()) or "no GPU: only processes are looked at", flush=True)
    began, counts = time.monotonic(), Counter[str]()
    for kind in given.kinds:
        for first in range(0, given.runs, given.parallel):
            ends: list[End] = []
            model = work / ("large" if kind == "memory" else "small")
            try:
                ends += (start(kind, number + 1, work, model, given)
                         for number in range(first, min(first + given.parallel, given.runs)))
                batch(ends, given.start_s)
            finally:
                for end in ends:
                    end.child.kill()
                    end.child.wait()
            print(*judge(ends, before), sep="\n", flush=True)
            counts[kind] += sum(not end.fault for end in ends)
    print(smi() or "nvidia-smi is not there")
    good, of = sum(counts.values()), given.runs * len(given.kinds)
    print(f"{good} of {of} ends left nothing ({', '.join(f'{kind} {counts[kind]}' for kind in given.kinds)}); "
          f"{time.monotonic() - began:.0f} s")
    return int(good < of)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=lambda text: Path(text).expanduser().absolute(), help="that has vLLM")
    parser.add_argument("--model", default="shape:qwen2.5-0.5b", help="shape:NAME, or a folder with a config.json")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--start-s", type=float, default=START_S, help="most of a start; default %(default)g")
    parser.add_argument("--kinds", nargs="+", choices=EXITS, default=list(EXITS))
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve(given.serve)
    raise_on_signals()
    given.gpu = bool(gpus())
    given.python = given.python or python_of("vllm")
    with tempfile.TemporaryDirectory(prefix="engine-ends-") as work:
        return run(given, Path(work))


if __name__ == "__main__":
    sys.exit(main())
