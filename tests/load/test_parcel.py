"""A load split over hosts is the same load."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.load.handover import Request
from quantcheck.load.parcel import Parcel, pack
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import Target
from quantcheck.load.worker import _requests

HERE = Target("http://127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1", "", False, None)


def parcel_of(*, streams: int, warmup: int, measured: int, tail: int, workers: int) -> Parcel:
    """`warmup` a stream; in an open loop in all. Bodies of unlike lengths, due times that come in pairs."""
    first = warmup * streams if streams else warmup
    count = first + measured + tail
    stream = np.full(count, -1, np.int32)
    if streams:
        stream[:first] = np.repeat(np.arange(streams), warmup)
    plan = Schedule(
        phase=np.repeat(np.arange(3, dtype=np.int8), [first, measured, tail]),
        due_ns=None if streams else np.arange(count, dtype=np.int64) // 2 * 1_000_003,
        stream=stream, prompt_tokens=np.zeros(count, np.int32), output_tokens=np.ones(count, np.int32), forced=True,
        bodies=[b"%d" % n * (1 + n % 3) for n in range(count)], sha256="",
    )
    return pack(HERE, plan, path="/v1/completions", streams=streams, limits=Limits(), workers=workers,
                kernel_stamps=True, key_variable=None)


Sent = tuple[int, int, int, int, bytes]


def taken(parcel: Parcel, worker: int) -> tuple[list[list[Sent]], list[Sent], list[Sent]]:
    """What a worker takes of the parcel, by the worker's own code: index, stream, phase, due time and bytes."""

    def plain(request: Request) -> Sent:
        head, body = request.parts
        return request.index, request.stream, request.phase, request.due_ns, head + bytes(body)

    with tempfile.TemporaryDirectory() as name:
        parcel.write(Path(name))
        warmup, measured, tail = _requests(parcel.job, Path(name), worker)
        return [[plain(one) for one in own] for own in warmup], [*map(plain, measured)], [*map(plain, tail)]


@settings(deadline=None)
@given(hosts=st.integers(1, 5), each=st.integers(1, 3), streams=st.integers(0, 20), warmup=st.integers(1, 3),
       measured=st.integers(20, 60), tail=st.integers(1, 20))
def test_every_worker_sends_the_same_from_whichever_host(
    hosts: int, each: int, streams: int, warmup: int, measured: int, tail: int
) -> None:
    streams = streams and max(streams, hosts * each)
    whole = parcel_of(streams=streams, warmup=warmup, measured=measured, tail=tail, workers=hosts * each)
    shares = [whole.share(host, hosts) for host in range(hosts)]
    assert Counter(np.concatenate([share.requests[:, 0] for share in shares]).tolist()) == Counter(
        range(len(whole.requests))), "every request goes to one host"
    for worker in range(hosts * each):
        assert taken(shares[worker % hosts], worker) == taken(whole, worker)


@pytest.mark.parametrize("streams", [0, 6])
def test_a_host_holds_no_more_than_its_share(streams: int) -> None:
    whole = parcel_of(streams=streams, warmup=2, measured=30, tail=6, workers=3)
    shares = [whole.share(host, 3) for host in range(3)]
    assert sum(len(share.bodies) for share in shares) == len(whole.bodies)
    assert {len(share.bodies) for share in shares} == {len(whole.bodies) // 3} or not streams
    first = shares[0]
    assert first.measured_of(len(first.bodies)) == 10
    assert first.measured_of(0) == 0
    assert first.measured_of(10**6) == 10
