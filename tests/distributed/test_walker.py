"""Runs on a real Ray cluster of three small nodes on this machine; skipped where Ray is not installed."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

import quantcheck
from quantcheck.distributed import shares
from quantcheck.distributed.walker import walker_on
from quantcheck.runner.progress import Silent
from quantcheck.runner.run import Outcome
from quantcheck.spec.experiment import Experiment
from quantcheck.store import Store
from tests.conftest import MARK, command, left_running
from tests.runner.test_run import experiment

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'quantcheck[ray]'")
pytestmark = [pytest.mark.slow]

Json = dict[str, Any]
SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
AFTER_S = 20.0
CORPUS = "reference/stories"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTCHECK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAY_worker_niceness", "0")
        found = Cluster(initialize_head=True, head_node_args={**SMALL, "node_ip_address": "127.0.0.2"})
        try:
            for last in (3, 4):  # loopback; of 127.0.0.1 Ray would make the machine's outer address
                add(found, f"127.0.0.{last}")
            ray.init(found.address, log_to_driver=False, logging_level="ERROR")
            yield found
        finally:
            ray.shutdown()
            found.shutdown()
    gone(left_running)


def add(found: Any, address: str) -> None:
    """A further node. Ray gives its raylet 30 s to start, which a busy machine may need more than once."""
    for last in (False, False, True):
        try:
            found.add_node(**SMALL, node_ip_address=address)
            return
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise


def gone(running: Callable[[], list[str]]) -> None:
    """Wait until nothing is left; Ray reaps its own a moment later."""
    deadline = time.monotonic() + AFTER_S
    while running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running() == []


def marked() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == os.environ[MARK] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def engines() -> list[psutil.Process]:
    """Engines, scoring processes and load clients: what steps start, without Ray's own processes."""
    found = []
    for process in marked():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if "quantcheck." in line and process.pid != os.getpid() and not process.name().startswith("ray"):
                found.append(process)
    return found


def names() -> list[str]:
    found = []
    for process in engines():
        with suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def on_ray(chosen: Experiment, out: Path, progress: Any = None) -> Outcome:
    progress = progress or Silent()
    with walker_on("ray", {}, progress) as walker:
        return quantcheck.run(chosen, out, progress, walker=walker)


def summary(out: Path) -> Json:
    found: Json = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return found


def speed_words(out: Path) -> list[tuple[str, str, str]]:
    return [(row["variant"], row["metric"], row["word"]) for row in summary(out)["speed"]
            if row["metric"] == "tpot"]


def scored() -> Experiment:
    return Experiment.model_validate({
        "name": "scored", "model": "reference", "baseline": "F16",
        "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q2_K")},
        "engine": {"kind": "llama.cpp", "threads": 1, "scoring_threads": 1},
        "quality": {"suites": ["reference/stories", "reference/arithmetic"], "items": 8, "tokens": 1024},
    })


class Notes(Silent):
    """Keeps what is told, and does something after the first cell."""

    def __init__(self, after_first: Callable[[], None] | None = None) -> None:
        self.notes: list[str] = []
        self.finishes: list[tuple[str, str, int]] = []
        self._after_first = after_first

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        self.finishes.append((variant, subject, block))
        if self._after_first is not None:
            act, self._after_first = self._after_first, None
            act()

    def note(self, text: str) -> None:
        self.notes.append(text)


def kill_a_busy_node() -> None:
    """SIGKILL the raylet above an engine, unless it is the head's, which Ray itself does not survive."""
    deadline = time.monotonic() + AFTER_S
    while time.monotonic() < deadline:
        for engine in engines():
            with suppress(psutil.Error):
                for above in engine.parents():
                    if above.name() == "raylet" and "--head" not in " ".join(above.cmdline()):
                        above.send_signal(signal.SIGKILL)
                        return
        time.sleep(0.02)
    raise AssertionError("no engine was seen on a node that is not the head")


def test_quality_in_shares_is_bit_for_bit_that_of_the_local_runner(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "LEAST_TOKENS", 100)
    chosen = scored()
    assert quantcheck.run(chosen, tmp_path / "local").problems == []
    progress = Notes()
    there = on_ray(chosen, tmp_path / "there", progress)
    assert there.problems == []
    assert there.measured == len(progress.finishes) == len(set(progress.finishes)) == 3 * 2
    assert {entry for entry, _, _ in progress.finishes[:2]} == {"F16"}, "the baseline comes before all others"
    here, far = summary(tmp_path / "local"), summary(tmp_path / "there")
    assert here["quality"] == far["quality"]
    assert here["corpora"] == far["corpora"]
    assert here["variants"] == far["variants"]
    assert here["quality"]
    cells = {cell.key.id: cell for cell in Store(tmp_path / "there").cells()}
    assert {cell.key.id for cell in Store(tmp_path / "local").cells()} == cells.keys()
    for cell in Store(tmp_path / "local").cells():
        assert cells[cell.key.id].record["result"] == cell.record["result"]
        assert cells[cell.key.id].record["tables"] == cell.record["tables"], "the same rows, byte for byte"
    stories = {cell.key.variant: cell.record["parts"] for cell in cells.values() if cell.key.subject == CORPUS}
    assert len(stories["F16"]) == 1, "the baseline's logits are wanted whole"
    assert len(stories["Q2_K"]) > 1
    assert len({part["node"] for cell in cells.values() for part in cell.record["parts"]}) > 1
    assert "score-Q2_K.log" in {file.name for file in (tmp_path / "there" / "logs").iterdir()}
    assert list((Path(os.environ["QUANTCHECK_CACHE"]) / "ray").iterdir()) == []


def test_speed_has_the_local_runners_words_and_nothing_runs_beside_it(cluster: Any, tmp_path: Path) -> None:
    chosen = experiment(blocks=3, engine={"kind": "fake", "ttft_ms": 10, "itl_ms": 2, "speed": {"b": 2.0}})
    quantcheck.run(chosen, tmp_path / "local")
    on_ray(chosen, tmp_path / "there")
    # On a busy machine a word may be inconclusive; it is never the opposite.
    for out in ("local", "there"):
        assert {row[:2] for row in speed_words(tmp_path / out)} == {("a", "tpot"), ("b", "tpot")}
        assert ("b", "tpot", "slower") not in speed_words(tmp_path / out)
    # Three nodes, one host: no two windows overlap.
    spans = sorted((cell.record["started_at"], cell.record["duration_s"]) for cell in Store(tmp_path / "there").cells())
    assert len(spans) == 3 * 2
    assert all(begin + length <= later for (begin, length), (later, _) in pairwise(spans))


def test_a_mistake_on_a_node_is_one_line_and_the_others_are_measured(cluster: Any, tmp_path: Path) -> None:
    chosen = experiment(blocks=1, engine={"kind": "fake", "ttft_ms": 10, "itl_ms": 2, "fault": "never-healthy",
                                          "start_timeout_s": 1.0})
    with pytest.raises(quantcheck.EngineError) as raised:
        on_ray(chosen, tmp_path / "out")
    text = str(raised.value)
    assert text.startswith("node 127.0.0.")
    assert "\n" not in text
    assert str(tmp_path / "out" / "logs") in text, "the log is named where it was brought"
    gone(names)


def test_ctrl_c_ends_all_steps_and_the_same_command_goes_on(
    cluster: Any, tmp_path: Path, fake: Callable[..., Path]
) -> None:
    fake(blocks=1)
    results = tmp_path / "results" / "exp"
    process = subprocess.Popen(command("run", "exp.yaml", "--quiet", "--on", "ray"), cwd=tmp_path,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, "RAY_ADDRESS": cluster.address})
    deadline = time.monotonic() + 240
    while not list((results / "cells").glob("[!.]*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    gone(names)
    before = {cell.key.id: (cell.folder / "cell.json").stat().st_mtime_ns for cell in Store(results).cells()}
    assert 0 < len(before) < 3 * 4
    outcome = on_ray(quantcheck.read(tmp_path / "exp.yaml"), results)
    assert outcome.measured >= 3 * 4 - len(before)
    assert len(list(Store(results).cells())) == 3 * 4


def test_a_stop_among_shares_ends_them_and_keeps_their_parts(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "LEAST_TOKENS", 100)
    out = tmp_path / "out"

    class Stops(Notes):
        def pulse(self) -> None:
            if self.finishes and list((out / "work" / "parts").glob("*Q2_K*/*.npz")):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ray(scored(), out, Stops())
    gone(names)
    stopped = time.time()
    assert Store(out).locked() is False
    kept = len(list((out / "work" / "parts").glob("*/*.npz")))
    stored = {cell.key.id for cell in Store(out).cells()}
    assert on_ray(scored(), out).measured == 3 * 2 - len(stored)
    parts = [part for cell in Store(out).cells() for part in cell.record["parts"]]
    assert sum(part["started_at"] < stopped for part in parts) == kept, "each part was measured once"


def test_a_lost_node_costs_its_cells_in_hand_only(cluster: Any, tmp_path: Path) -> None:
    at_the_loss: dict[str, int] = {}
    out = tmp_path / "out"

    def lose() -> None:
        kill_a_busy_node()
        for cell in Store(out).cells():
            at_the_loss[cell.key.id] = (cell.folder / "cell.json").stat().st_mtime_ns

    # Beside the driver, which goes on placing meanwhile.
    progress = Notes(threading.Thread(target=lose, daemon=True).start)
    outcome = on_ray(scored(), out, progress)
    assert outcome.problems == []
    assert any("was lost" in note for note in progress.notes), progress.notes
    now = {cell.key.id: (cell.folder / "cell.json").stat().st_mtime_ns for cell in Store(out).cells()}
    assert len(now) == 3 * 2
    assert at_the_loss
    assert at_the_loss.items() <= now.items(), "a stored cell was lost or measured again"
    assert len(progress.finishes) == len(set(progress.finishes)) == 3 * 2
    gone(names)
