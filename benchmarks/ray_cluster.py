"""An experiment on a Ray cluster of three nodes in network namespaces, and what becomes of it when one is lost.

    python benchmarks/ray_cluster.py [--trials 10] [--seed 1] [--cpus 1 2] [--locally 2] [--keep FOLDER]

Needs Linux, root (namespaces, a bridge), quantcheck[ray] in this interpreter, and about 6 GB of memory. A bridge in a
namespace of its own joins three more, each with one Ray node; nothing listens outside of them. The nodes are given
logical CPUs, as many each as `--cpus` says in turn, whatever the machine has: that a node's cores are used is shown by
how many quality cells are in flight on it at once, by the cells' own stamps, and not by time.

A small version of the embedded experiment (the reference model down a GGUF ladder on llama.cpp; one thread a scoring
process, small shares) is run

    locally    `--locally` times: two show by how many words two runs of the same differ
    whole      on the cluster, once with each number of logical CPUs
    lost       `--trials` times, with the last number; at a seeded moment between 10 % and 90 % of what a whole run
               takes, every process in the namespace of one node (raylet, workers, engines) gets SIGKILL, and the node
               is started again afterwards. It is one that measures at that moment, if any but the head does; the head
               holds Ray's state, and Ray does not outlive it.

The first local run measures the machine's ceilings and the load client's calibration; all others are given them.

Each run on the cluster must end without a problem, with every cell stored and told once, quality cells that are
bit for bit the local ones, words of speed that contradict none of the local run's (`faster` for `slower`, or the other
way round), and no process of a step left. The exit code is 1 otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import quantcheck
from quantcheck.cli.interrupt import install as raise_on_signals
from quantcheck.distributed import shares
from quantcheck.distributed.walker import walker_on
from quantcheck.runner.progress import Silent
from quantcheck.spec.experiment import Experiment
from quantcheck.store import Store
from quantcheck.store.sealed import sealed

EXPERIMENT = {
    "name": "ray-cluster", "model": "reference", "baseline": "F16",
    "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q2_K")},
    "engine": {"kind": "llama.cpp", "scoring_threads": 1},
    "quality": {"items": 40, "tokens": 1024, "suites": [
        "reference/documentation", "reference/stories", "reference/knowledge"]},
    "load": {"workloads": {"short": {"prompt_tokens": 16, "output_tokens": 16}}, "concurrency": [1], "requests": 6,
             "warmup_requests": 1},
    "blocks": 1,
}
SHARE_TOKENS = 500
"""Small shares for a small experiment: by itself a step of so little work would not be cut."""
MACHINE = ("schema", "hardware_id", "experiment_sha256", "environment", "ceilings", "calibration")
NODES = 3
NETWORK = "10.77.0"
PORT = 6379
READY_S = 600.0
TRIES = 3
"""Ray gives a raylet 30 s to start, which a busy machine may need more than once."""
GONE_S = 30.0
OPPOSITE = {("faster", "slower"), ("slower", "faster"), ("safe", "harmed"), ("harmed", "safe")}
MARK = "QUANTCHECK_RAY_CLUSTER"


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Network:
    """Namespaces `prefix`0 (the bridge) and `prefix`1 to `prefix`NODES; gone at the end, with all that runs in them."""

    def __init__(self, prefix: str) -> None:
        self.names = [f"{prefix}{number}" for number in range(NODES + 1)]

    def __enter__(self) -> "Network":
        try:
            for name in self.names:
                sh("ip", "netns", "add", name)
                sh("ip", "-n", name, "link", "set", "lo", "up")
            hub = self.names[0]
            sh("ip", "-n", hub, "link", "add", "bridge0", "type", "bridge")
            sh("ip", "-n", hub, "link", "set", "bridge0", "up")
            for number, name in enumerate(self.names[1:], 1):
                sh("ip", "-n", hub, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                sh("ip", "-n", hub, "link", "set", f"to{number}", "master", "bridge0", "up")
                sh("ip", "-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
                sh("ip", "-n", name, "link", "set", "eth0", "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise SystemExit(f"network namespaces cannot be made here: {error.stderr.strip()}") from error
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(1, NODES + 1):
            self.kill(number)
        for name in self.names:
            with suppress(subprocess.CalledProcessError):
                sh("ip", "netns", "delete", name)

    @staticmethod
    def address(number: int) -> str:
        return f"{NETWORK}.{number}"

    def inside(self, number: int, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[number], *words]

    def processes(self, number: int) -> list[psutil.Process]:
        found = []
        with suppress(subprocess.CalledProcessError):
            for pid in sh("ip", "netns", "pids", self.names[number]).split():
                with suppress(psutil.Error):
                    found.append(psutil.Process(int(pid)))
        return found

    def kill(self, number: int) -> int:
        """SIGKILL to all in one namespace; how many there were."""
        killed = 0
        while there := [process for process in self.processes(number) if alive(process)]:
            for process in there:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
                    killed += 1
            time.sleep(0.05)
        return killed


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


class Nodes:
    """Ray's nodes, one in each namespace but the bridge's; the first is the head."""

    def __init__(self, network: Network, folder: Path, cpus: int) -> None:
        self._network, self._folder, self._cpus = network, folder, cpus
        # Ray's nodes speak gRPC, which would ask a proxy of the environment for the others.
        direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.environment = {
            **direct, "QUANTCHECK_CACHE": str(folder / "cache"), "RAY_worker_niceness": "0", MARK: str(folder),
            "RAY_ADDRESS": f"{network.address(1)}:{PORT}", "RAY_USAGE_STATS_ENABLED": "0",
            # Given to all: Ray asks for a token by itself where the user's home holds one, and then of all who connect.
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
        }

    def start(self, number: int) -> None:
        for _ in range(TRIES):
            told = self._start(number)
            if not told.returncode:
                return
            self._network.kill(number)
        raise SystemExit(f"node {number} does not start: {told.stdout[-800:]}{told.stderr[-800:]}")

    def _start(self, number: int) -> "subprocess.CompletedProcess[str]":
        address = self._network.address(number)
        words = ["--head", f"--port={PORT}", f"--temp-dir={self._folder / 'ray'}", "--include-dashboard=false"] \
            if number == 1 else [f"--address={self._network.address(1)}:{PORT}"]
        return subprocess.run(
            self._network.inside(number, sys.executable, "-m", "ray.scripts.scripts", "start", *words,
                                 f"--node-ip-address={address}", f"--num-cpus={self._cpus}",
                                 "--object-store-memory=100000000", "--disable-usage-stats"),
            env={name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"},
            capture_output=True, text=True, check=False, timeout=READY_S)

    def __enter__(self) -> "Nodes":
        for number in range(1, NODES + 1):
            self.start(number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(NODES, 0, -1):
            self._network.kill(number)
        shutil.rmtree(self._folder / "ray", ignore_errors=True)

    def measuring(self) -> list[int]:
        """Nodes that have an engine, a scoring process or a load client."""
        return [number for number in range(1, NODES + 1) if steps(self._network.processes(number))]


def steps(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if alive(process) and " -m quantcheck." in line:
                found.append(line)
    return found


class Told(Silent):
    def __init__(self) -> None:
        self.finishes: list[list[Any]] = []
        self.notes: list[str] = []

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        self.finishes.append([variant, subject, block])

    def note(self, text: str) -> None:
        self.notes.append(text)


def measure(out: Path, on: str) -> None:
    """Run the experiment in this process, and print what was told as one line of JSON."""
    told, began = Told(), time.monotonic()
    experiment = Experiment.model_validate(EXPERIMENT)
    if on == "local":
        outcome = quantcheck.run(experiment, out, told)
    else:
        shares.LEAST_TOKENS = SHARE_TOKENS
        with walker_on(on, {}, told) as walker:
            outcome = quantcheck.run(experiment, out, told, walker=walker)
    print(json.dumps({"seconds": time.monotonic() - began, "measured": outcome.measured, "finishes": told.finishes,
                      "notes": told.notes, "problems": outcome.problems, "stages": outcome.stages}))


@dataclass
class Run:
    """What a run told, and what lies in its folder."""

    out: Path
    told: dict[str, Any]
    killed: str = ""

    @property
    def cells(self) -> dict[str, Any]:
        return {cell.key.id: cell for cell in Store(self.out).cells()}

    def words(self) -> dict[tuple[str, ...], str]:
        summary = json.loads((self.out / "summary.json").read_text(encoding="utf-8"))
        found = {}
        for part in ("quality", "speed"):
            for row in summary[part]:
                where = [str(row.get(name)) for name in ("variant", "suite", "workload", "point", "concurrency",
                                                         "metric")]
                found[part, *where] = str(row["word"])
        return found

    def in_flight(self) -> dict[str, int]:
        """The most quality cells, or parts of cells, that were in flight at once on each node, by their stamps."""
        edges: dict[str, list[tuple[float, int]]] = {}
        for cell in self.cells.values():
            if cell.key.kind == "quality":
                for piece in cell.record.get("parts") or [cell.record]:
                    # Two that meet are not at once: a stamp is a few hundredths of a second wide.
                    begin, end = piece["started_at"] + 0.05, piece["started_at"] + piece["duration_s"] - 0.05
                    if begin < end:
                        edges.setdefault(piece["node"], []).extend([(begin, 1), (end, -1)])
        return {node: max(np.cumsum([step for _, step in sorted(found)])) for node, found in sorted(edges.items())}


def check(run: Run, local: Run, left: list[str]) -> list[str]:
    """What is wrong with a run on the cluster."""
    wrong: list[str] = []
    here, there = local.cells, run.cells
    if run.told["problems"]:
        wrong.append(f"problems: {run.told['problems']}")
    if here.keys() != there.keys():
        wrong.append(f"{len(here.keys() ^ there.keys())} cells missing or too many")
    told = Counter(map(tuple, run.told["finishes"]))
    if run.told["measured"] != len(there) or len(told) != len(there) or max(told.values(), default=0) != 1:
        wrong.append(f"{run.told['measured']} counted, {sum(told.values())} told, {len(there)} stored")
    wrong += [f"{name} differs" for name in here.keys() & there.keys()
              if here[name].key.kind == "quality" and not same(here[name], there[name])]
    mine, theirs = run.words(), local.words()
    wrong += [f"{' '.join(name)}: {mine[name]}, locally {theirs[name]}" for name in mine
              if name[0] == "quality" and mine[name] != theirs.get(name)]
    wrong += [f"{' '.join(name)}: {mine[name]}, locally {theirs[name]}" for name in mine
              if (mine[name], theirs.get(name)) in OPPOSITE]
    if left:
        wrong.append(f"left running: {left}")
    return wrong


def same(one: Any, other: Any) -> bool:
    if one.record["result"] != other.record["result"]:
        return False
    table = "tokens" if one.record["result"]["kind"] == "perplexity" else "items"
    rows, others = one.table(table), other.table(table)
    return rows.keys() == others.keys() and all(np.array_equal(rows[name], others[name]) for name in rows)


@dataclass
class Bench:
    folder: Path
    network: Network
    wrong: int = 0
    runs: list[Run] = field(default_factory=list)

    def local(self, name: str) -> Run:
        return self._run(name, [], {**os.environ, "QUANTCHECK_CACHE": str(self.folder / "cache")}, "local")

    def there(self, name: str, nodes: Nodes, beside: Callable[[], str] | None = None) -> Run:
        return self._run(name, self.network.inside(1), nodes.environment, "ray", beside)

    def _run(self, name: str, before: list[str], environment: Mapping[str, str], on: str,
             beside: Callable[[], str] | None = None) -> Run:
        out, heard = self.folder / name, [""]
        shutil.rmtree(out, ignore_errors=True)
        known = self.folder / "local-1" / "experiment.json"
        if known.exists():
            document = json.loads(known.read_text(encoding="utf-8"))
            out.mkdir()
            (out / "experiment.json").write_text(json.dumps(sealed({part: document[part] for part in MACHINE})))
        thread = threading.Thread(target=lambda: heard.__setitem__(0, beside() if beside else ""), daemon=True)
        with (self.folder / f"{name}.err").open("wb") as errors:
            process = subprocess.Popen([*before, sys.executable, __file__, "--measure", str(out), "--on", on],
                                       stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
            thread.start()
            answer, _ = process.communicate(timeout=1800)
        thread.join()
        if process.returncode:
            said = (self.folder / f"{name}.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return Run(out, {"error": f"exit code {process.returncode}: {' '.join(said[-3:])}", "seconds": 0.0,
                             "notes": []}, heard[0])
        return Run(out, json.loads(answer.splitlines()[-1]), heard[0])

    def tell(self, name: str, run: Run, local: Run, nodes: Nodes) -> None:
        deadline = time.monotonic() + GONE_S
        while (left := self._left(nodes)) and time.monotonic() < deadline:
            time.sleep(0.2)
        wrong = [run.told["error"]] if "error" in run.told else check(run, local, left)
        self.wrong += bool(wrong)
        lost = [note for note in run.told["notes"] if "was lost" in note]
        print(f"{name:10s} {'ok   ' if not wrong else 'WRONG'} {run.told['seconds']:6.1f} s  "
              f"{len(run.cells)} cells{'; ' + run.killed if run.killed else ''}"
              f"{f'; {len(lost)} steps measured again' if run.killed else ''}", flush=True)
        for line in wrong:
            print(f"           {line}", flush=True)
        if "error" not in run.told:
            mine, theirs = run.words(), local.words()
            unlike = Counter((theirs.get(key), mine[key]) for key in mine if mine[key] != theirs.get(key))
            changes = [f"{count} {before} -> {after}" for (before, after), count in sorted(unlike.items(), key=str)]
            print("           words: " + "; ".join([f"{len(mine)}, as locally {len(mine) - unlike.total()}", *changes]),
                  flush=True)

    def _left(self, nodes: Nodes) -> list[str]:
        return [line for number in range(1, NODES + 1) for line in steps(self.network.processes(number))]


def lose(network: Network, nodes: Nodes, draw: random.Random, after: float) -> str:
    """Wait, then kill a node that measures; what was done."""
    time.sleep(after)
    busy = nodes.measuring()
    victim = draw.choice([number for number in busy if number != 1] or range(2, NODES + 1))
    killed = network.kill(victim)
    return (f"node {victim} of 3 lost after {after:.1f} s ({killed} processes, "
            f"{'measuring' if victim in busy else 'idle'})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--locally", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="where the runs' folders stay")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--on", default="local", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_on_signals()
    if arguments.measure:
        measure(arguments.measure, arguments.on)
        return
    with folder_of(arguments.keep) as folder, Network(f"qc{os.getpid()}n") as network:
        bench = Bench(folder, network)
        print(f"{psutil.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB; 3 nodes in network "
              f"namespaces", flush=True)
        local = bench.local("local-1")
        for number in range(1, arguments.locally + 1):
            run = local if number == 1 else bench.local(f"local-{number}")
            if "error" in run.told:
                raise SystemExit(run.told["error"])
            unlike = sum(local.words()[name] != word for name, word in run.words().items())
            print(f"local {number}          {run.told['seconds']:6.1f} s  {len(run.cells)} cells"
                  + (f"; of {len(local.words())} words {unlike} are not the first run's" if number > 1 else ""),
                  flush=True)
        for cpus in arguments.cpus:
            with Nodes(network, folder, cpus) as nodes:
                run = bench.there(f"whole-{cpus}", nodes)
                bench.tell(f"whole, {cpus}", run, local, nodes)
                if "error" not in run.told:
                    parts = sum("parts" in cell.record for cell in run.cells.values())
                    peak = ", ".join(f"{node} {most}" for node, most in run.in_flight().items())
                    print(f"           logical CPUs a node {cpus}; most quality cells in flight: {peak}; "
                          f"{parts} cells of several parts; quality took {run.told['stages']['quality']:.1f} s "
                          f"(locally {local.told['stages']['quality']:.1f} s)", flush=True)
                if cpus != arguments.cpus[-1]:
                    continue
                draw = random.Random(arguments.seed)
                for trial in range(1, arguments.trials + 1):
                    after = draw.uniform(0.1, 0.9) * run.told["seconds"]
                    beside = partial(lose, network, nodes, draw, after)
                    lost = bench.there(f"lost-{trial}", nodes, beside)
                    bench.tell(f"lost {trial}", lost, local, nodes)
                    for number in range(2, NODES + 1):
                        if not network.processes(number):
                            nodes.start(number)
        left = [process for process in psutil.process_iter() if marked(process, str(folder))]
        print(f"after the end {len(left)} processes of the cluster are left", flush=True)
    sys.exit(bool(bench.wrong or left))


def marked(process: psutil.Process, folder: str) -> bool:
    with suppress(psutil.Error):
        return process.environ().get(MARK) == folder and alive(process)
    return False


@contextmanager
def folder_of(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="qcray", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


if __name__ == "__main__":
    main()
