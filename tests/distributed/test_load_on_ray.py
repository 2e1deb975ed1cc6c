"""A load from two nodes of a real Ray cluster on this machine, one of them with a monotonic clock of its own where that
can be had; skipped where Ray is not installed. What needs no Ray is in test_load_hosts.py."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from quantcheck.distributed.load_hosts import hosts_on
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import read_log
from quantcheck.engines.fake.script import Script
from quantcheck.load.measure import LoadResult, measure
from quantcheck.load.sending import Limits, Sending
from quantcheck.report.schema import load_schema
from quantcheck.spec.load import Workload
from tests.conftest import MARK, command, left_running
from tests.distributed.test_load_hosts import own_clocks

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'quantcheck[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1200)]

SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
AHEAD_S = 5000
THERE_S, AFTER_S = 240.0, 30.0
TRIES = 3
"""Ray gives a raylet 30 s to start, which a busy machine may need more than once."""
AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Ports that a raylet whose agents choose them waits 15 s for, and then aborts; two agents' imports may take longer."""


@dataclass
class Pair:
    """Two nodes; the clock of `apart` is `ahead_s` before that of all others."""

    address: str
    apart: "subprocess.Popen[bytes]"
    ahead_s: int


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        head = started()
        ahead_s = AHEAD_S if own_clocks() else 0
        unshare = ["unshare", "--time", "--monotonic", str(ahead_s), "--fork", "--kill-child"] if ahead_s else []
        with (folder / "apart.log").open("wb") as log:
            apart = subprocess.Popen([
                *unshare, sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head.address}",
                "--node-ip-address=127.0.0.3", "--num-cpus=1", "--object-store-memory=100000000", "--block",
                *(f"--{name.replace('metrics_agent', 'dashboard-agent-grpc').replace('_', '-')}={port}"
                  for name, port in ports().items()),
            ], stdout=log, stderr=subprocess.STDOUT)
        try:
            ray.init(head.address, log_to_driver=False, logging_level="ERROR")
            deadline = time.monotonic() + THERE_S
            while sum(node["Alive"] for node in ray.nodes()) < 2:
                assert time.monotonic() < deadline, (folder / "apart.log").read_text()
                time.sleep(0.2)
            yield Pair(head.address, apart, ahead_s)
        finally:
            ray.shutdown()
            end(apart)
            head.shutdown()
    assert gone(left_running()) == []


def started() -> Any:
    from ray.cluster_utils import Cluster

    for last in (*[False] * (TRIES - 1), True):
        try:
            return Cluster(initialize_head=True, head_node_args={
                **SMALL, **ports(), "node_ip_address": "127.0.0.2"})
        except Exception as error:
            for child in psutil.Process().children(recursive=True):  # what was started of it
                with suppress(psutil.Error):
                    if "/ray/" in " ".join(child.cmdline()):
                        child.kill()
            if last or "timed out during startup" not in str(error):
                raise
    raise AssertionError


def ports() -> dict[str, int]:
    """Free ones for a node's agents."""
    with ExitStack() as stack:
        held = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in AGENTS}
        return {name: int(server.getsockname()[1]) for name, server in held.items()}


def end(process: "subprocess.Popen[bytes]") -> None:
    """It and what it started."""
    with suppress(psutil.Error):
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.Error):
                one.kill()
    process.wait()


def gone(left: list[str]) -> list[str]:
    deadline = time.monotonic() + AFTER_S
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = left_running()
    return left


def load_workers() -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.environ().get(MARK) == os.environ[MARK] and "quantcheck.load.worker" in line:
                found.append(line)
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(Script(ttft_s=0.02, itl_s=0.004), log=tmp_path / "log", golden=tmp_path / "truth") as server:
        yield server
    assert not load_workers()


def load(send: Any, engine: FakeServer, **options: Any) -> LoadResult:
    return measure(
        engine.endpoint, Workload(prompt_tokens=8, output_tokens=6), requests=60, seed=3, vocab_size=4096, send=send,
        sending=Sending(limits=Limits(request_timeout_s=30.0), keep_on_interrupt=True),
        **{"warmup_requests": 2, **options})


@pytest.mark.parametrize("options", [{"concurrency": 6}, {"rate": 40.0}], ids=["closed", "open"])
def test_two_nodes_make_one_load_on_one_clock(
    options: dict[str, Any], pair: Pair, engine: FakeServer, tmp_path: Path
) -> None:
    with hosts_on("ray", 2, {}) as hosts:
        result = load(hosts, engine, **options)
    found = result.summary
    assert found["outcomes"] == {"ok": 60}
    told = found["client"]["hosts"]
    assert sorted(host["address"] for host in told) == ["127.0.0.2", "127.0.0.3"]
    for host in told:
        ahead_s = pair.ahead_s if host["address"] == "127.0.0.3" else 0
        assert abs(host["clock"]["offset_s"] + ahead_s) <= host["clock"]["bound_s"]
        assert abs(host["clock"]["drift_ppm"]) <= host["clock"]["drift_bound_ppm"]
        assert host["requests"] > 0
    bound_s = max(host["clock"]["bound_s"] for host in told)
    truth = {int(one.request): one for one in read_log(tmp_path / "truth") if one.request.isdecimal()}
    table, zero_ns = result.tables["requests"], found["window"]["begin_ns"]
    assert len(set(table["request"])) == len(table["request"])
    for row in range(len(table["request"])):
        if table["outcome"][row] == "ok":
            true = truth[int(table["request"][row])]
            assert table["sent_s"][row] - bound_s <= (true.arrived_ns - zero_ns) / 1e9
            assert (true.sent_ns[-1] - zero_ns) / 1e9 <= table["last_s"][row] + bound_s
            assert (true.sent_ns[0] - true.arrived_ns) / 1e9 <= table["first_s"][row] - table["sent_s"][row] + 1e-4, \
                "no offset is in a TTFT (the kernel's stamps are known within 0.05 ms)"


def test_ctrl_c_ends_the_actors_and_reports_what_there_is(pair: Pair, engine: FakeServer, tmp_path: Path) -> None:
    arguments = ("load", "--url", engine.endpoint.base_url, "--model", "fake", "--on", "ray", "-c", "4", "-n", "20000",
                 "--output-tokens", "6", "--out", "run.json")
    process = subprocess.Popen(command(*arguments), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "RAY_ADDRESS": pair.address})
    deadline = time.monotonic() + THERE_S
    while not (tmp_path / "truth").exists() or (tmp_path / "truth").read_bytes().count(b"\n") < 60:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    told = json.loads((tmp_path / "run.json").read_text())
    jsonschema.validate(told, load_schema())
    (point,) = told["loads"]
    assert told["interrupted"]
    assert point["result"]["outcomes"]["ok"] >= 10
    assert [host["lost"] for host in point["result"]["client"]["hosts"]] == [None, None]


def test_more_hosts_than_nodes_is_one_line(pair: Pair, engine: FakeServer, tmp_path: Path) -> None:
    done = subprocess.run(
        command("load", "--url", engine.endpoint.base_url, "--model", "fake", "--on", "ray", "-c", "4", "--hosts", "3"),
        cwd=tmp_path, capture_output=True, text=True, timeout=THERE_S, check=False,
        env={**os.environ, "RAY_ADDRESS": pair.address})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "--hosts: 3 are asked for, and the cluster has 2 nodes" in done.stderr


def test_a_lost_node_is_told_and_the_others_are_kept(pair: Pair, engine: FakeServer) -> None:
    ended: list[Any] = []

    with hosts_on("ray", 2, {}) as hosts:
        def watch(pulse: Any) -> None:
            if pulse.done >= 20 and not ended:
                ended.append(pulse)
                end(pair.apart)

        result = load(hosts, engine, concurrency=2, warmup_requests=30, watch=watch)
    assert result.lost_host
    assert "127.0.0.3 was lost after" in result.summary["problem"]
    assert result.summary["client"]["limited"]
    by_address = {host["address"]: host for host in result.summary["client"]["hosts"]}
    assert by_address["127.0.0.2"]["lost"] is None
    assert by_address["127.0.0.2"]["requests"] > 0
    assert by_address["127.0.0.3"]["requests"] == 0
