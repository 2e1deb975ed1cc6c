"""A load from several hosts: processes that stand for nodes, some of them with a monotonic clock of their own."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.distributed import load_link
from quantcheck.distributed.load_hosts import LoadHosts, choose
from quantcheck.distributed.load_link import Link
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.errors import EngineError, SpecError
from quantcheck.load.bodies import path
from quantcheck.load.build import build_schedule
from quantcheck.load.client import Pulse, Traffic, run_schedule
from quantcheck.load.hosts import clock_notes
from quantcheck.load.measure import LoadResult, measure
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits, Sending
from quantcheck.load.target import target_of
from quantcheck.spec.load import SLO, Workload
from tests.conftest import Run, left_running
from tests.distributed.apart import Apart, node

pytestmark = pytest.mark.alone

SHORT = Workload(prompt_tokens=8, output_tokens=6)
AHEAD_S = 5000


def own_clocks() -> bool:
    """Whether processes can be given a clock of their own here."""
    try:
        return not subprocess.run(["unshare", "--time", "--monotonic", "1", "--fork", "true"], capture_output=True,
                                  check=False).returncode
    except FileNotFoundError:
        return False


needs_clocks = pytest.mark.skipif(not own_clocks(), reason="time namespaces need root and Linux 5.6")


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(load_link, "pinned", lambda _: None)
    before = set(left_running())
    yield
    assert not list(folder.iterdir())
    assert set(left_running()) <= before


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(Script(ttft_s=0.02, itl_s=0.004), log=tmp_path / "log", golden=tmp_path / "truth") as server:
        yield server


Start = Callable[..., tuple[LoadHosts, Apart]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Hosts whose clocks are ahead by so many s; they end with the test, and leave no file unless they were killed."""
    folder = tmp_path / "of-hosts"
    folder.mkdir()
    made: list[tuple[LoadHosts, Apart]] = []

    def go(*ahead_s: int, **environment: str) -> tuple[LoadHosts, Apart]:
        ray = Apart([*ahead_s], {"TMPDIR": str(folder), **environment})
        hosts = LoadHosts(ray, [Link(ray, node(f"n{number}")) for number in range(len(ahead_s))])
        made.append((hosts, ray))
        hosts.meet()
        return hosts, ray

    yield go
    unharmed = all(actor.process.poll() is None and not actor.silent for _, ray in made for actor in ray.actors)
    for hosts, _ in made:
        hosts.end()
    assert not (unharmed and list(folder.iterdir()))


def plan_of(engine: FakeServer, *, concurrency: int | None = None, rate: float | None = None,
            requests: int = 24) -> Schedule:
    return build_schedule(engine.endpoint, SHORT, concurrency=concurrency, rate=rate, requests=requests,
                          warmup_requests=2, seed=5, vocab_size=4096)


def send(by: Any, engine: FakeServer, plan: Schedule, **options: Any) -> Traffic:
    traffic = by(target_of(engine.endpoint.base_url), plan, path=path("completions"),
                 limits=Limits(request_timeout_s=20.0), **{"streams": None, **options})
    assert isinstance(traffic, Traffic)
    return traffic


def load(hosts: LoadHosts, engine: FakeServer, **options: Any) -> LoadResult:
    sending = Sending(limits=Limits(request_timeout_s=20.0), keep_on_interrupt=True,
                      key_variable=options.pop("key", None))
    return measure(engine.endpoint, SHORT, sending=sending, send=hosts, **{
        "concurrency": 4, "requests": 4000, "warmup_requests": 1, "seed": 3, "vocab_size": 4096, **options})


def truths(folder: Path) -> dict[int, Truth]:
    return {int(truth.request): truth for truth in read_log(folder / "truth") if truth.request.isdecimal()}


def sent(traffic: Traffic, phase: str) -> list[tuple[int, int]]:
    """Requests of a phase and, of warm-up, the stream of each: the schedule's own."""
    return sorted((one.request, one.stream if phase == "warmup" else 0) for one in traffic.exchanges
                  if one.phase == phase)


@pytest.mark.parametrize("options", [{"streams": 4}, {"streams": 5, "workers": 2}, {}], ids=str)
def test_several_hosts_send_what_one_sends(options: dict[str, int], engine: FakeServer, start: Start) -> None:
    plan = plan_of(engine, concurrency=options.get("streams"), rate=None if options else 60.0)
    one = send(run_schedule, engine, plan, **options)
    hosts, _ = start(0, 0)
    two = send(hosts, engine, plan, **options)
    for phase in ("warmup", "measured"):
        assert sent(two, phase) == sent(one, phase)
    assert all(exchange.fault is None for exchange in two.exchanges if exchange.phase != "tail")
    assert [host["workers"] for host in two.facts["hosts"]] == [options.get("workers", 1)] * 2
    assert sum(host["requests"] for host in two.facts["hosts"]) == len(two.exchanges)
    assert all(host["requests"] for host in two.facts["hosts"])
    assert len({exchange.stream for exchange in two.exchanges}) == options.get("streams", 1)


def test_due_times_are_those_of_the_schedule(engine: FakeServer, start: Start) -> None:
    plan = plan_of(engine, rate=80.0)
    assert plan.due_ns is not None
    hosts, _ = start(0, 0, 0)
    traffic = send(hosts, engine, plan)
    bound_ns = 1e9 * max(host["clock"]["bound_s"] for host in traffic.facts["hosts"])
    for exchange in traffic.exchanges:
        assert exchange.due_ns is not None
        assert abs(exchange.due_ns - traffic.facts["start_ns"] - plan.due_ns[exchange.request]) <= 2 * bound_ns + 2
        assert exchange.sent_ns >= exchange.due_ns


@needs_clocks
@pytest.mark.parametrize("options", [{"streams": 6}, {}], ids=["closed", "open"])
def test_hosts_with_other_clocks_are_brought_to_one(
    options: dict[str, int], engine: FakeServer, start: Start, tmp_path: Path
) -> None:
    plan = plan_of(engine, concurrency=options.get("streams"), rate=None if options else 60.0, requests=60)
    ahead_s = (0, AHEAD_S, -20)
    hosts, _ = start(*ahead_s)
    traffic = send(hosts, engine, plan, **options)
    clocks = [host["clock"] for host in traffic.facts["hosts"]]
    for host_s, clock in zip(ahead_s, clocks, strict=True):
        assert abs(clock["offset_s"] + host_s) <= clock["bound_s"]
        assert abs(clock["drift_ppm"]) <= clock["drift_bound_ppm"], "they are one clock, which does not drift"
    truth = truths(tmp_path)
    assert {exchange.request % 3 for exchange in traffic.exchanges} == {0, 1, 2}
    assert [host["requests"] for host in traffic.facts["hosts"]] > [0, 0, 0]
    for exchange in (one for one in traffic.exchanges if one.fault is None):
        # Sent before it arrived, received after it was sent, both within the bound: what the server's log tells.
        true, bound_ns = truth[exchange.request], 1e9 * max(clock["bound_s"] for clock in clocks)
        assert exchange.sent_ns - bound_ns <= true.arrived_ns
        assert true.sent_ns[-1] <= exchange.user_ns[-1] + bound_ns
        assert np.all(exchange.kernel_ns <= exchange.user_ns)
        assert exchange.sent_ns < exchange.user_ns[0] <= exchange.end_ns
        lasted_ns = exchange.user_ns[-1] - exchange.sent_ns
        assert true.sent_ns[-1] - true.arrived_ns <= lasted_ns, "no offset is in a latency"
    order = [exchange.sent_ns for exchange in traffic.exchanges]
    assert max(order) - min(order) < 1e9 * AHEAD_S / 10


@needs_clocks
def test_a_window_is_one_window(engine: FakeServer, start: Start) -> None:
    hosts, _ = start(0, AHEAD_S)
    found = load(hosts, engine, requests=80).summary
    assert found["outcomes"] == {"ok": 80}
    assert found["metrics"]["concurrency"] <= 4
    assert found["client"]["schedule_lag"] is None
    assert len(found["client"]["hosts"]) == 2
    assert found["client"]["lost"] is None


def test_a_lost_host_ends_the_load_and_its_requests_are_lost(engine: FakeServer, start: Start) -> None:
    hosts, ray = start(0, 0)
    killed: list[Pulse] = []

    def watch(pulse: Pulse) -> None:
        if pulse.done >= 40 and not killed:
            killed.append(pulse)
            ray.actors[1].kill()

    result = load(hosts, engine, watch=watch, slo=SLO(e2e_ms=10_000))
    found = result.summary
    assert killed
    assert result.lost_host
    assert found["outcomes"]["ok"] >= 1
    assert found["outcomes"]["lost"] == found["client"]["lost"] >= 1
    assert found["requests"] == sum(found["outcomes"].values()) < 4000
    assert "address-of-n1 was lost after" in found["problem"]
    assert "\n" not in found["problem"]
    assert any("a host of the load was lost" in reason for reason in found["client"]["limited"])
    assert [host["lost"] is None for host in found["client"]["hosts"]] == [True, False]
    assert set(result.tables["requests"]["request"] % 2) == {0}, "nothing is told of what was lost"
    assert found["slo"]["total"] - found["slo"]["met"] >= found["outcomes"]["lost"], "lost is not good"
    with pytest.raises(EngineError, match="address-of-n1 was lost"):
        load(hosts, engine)


def test_a_host_that_is_silent_is_lost(engine: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_link, "SILENT_S", 1.0)
    hosts, ray = start(0, 0)

    def watch(pulse: Pulse) -> None:
        ray.actors[0].silent = pulse.done >= 40

    found = load(hosts, engine, watch=watch).summary
    assert "did not answer" in found["problem"]
    assert found["outcomes"]["lost"] >= 1
    assert found["outcomes"]["ok"] >= 1


def test_the_loss_of_all_is_one_line(engine: FakeServer, start: Start) -> None:
    hosts, ray = start(0)
    with pytest.raises(EngineError, match="no host of the load is left") as raised:
        load(hosts, engine, watch=lambda pulse: ray.actors[0].kill() if pulse.done else None)
    assert "\n" not in str(raised.value)


def test_ctrl_c_keeps_what_was_received(engine: FakeServer, start: Start) -> None:
    hosts, _ = start(0, 0)

    def watch(pulse: Pulse) -> None:
        if pulse.done >= 40:
            raise KeyboardInterrupt

    result = load(hosts, engine, watch=watch)
    assert result.interrupted
    assert not result.lost_host
    assert {int(request) % 2 for request in result.tables["requests"]["request"]} == {0, 1}
    outcomes = Counter(result.tables["requests"]["outcome"])
    assert outcomes["ok"] >= 30
    assert set(outcomes) <= {"ok", "cancelled"}
    assert load(hosts, engine, requests=8).summary["outcomes"] == {"ok": 8}, "the hosts are there for the next load"


def test_a_deadline_on_one_ends_all(engine: FakeServer, start: Start) -> None:
    hosts, _ = start(0, 0)
    traffic = hosts(target_of(engine.endpoint.base_url), plan_of(engine, concurrency=4, requests=4000),
                    path=path("completions"), streams=4, limits=Limits(request_timeout_s=20.0, run_timeout_s=0.5))
    assert "deadline of 0.5 s passed" in traffic.facts["ended_early"]
    assert all(host["requests"] for host in traffic.facts["hosts"])


def test_fewer_streams_than_hosts_leave_some_idle(engine: FakeServer, start: Start) -> None:
    hosts, _ = start(0, 0)
    found = load(hosts, engine, concurrency=1, requests=3).summary
    assert found["outcomes"] == {"ok": 3}
    assert len(found["client"]["hosts"]) == 1


def test_a_key_that_a_node_lacks_is_one_line(
    engine: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, _ = start(0, 0, A_KEY="")
    monkeypatch.setenv("A_KEY", "here only")
    with pytest.raises(SpecError, match="node address-of-n0: --key-env: .*A_KEY is not set there"):
        load(hosts, engine, key="A_KEY", requests=4)


def test_an_address_of_this_machine_is_no_address_for_others(
    engine: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, _ = start(0)
    monkeypatch.setattr("quantcheck.distributed.load_hosts.loopback_of", lambda: "another boot")
    with pytest.raises(SpecError, match="give one that all nodes reach"):
        load(hosts, engine, requests=4)


def test_nodes_are_chosen_on_as_many_machines_as_there_are() -> None:
    notes: list[str] = []
    nodes = [node("a", boot="1"), node("b", boot="1"), node("c", boot="2"), node("d", cpus=0), node("e", boot="3")]
    assert [one.id for one in choose(nodes, 2, {}, notes)] == ["a", "c"]
    assert [one.id for one in choose(nodes, 3, {}, notes)] == ["a", "c", "e"]
    assert notes == []
    assert [one.id for one in choose(nodes, None, {}, notes)] == ["a", "c", "e", "b"]
    assert "4 hosts of the load are 3 machines" in notes[0]


@pytest.mark.parametrize(("nodes", "hosts"), [(1, 2), (0, None), (0, 1)])
def test_too_few_nodes_are_one_line(nodes: int, hosts: int | None) -> None:
    with pytest.raises(SpecError, match="with label pool=x") as raised:
        choose([node(f"n{number}") for number in range(nodes)], hosts, {"pool": "x"}, ["node n9 is left out"])
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert "n9 is left out" in str(raised.value)


def result(bounds_s: list[float], *, e2e_s: float, lag_s: float | None = None) -> Mapping[str, Any]:
    return {"metrics": {"e2e": e2e_s}, "window_s": 10.0, "client": {
        "hosts": [{"clock": {"bound_s": bound}} for bound in bounds_s],
        "schedule_lag": None if lag_s is None else {"p99": lag_s}}}


def test_clocks_that_matter_are_told_with_figures() -> None:
    assert clock_notes(result([0.0005, 0.0009], e2e_s=0.01)) == []
    assert clock_notes(result([0.005, 0.001], e2e_s=1.0)) == []
    assert clock_notes(result([0.005], e2e_s=0.1)) == [], "one host has one clock"
    (note,) = clock_notes(result([0.001, 0.005], e2e_s=0.1))
    assert "within 5.00 ms" in note
    assert "5.00% of the median end to end" in note
    assert "0.05% of the window" in note
    (note,) = clock_notes(result([0.0008, 0.0002], e2e_s=0.05, lag_s=0.0004))
    assert "schedule lag p99 of 0.40 ms" in note
    assert clock_notes(result([0.0005, 0.0002], e2e_s=0.05, lag_s=0.0004)) == []


@pytest.mark.parametrize(("args", "said"), [
    (("--hosts", "2"), "--hosts is of the nodes of a Ray cluster"),
    (("--node-label", "a=b"), "--node-label is of the nodes of a Ray cluster"),
    (("--on", "ray", "--calibrate"), "--calibrate measures the client of this machine"),
    (("--on", "slurm"), "give local, ray or ray://HOST:PORT"),
])
def test_mistakes_are_told_before_anything_is_asked(args: tuple[str, ...], said: str, run: Run) -> None:
    done = run("load", "--url", "http://127.0.0.1:9", "--model", "m", "-c", "1", *args)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_without_ray_it_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError\n")
    done = run("load", "--url", "http://127.0.0.1:9", "--model", "m", "-c", "1", "--on", "ray",
               PYTHONPATH=f"{tmp_path}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "quantcheck[ray]" in done.stderr
