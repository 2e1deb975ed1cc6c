"""The client against engines: the fake one, whose log is the truth, and the real one."""

import _thread
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.engines.llamacpp import LlamaCppServer
from quantcheck.errors import EngineError, SpecError
from quantcheck.load.client import Pulse
from quantcheck.load.measure import LoadResult, measure
from quantcheck.load.sending import Limits, Sending
from quantcheck.spec.experiment import LlamaCppEngine
from quantcheck.spec.load import Workload
from tests.ggml.tiny import TinyShape, write_tiny
from tests.load.scripted import FINE, Server, answering, schedule, send

pytestmark = pytest.mark.alone

SHORT = Workload(prompt_tokens=8, output_tokens=6)
KEY = "sesame-2718281828"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary folders are made where no other test's are, and must be gone at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


def fake(folder: Path, dialect: Dialect = "completions", **script: Any) -> FakeServer:
    return FakeServer(Script(**{"ttft_s": 0.01, "itl_s": 0.002, **script}), log=folder / "log",
                      golden=folder / "golden.jsonl", dialect=dialect)


def load(
    engine: FakeServer | LlamaCppServer, workload: Workload = SHORT, *, timeout_s: float = 20.0,
    limits: dict[str, Any] | None = None, sending: dict[str, Any] | None = None, **options: Any,
) -> LoadResult:
    numbers = {"concurrency": 4, "requests": 12, "warmup_requests": 1, "seed": 3, "vocab_size": 4096}
    how = Sending(limits=Limits(request_timeout_s=timeout_s, **(limits or {})), **(sending or {}))
    return measure(engine.endpoint, workload, check=engine.check, sending=how, **{**numbers, **options})


def truths(folder: Path) -> dict[int, Truth]:
    return {int(truth.request): truth for truth in read_log(folder / "golden.jsonl") if truth.request.isdecimal()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("dialect", "script"),
    [("completions", {}), ("llama-server", {}), ("completions", {"tokens_per_chunk": 3}),
     ("llama-server", {"tokens_per_chunk": 3}), ("completions", {"eol": "crlf", "comments": True}),
     ("completions", {"split": 7}), ("completions", {"keep_alive": False, "says_close": False}),
     ("completions", {"coalesce": 2})],
)
def test_every_chunk_is_stamped_after_it_was_sent(tmp_path: Path, dialect: Dialect, script: dict[str, Any]) -> None:
    with fake(tmp_path, dialect, **script) as engine:
        found = load(engine, requests=16)
    truth = truths(tmp_path)
    requests, chunks = found.tables["requests"], found.tables["chunks"]
    assert Counter(requests["phase"][requests["outcome"] == "ok"])["measured"] == 16
    zero_ns = found.summary["began_monotonic_ns"]
    late_ns: list[float] = []
    kernel_late_ns: list[float] = []
    for row, number in enumerate(requests["request"]):
        if requests["outcome"][row] != "ok":
            continue
        record, mine = truth[number], chunks["request"] == number
        user_ns = zero_ns + np.rint(1e9 * chunks["user_at_s"][mine]).astype(np.int64)
        sent_ns = zero_ns + round(1e9 * requests["sent_s"][row])
        assert chunks["tokens"][mine].sum() == sum(record.tokens) == record.wanted
        assert np.all(np.diff(user_ns) >= 0)
        late_ns.append(record.read_ns - sent_ns)
        if "split" not in script and "coalesce" not in script:
            assert chunks["tokens"][mine].tolist() == record.tokens.tolist()
            late_ns += (user_ns - record.sent_ns).tolist()
            if not np.isnan(chunks["kernel_at_s"][mine]).any():
                kernel_ns = zero_ns + np.rint(1e9 * chunks["kernel_at_s"][mine]).astype(np.int64)
                kernel_late_ns += (kernel_ns - record.sent_ns).tolist()
    # Nothing is read before it was written, to the nanosecond's rounding; and half of it within a wide bound.
    assert min(late_ns) >= -1
    assert np.median(late_ns) < 50e6
    # The kernel's clock is brought to ours, to some us; it lies before our own reading.
    assert not kernel_late_ns or min(kernel_late_ns) > -1e6
    known = ~np.isnan(chunks["kernel_at_s"])
    assert np.all(chunks["kernel_at_s"][known] <= chunks["user_at_s"][known])
    assert found.summary["token_counts"]["unlike_server"] == 0
    assert found.summary["token_counts"]["prompt_unlike_server"] == 0
    assert found.summary["client"]["transport"] == "plain TCP"


def test_figures_are_the_scripted_ones(tmp_path: Path) -> None:
    with fake(tmp_path, ttft_s=0.05, itl_s=0.01) as engine:
        found = load(engine, Workload(prompt_tokens=8, output_tokens=11), concurrency=2, requests=6)
    metrics = found.summary["metrics"]
    assert found.summary["outcomes"] == {"ok": 6}
    assert (found.summary["prompt_tokens"], found.summary["output_tokens"]) == (48, 66)
    # Never less than scripted (the server sends nothing early), and not wildly more.
    assert 0.05 <= metrics["ttft"] < 0.5
    assert 0.0099 <= metrics["tpot"] < 0.1
    assert 0.149 <= metrics["e2e"] < 1.0
    assert 2 * 11 / 1.0 < metrics["output_throughput"] <= 2 * 11 / 0.148


def test_an_open_loop(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        found = load(engine, concurrency=None, rate=100.0, requests=40, warmup_requests=5)
    requests = found.tables["requests"]
    measured = requests["phase"] == "measured"
    assert found.summary["outcomes"] == {"ok": 40}
    assert np.all(requests["sent_s"][measured] >= requests["due_s"][measured])
    assert np.median(requests["sent_s"][measured] - requests["due_s"][measured]) < 0.02
    assert found.summary["metrics"]["ttft_intended"] >= found.summary["metrics"]["ttft"]
    assert set(truths(tmp_path)) >= set(range(45))


def test_chat(tmp_path: Path) -> None:
    with fake(tmp_path, "chat", role_s=0.005) as engine:
        found = load(engine, sending={"prompt_form": "text"})
    assert found.summary["outcomes"] == {"ok": 12}
    assert found.summary["output_tokens"] == 72
    assert found.summary["metrics"]["ttft"] >= 0.01  # the role's chunk is no token


def test_answers_that_are_not_streamed(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        found = load(engine, sending={"stream": False})
    assert found.summary["outcomes"] == {"ok": 12}
    assert found.summary["output_tokens"] == 72
    assert "not streamed" in found.summary["missing"]["ttft"]


def test_prompts_are_the_same_for_the_same_seed_and_disjoint_from_warmup(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        one, two, other = load(engine), load(engine), load(engine, seed=4)
    assert one.summary["prompts_sha256"] == two.summary["prompts_sha256"] != other.summary["prompts_sha256"]


def test_streams_are_spread_by_their_first_answers_and_measured_at_full_length(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        found = load(engine, Workload(prompt_tokens=8, output_tokens=8), warmup_requests=2)
    truth, requests = truths(tmp_path), found.tables["requests"]
    wanted = {
        phase: [truth[int(number)].wanted for number in np.sort(requests["request"][requests["phase"] == phase])]
        for phase in ("warmup", "measured")
    }
    assert wanted == {"warmup": [2, 8, 4, 8, 6, 8, 8, 8], "measured": [8] * 12}


def test_collection_of_garbage_is_restored(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        load(engine)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("status-429", "rate_limited"), ("status-500", "server_error"), ("status-503", "server_error"),
     ("error-event", "error_event"), ("garbage", "garbage"), ("garbage-http", "cut"), ("cut", "cut"),
     ("reset", "reset"), ("short", "incomplete"), ("no-done", "incomplete"), ("empty", "empty"),
     ("empty-body", "empty"), ("hang", "no_first_byte"), ("stall", "stalled")],
)
def test_each_fault_has_its_outcome_and_its_number(tmp_path: Path, fault: str, outcome: str) -> None:
    with fake(tmp_path, fault=f"{fault}:3") as engine:
        found = load(engine, warmup_requests=0, requests=12, timeout_s=1.0)
    truth = truths(tmp_path)
    requests = found.tables["requests"]
    measured = requests["phase"] == "measured"
    hit = [number for number in requests["request"][measured] if truth[int(number)].fault is not None]
    assert len(hit) in (3, 4)  # the twelfth may be overtaken by a request of the tail
    assert found.summary["outcomes"] == {"ok": 12 - len(hit), outcome: len(hit)}
    assert set(requests["request"][measured & (requests["outcome"] == outcome)]) == set(hit)
    kept = {"error-event": 3, "garbage": 6, "cut": 3, "reset": 3, "short": 3, "no-done": 6, "stall": 3}
    for row in np.flatnonzero(measured & (requests["outcome"] == outcome)):
        assert requests["output_tokens"][row] == kept.get(fault, 0)
    assert found.summary["problem"] is None
    assert len(found.summary["faults"]) == len(hit)


def test_faults_of_an_engine_that_is_slow_to_begin(tmp_path: Path) -> None:
    with fake(tmp_path, fault="slow:4", slow_s=2.0) as engine:
        found = load(engine, warmup_requests=0, timeout_s=20.0, limits={"first_byte_timeout_s": 0.4})
    assert set(found.summary["outcomes"]) == {"ok", "no_first_byte"}


def test_an_engine_that_always_hangs_ends_the_window(tmp_path: Path) -> None:
    with fake(tmp_path, fault="hang") as engine:
        found = load(engine, requests=400, timeout_s=0.3)
    assert "got no whole answer within 0.3 s" in found.summary["problem"]
    assert "ok" not in found.summary["outcomes"]
    assert found.summary["metrics"] == {}


def test_an_engine_that_dies_ends_the_window_with_its_error(tmp_path: Path) -> None:
    with fake(tmp_path, fault="die-after:9") as engine, pytest.raises(EngineError, match="exit status 70"):
        load(engine, requests=400)


def test_an_engine_that_is_killed_ends_the_window_with_its_error(tmp_path: Path) -> None:
    with fake(tmp_path, ttft_s=30.0) as engine:
        timer = threading.Timer(0.5, os.kill, (engine.pid, signal.SIGKILL))
        timer.start()
        began = time.monotonic()
        with pytest.raises(EngineError, match="killed by SIGKILL"):
            load(engine, timeout_s=60.0)
        assert time.monotonic() - began < 20  # not the request's deadline
        timer.join()


def test_nobody_listens() -> None:
    found = measure(Endpoint(f"http://127.0.0.1:{free_port()}", "m", "completions"), SHORT, concurrency=2, requests=4,
                    warmup_requests=0, seed=0, vocab_size=4096)
    assert found.summary["outcomes"] == {"refused": 4}
    assert found.summary["metrics"] == {}


def test_fewer_requests_than_streams_are_refused() -> None:
    with pytest.raises(SpecError, match="below the concurrency of 4"):
        measure(Endpoint("http://127.0.0.1:9", "m", "completions"), SHORT, concurrency=4, requests=3,
                warmup_requests=0, seed=0, vocab_size=4096)


def test_more_workers_than_streams_are_refused() -> None:
    with pytest.raises(SpecError, match="3 workers for 2 streams"):
        send("http://127.0.0.1:9", schedule(4), 2, workers=3)


def test_more_connections_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 512))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: None)
    with pytest.raises(SpecError, match=r"900 connections at once need 964 open files, the limit is 512.*ulimit -n"):
        send("http://127.0.0.1:9", schedule(900), 900, workers=1)


def test_a_worker_that_dies_is_told() -> None:
    def kill(pulse: Pulse) -> None:
        if pulse.done:
            for folder in Path("/proc").iterdir():
                if folder.name.isdecimal() and _ours(folder):
                    os.kill(int(folder.name), signal.SIGKILL)

    with Server(answering(FINE, pause_s=0.01)) as server, \
            pytest.raises(EngineError, match="load worker 1 is gone.*SIGKILL"):
        send(server.url, schedule(5000), 2, watch=kill)


def _ours(folder: Path) -> bool:
    """Whether that process is a worker of this test's, which alone uses its folder."""
    try:
        line = (folder / "cmdline").read_bytes()
    except OSError:
        return False
    return b"quantcheck.load.worker" in line and tempfile.gettempdir().encode() in line


# -- Ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_the_window(tmp_path: Path) -> None:
    with fake(tmp_path, ttft_s=30.0) as engine:
        timer = threading.Timer(0.5, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            load(engine, timeout_s=60.0)


@pytest.mark.parametrize("options", [{}, {"concurrency": None, "rate": 40.0}])
def test_ctrl_c_keeps_what_there_is(tmp_path: Path, options: dict[str, Any]) -> None:
    interrupted_at = [0.0]

    def interrupt(pulse: Pulse) -> None:
        if pulse.done >= 6 and not interrupted_at[0]:
            interrupted_at[0] = time.monotonic()
            _thread.interrupt_main()

    with fake(tmp_path, ttft_s=0.05, itl_s=0.01) as engine:
        found = load(engine, Workload(prompt_tokens=8, output_tokens=6), requests=4000, timeout_s=60.0,
                     sending={"keep_on_interrupt": True}, watch=interrupt, **options)
        assert time.monotonic() - interrupted_at[0] < 5  # 2 s is promised; this machine may be busy
    assert found.interrupted
    assert found.summary["outcomes"]["ok"] >= 1
    assert set(found.summary["outcomes"]) <= {"ok", "cancelled"}
    cancelled = found.tables["requests"]["outcome"] == "cancelled"
    assert 1 <= cancelled.sum() <= 40
    assert found.summary["metrics"]["ttft"] >= 0.05


def test_ctrl_c_at_the_command_line(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with fake(tmp_path, ttft_s=0.05, itl_s=0.01) as engine:
        command = [sys.executable, "-m", "quantcheck", "load", "--url", engine.endpoint.base_url, "--model", "fake",
                   "-c", "3", "-n", "4000", "--prompt-tokens", "8", "--output-tokens", "6", "--out", str(record)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "TMPDIR": tempfile.gettempdir()}) as process:
            deadline = time.monotonic() + 60
            while len(truths(tmp_path)) < 8 and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    report = json.loads(record.read_text())
    assert report["interrupted"] is True
    assert report["loads"][0]["result"]["outcomes"]["ok"] >= 1


# -- the key ---------------------------------------------------------------------------------------------------


def test_the_key_is_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    folder = Path(tempfile.gettempdir())
    seen: set[str] = set()

    def look(_: Pulse | None = None) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                seen.add(path.name)
                assert KEY.encode() not in path.read_bytes(), path
                assert path.parent.stat().st_mode & 0o077 == 0  # prompts are nobody's business either

    with Server(answering(FINE, pause_s=0.01)) as server:
        endpoint = Endpoint(server.url, "m", "completions")
        found = measure(endpoint, SHORT, concurrency=2, requests=40, warmup_requests=1, seed=0, vocab_size=4096,
                        sending=Sending(key_variable="SOME_KEY"), watch=look)
    assert {"job.json", "bodies.bin", "board.i64"} <= seen
    posted = [asked for asked in server.asked if asked.head.startswith(b"POST")]
    assert len(posted) >= 42
    assert all(b"Authorization: Bearer " + KEY.encode() in asked.head for asked in posted)
    assert KEY not in json.dumps(found.summary)
    assert not any(KEY in str(column) for table in found.tables.values() for column in table.values())


# -- the real one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_real_server(tmp_path: Path, concurrency: int) -> None:
    tiny = write_tiny(tmp_path / "tiny.gguf", TinyShape())
    engine = LlamaCppServer(LlamaCppEngine(threads=1), tiny.path, name="tiny", slots=3, tokens=100,
                            log=tmp_path / "log")
    with engine:
        for _ in range(2):
            found = load(engine, Workload(prompt_tokens=40, output_tokens=30), concurrency=concurrency, requests=9,
                         vocab_size=272)
            assert found.summary["outcomes"] == {"ok": 9}
            assert (found.summary["prompt_tokens"], found.summary["output_tokens"]) == (360, 270)
            assert found.summary["engine_idle_before"] is True
            counts = found.summary["token_counts"]
            assert counts["counted_by"] == {"server count": 9}
            assert not any(counts[key] for key in ("unlike_server", "longer_than_asked", "shorter_than_asked",
                                                   "prompt_unlike_server"))
            assert {"output_throughput", "request_throughput", "ttft", "tpot", "itl", "e2e"} <= set(
                found.summary["metrics"])
