"""How much the fake engine holds: chunks per second of one server process on one core, and how late it is itself.

    python benchmarks/fake_engine.py [--streams 1024] [--tokens 64] [--gap-ms 0] [--seconds 5] [--processes 1]

Every stream is a kept connection that asks again as soon as its answer has ended; the client, a process of its own on
another core, reads without parsing. A gap of 0 shows the greatest rate; with a gap the offered rate is streams / gap.
Starts are spread over one answer's time, or with --together made at once (every answer then ends, and is asked for
again, in one burst). All figures are from the server's log, the middle of the run.
"""

import argparse
import json
import multiprocessing
import os
import select
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, lateness, read_log
from quantcheck.engines.fake.script import Script


def drain(port: int, streams: int, tokens: int, seconds: float, spread_s: float, core: int | None) -> None:
    """The client: `streams` connections, each asking for `tokens` again and again."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    body = json.dumps({"model": "fake", "prompt": list(range(64)), "max_tokens": tokens, "stream": True,
                       "stream_options": {"include_usage": True}, "return_token_ids": True}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    epoll, socks = select.epoll(), {}
    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
    began, live, idle = time.monotonic(), streams, list(socks.values())
    end = began + seconds
    while live:
        while idle and time.monotonic() >= began + spread_s * (1 - len(idle) / streams):
            idle.pop().sendall(request)
        for fd, _ in epoll.poll(0.001 if idle else None):
            sock = socks[fd]
            if sock.recv(65_536).endswith(b"\r\n0\r\n\r\n"):
                if time.monotonic() < end:
                    sock.sendall(request)
                else:
                    live -= 1


def measure(script: Script, arguments: argparse.Namespace, folder: Path) -> tuple[list[Truth], float]:
    """The log, and the server's CPU seconds per second in the middle of the run."""
    cores = sorted(os.sched_getaffinity(0))
    with FakeServer(script, log=folder / "log", golden=folder / "golden.jsonl") as engine:
        processes = [psutil.Process(engine.pid), *psutil.Process(engine.pid).children()]
        if arguments.processes == 1 and len(cores) > 1:
            processes[0].cpu_affinity([cores[0]])
        port = int(engine.endpoint.base_url.rpartition(":")[2])
        spread_s = 0.0 if arguments.together else 1e-3 * arguments.tokens * arguments.gap_ms
        client = multiprocessing.Process(target=drain, args=(
            port, arguments.streams, arguments.tokens, arguments.seconds, spread_s,
            cores[-1] if len(cores) > 1 else None))
        client.start()
        time.sleep(arguments.seconds / 3)
        began, before = time.monotonic(), _cpu_s(processes)
        time.sleep(arguments.seconds / 3)
        busy = (_cpu_s(processes) - before) / (time.monotonic() - began)
        client.join()
    return read_log(folder / "golden.jsonl"), busy


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--together", action="store_true")
    arguments = parser.parse_args()
    script = Script(ttft_s=arguments.gap_ms / 1e3, itl_s=arguments.gap_ms / 1e3, processes=arguments.processes)
    print(f"{arguments.streams} streams of {arguments.tokens} tokens, {arguments.gap_ms:g} ms apart, "
          f"{arguments.processes} server process(es)")
    print(f"{'chunks/s':>10}{'us CPU/chunk':>14}{'cores':>7}{'late p50 ms':>13}{'p99 ms':>9}{'max ms':>9}{'>1 ms':>8}")
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            truths, busy = measure(script, arguments, Path(folder))
        sent = np.concatenate([truth.sent_ns for truth in truths])
        low, high = np.quantile(sent, (0.3, 0.7))  # the middle: all streams are there, none has ended
        rate = np.count_nonzero((sent >= low) & (sent < high)) / ((high - low) / 1e9)
        late = lateness([truth for truth in truths if low <= truth.read_ns < high])
        print(f"{rate:10,.0f}{1e6 * busy / rate:14.1f}{busy:7.2f}{1e3 * late.p50_s:13.3f}{1e3 * late.p99_s:9.3f}"
              f"{1e3 * late.max_s:9.3f}{late.share:8.2%}")


if __name__ == "__main__":
    main()
