"""One load from several hosts: its one schedule split over actors, watched, and brought back on one clock.

Does what `load.client.run_schedule` does on this machine. Request i goes to host i % hosts, whose workers are numbered
so that each takes what it would take if all were on one host (`Parcel.share`).
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from quantcheck.distributed.cluster import connected
from quantcheck.distributed.load_host import loopback_of
from quantcheck.distributed.load_link import ANSWER_S, Brought, Link
from quantcheck.distributed.nodes import Node, Nodes
from quantcheck.errors import EngineError, SpecError
from quantcheck.load.client import WATCH_S, Pulse, Traffic, traffic_of, workers_for
from quantcheck.load.parcel import pack
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import Target
from quantcheck.runner.progress import Silent

__all__ = ["LoadHosts", "choose", "hosts_on"]

END_S = 2.0
"""How long hosts may take to let go, and to answer after Ctrl-C."""
ROUNDS, HURRIED = 50, 8
"""Round trips of one reading of a clock."""
HEAD_START_NS, HEAD_TRIPS = 50_000_000, 8
"""The load begins so long after all are ready, and so many round trips: every host must have heard of it."""


@contextmanager
def hosts_on(on: str, hosts: int | None, labels: Mapping[str, str]) -> Iterator["LoadHosts"]:
    """An actor on each of `hosts` nodes (None: all) with these labels of the cluster `ray` or `ray://HOST:PORT`.

    Raises as `connected`, and `SpecError` when there are too few nodes.
    """
    with connected(on) as ray:
        notes = _Notes()
        chosen = choose(Nodes(ray, labels, notes).alive(), hosts, labels, notes.said)
        found = LoadHosts(ray, [Link(ray, node) for node in chosen], notes.said)
        try:
            found.meet()
            yield found
        finally:
            found.end()


def choose(nodes: Sequence[Node], hosts: int | None, labels: Mapping[str, str], notes: list[str]) -> list[Node]:
    """The nodes of a load: on as many machines as there are. Adds to `notes`; raises `SpecError` for too few."""
    able = [node for node in nodes if node.cpus >= 1]
    wanted = hosts or max(1, len(able))
    if len(able) < wanted:
        which = "".join(f" with label {name}={value}" for name, value in labels.items())
        why = "".join(f"; {note}" for note in notes)
        raise SpecError(f"--hosts: {wanted} are asked for, and the cluster has {len(able)} nodes with a CPU{which} "
                        f"that can be used; start more, or ask for fewer (see `ray status`){why}")
    machines = {node.host: node for node in reversed(able)}
    firsts = [node for node in able if machines[node.host] is node]
    chosen = [*firsts, *(node for node in able if node not in firsts)][:wanted]
    if wanted > len(firsts):
        notes.append(f"the {wanted} hosts of the load are {len(firsts)} machine{'s' * (len(firsts) > 1)}: nodes of one "
                     "kernel share its cores")
    return chosen


class _Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class LoadHosts:
    """A `load.client.Send` over several hosts; `notes`: what a reader of the record must know of them."""

    def __init__(self, ray: Any, hosts: Sequence[Link], notes: Sequence[str] = ()) -> None:
        self._ray, self._hosts, self.notes = ray, list(hosts), list(notes)

    def meet(self) -> None:
        """Waits until all are there. Raises `SpecError` when one does not come."""
        for host in self._hosts:
            host.meet()

    def end(self) -> None:
        """Ends the actors and what they run."""
        with suppress(self._ray.exceptions.RayError, ConnectionError):  # the cluster's end is theirs, too
            self._wait(self._hosts, "end")
            for host in self._hosts:
                host.kill()

    def __call__(
        self, target: Target, schedule: Schedule | Callable[[], Schedule], *, path: str, streams: int | None,
        rate: float | None = None, limits: Limits, workers: int | None = None, kernel_stamps: bool = True,
        key_variable: str | None = None, scratch: Path | None = None, watch: Callable[[Pulse], None] | None = None,
        keep_on_interrupt: bool = False,
    ) -> Traffic:
        """As `run_schedule`; `workers` are those of each host. With fewer streams than hosts the first ones make the
        load. A host that is lost ends it: `facts["lost"]` counts the measured requests that it had sent. Raises
        `EngineError` when none is left."""
        hosts = self._hosts[:streams]
        count = len(hosts)
        _check_reach(target, hosts)
        each = workers_for(None if streams is None else streams // count, rate and rate / count, workers,
                           min(host.cores for host in hosts))
        interrupted, start_ns = False, 0
        try:
            asked = [host.ask("begin", range(number, each * count, count), each * count, key_variable)
                     for number, host in enumerate(hosts)]
            plan = schedule() if callable(schedule) else schedule
            parcel = pack(target, plan, path=path, streams=streams or 0, limits=limits, workers=each * count,
                          kernel_stamps=kernel_stamps, key_variable=key_variable)
            shares = [parcel.share(number, count) for number in range(count)]
            try:
                for host, begun in zip(hosts, asked, strict=True):
                    host.answer(begun)
                for host, given in [(host, host.ask("give", share)) for host, share in zip(hosts, shares, strict=True)]:
                    host.answer(given)
                for host, share in zip(hosts, shares, strict=True):
                    host.reset(share.measured_of(len(share.requests)))
                    host.read_clock(ROUNDS)
                start_ns = time.monotonic_ns() + HEAD_START_NS + HEAD_TRIPS * max(host.rtt_ns for host in hosts)
                for host in hosts:
                    host.start(start_ns)
                self._watch(hosts, len(plan), watch)
            except KeyboardInterrupt:
                if not keep_on_interrupt:
                    raise
                interrupted = True
                for host in self._wait(hosts, "leave"):
                    host.lost = f"it did not answer within {END_S:g} s of Ctrl-C"
            ended_ns = time.monotonic_ns()
            with tempfile.TemporaryDirectory(prefix="quantcheck-load-", dir=scratch) as folder:
                found = [_brought(host, Path(folder), plan, start_ns, hurried=interrupted) for host in hosts]
        finally:
            self._wait(hosts, "end")
        lost = [(host, share) for host, share in zip(hosts, shares, strict=True) if host.lost is not None]
        facts: dict[str, Any] = {"interrupted": interrupted, "hosts": [
            host.as_json(each, brought) for host, brought in zip(hosts, found, strict=True)]}
        if lost:
            facts["lost"] = sum(share.measured_of(host.pulse["sent"]) for host, share in lost)
            first, seconds = lost[0][0], (ended_ns - start_ns) / 1e9
            facts["ended_early"] = (f"node {first.node.address} was lost after {seconds:.1f} s ({first.lost}), and "
                                    "what it had received with it")
            if len(lost) == count:
                raise EngineError(f"{facts['ended_early']}; no host of the load is left: see `ray status`")
        return traffic_of((one for brought in found for one in brought), parcel.job, start_ns, facts)

    def _watch(self, hosts: Sequence[Link], requests: int, watch: Callable[[Pulse], None] | None) -> None:
        """Until all have ended. What ends the load on one ends it on all."""
        began, told_to_leave = time.monotonic(), False
        while running := [host for host in hosts if host.lost is None and not host.pulse["finished"]]:
            left = sum(host.pulse["left"] for host in hosts if host.lost is None)
            asked = [host.question(left - host.pulse["left"]) for host in running]
            answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=WATCH_S)
            for host in running:
                host.hear(answered.__contains__)
            if not told_to_leave and any(host.lost is not None or host.pulse["stopped"] for host in hosts):
                told_to_leave = True
                for host in running:
                    host.ask("leave")
            if watch is not None:
                watch(Pulse(time.monotonic() - began, requests, *(
                    sum(host.pulse[column] for host in hosts) for column in ("sent", "done", "failed", "busy"))))
            time.sleep(WATCH_S)

    def _wait(self, hosts: Sequence[Link], method: str) -> list[Link]:
        """Asks all that are there, and waits for a moment: those that have not answered."""
        asked = {host.ask(method): host for host in hosts if host.lost is None}
        _, open_ = self._ray.wait(list(asked), num_returns=len(asked), timeout=END_S) if asked else ([], [])
        return [asked[question] for question in open_]


def _brought(host: Link, folder: Path, plan: Schedule, start_ns: int, *, hurried: bool) -> Brought:
    """What a host has, after the second reading of its clock; nothing when it is lost, or had not begun."""
    if host.lost is not None or not start_ns:
        return []
    try:
        timeout_s = END_S if hurried else ANSWER_S
        host.read_clock(HURRIED if hurried else ROUNDS, timeout_s)
        return host.bring(folder, plan, start_ns, timeout_s)
    except EngineError:
        if host.lost is None:
            raise
        return []


def _check_reach(target: Target, hosts: Sequence[Link]) -> None:
    """127.0.0.1 is another machine on each of them."""
    try:
        if not ip_address(target.address.partition("%")[0]).is_loopback:
            return
    except ValueError:
        return
    for host in hosts:
        if host.loopback != loopback_of():
            raise SpecError(f"{target.url}: is an address of this machine alone, and node {host.node.address} is "
                            "another: give one that all nodes reach")
