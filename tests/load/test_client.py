"""The client against engines: the fake one, whose log is the truth, and the real one."""

import _thread
import gc
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from quantcheck.engines.llamacpp import LlamaCppServer
from quantcheck.errors import EngineError, SpecError
from quantcheck.load import LoadResult, measure
from quantcheck.spec.experiment import LlamaCppEngine, Workload
from tests.ggml.tiny import TinyShape, write_tiny

SHORT = Workload(prompt_tokens=8, output_tokens=6)


def fake(folder: Path, dialect: Dialect = "openai", **script: Any) -> FakeServer:
    return FakeServer(Script(**{"ttft_s": 0.01, "itl_s": 0.002, **script}), log=folder / "log",
                      golden=folder / "golden.jsonl", dialect=dialect)


def load(engine: FakeServer | LlamaCppServer, workload: Workload = SHORT, **options: Any) -> LoadResult:
    numbers = {"concurrency": 4, "requests": 12, "warmup_requests": 1, "seed": 3, "vocab_size": 4096, "timeout_s": 20.0}
    return measure(engine.endpoint, workload, check=engine.check, **{**numbers, **options})


def golden(folder: Path) -> dict[int, dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]
    return {int(record["request"]): record for record in records}


@pytest.mark.parametrize("tokens_per_chunk", [1, 3])
@pytest.mark.parametrize("dialect", ["openai", "llama-server"])
def test_every_chunk_is_stamped_after_it_was_sent(tmp_path: Path, dialect: Dialect, tokens_per_chunk: int) -> None:
    with fake(tmp_path, dialect, tokens_per_chunk=tokens_per_chunk) as engine:
        found = load(engine, requests=16)
    truth = golden(tmp_path)
    requests, chunks = found.tables["requests"], found.tables["chunks"]
    assert Counter(requests["phase"][requests["outcome"] == "ok"])["measured"] == 16
    late_ns: list[float] = []
    for row, number in enumerate(requests["request"]):
        if requests["outcome"][row] == "ok":
            record, mine = truth[number], chunks["request"] == number
            at_ns = found.summary["began_monotonic_ns"] + np.rint(1e9 * chunks["at_s"][mine]).astype(np.int64)
            sent_ns = found.summary["began_monotonic_ns"] + round(1e9 * requests["sent_s"][row])
            assert chunks["tokens"][mine].tolist() == record["tokens"]
            assert np.all(np.diff(at_ns) >= 0)
            late_ns += [record["read_ns"] - sent_ns, *(at_ns - np.array(record["sent_ns"]))]
    # Nothing is read before it was written, to the nanosecond's rounding; and half of it within a wide bound.
    assert min(late_ns) >= -1
    assert np.median(late_ns) < 50e6
    assert found.summary["token_counts"]["unlike_server"] == 0
    assert found.summary["token_counts"]["prompt_unlike_server"] == 0


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


def test_prompts_are_the_same_for_the_same_seed_and_disjoint_from_warmup(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        one, two, other = load(engine), load(engine), load(engine, seed=4)
    assert one.summary["prompts_sha256"] == two.summary["prompts_sha256"] != other.summary["prompts_sha256"]


def test_streams_are_spread_by_their_first_answers_and_measured_at_full_length(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        found = load(engine, Workload(prompt_tokens=8, output_tokens=8), warmup_requests=2)
    truth, requests = golden(tmp_path), found.tables["requests"]
    wanted = {
        phase: [truth[int(number)]["wanted"] for number in np.sort(requests["request"][requests["phase"] == phase])]
        for phase in ("warmup", "measured")
    }
    assert wanted == {"warmup": [2, 8, 4, 8, 6, 8, 8, 8], "measured": [8] * 12}


def test_collection_of_garbage_is_restored(tmp_path: Path) -> None:
    with fake(tmp_path) as engine:
        load(engine)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("status-429", "http_error"), ("status-500", "http_error"), ("error-event", "error_event"),
     ("garbage", "error_event"), ("cut", "connection_error"), ("reset", "connection_error"), ("short", "incomplete"),
     ("no-done", "incomplete"), ("empty", "incomplete"), ("hang", "timeout"), ("stall", "timeout")],
)
def test_each_fault_has_its_outcome_and_its_number(tmp_path: Path, fault: str, outcome: str) -> None:
    with fake(tmp_path, fault=f"{fault}:3") as engine:
        found = load(engine, warmup_requests=0, requests=12, timeout_s=1.0)
    truth = golden(tmp_path)
    requests = found.tables["requests"]
    measured = requests["phase"] == "measured"
    hit = [number for number in requests["request"][measured] if truth[int(number)]["fault"] is not None]
    assert len(hit) in (3, 4)  # the twelfth may be overtaken by a request of the tail
    assert found.summary["outcomes"] == {"ok": 12 - len(hit), outcome: len(hit)}
    assert set(requests["request"][measured & (requests["outcome"] == outcome)]) == set(hit)
    kept = {"error-event": 3, "garbage": 6, "cut": 3, "reset": 3, "short": 3, "no-done": 6, "stall": 3}
    for row in np.flatnonzero(measured & (requests["outcome"] == outcome)):
        assert requests["output_tokens"][row] == kept.get(fault, 0)
    assert found.summary["problem"] is None
    assert len(found.summary["faults"]) == len(hit)


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


def test_nobody_listens(tmp_path: Path) -> None:
    found = measure(Endpoint("http://127.0.0.1:9", "m", "openai"), SHORT, concurrency=2, requests=4, warmup_requests=0,
                    seed=0, vocab_size=4096, timeout_s=5.0)
    assert found.summary["outcomes"] == {"connection_error": 4}
    assert found.summary["metrics"] == {}


def test_ctrl_c_ends_the_window(tmp_path: Path) -> None:
    with fake(tmp_path, ttft_s=30.0) as engine:
        timer = threading.Timer(0.5, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            load(engine, timeout_s=60.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "quantcheck-load"]


def test_fewer_requests_than_streams_are_refused() -> None:
    with pytest.raises(SpecError, match="below the concurrency of 4"):
        measure(Endpoint("http://127.0.0.1:9", "m", "openai"), SHORT, concurrency=4, requests=3, warmup_requests=0,
                seed=0, vocab_size=4096, timeout_s=5.0)


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
            assert found.summary["token_counts"] == {
                "counted_by": {"server count": 9}, "unlike_server": 0, "longer_than_asked": 0,
                "prompt_unlike_server": 0}
            assert {"output_throughput", "request_throughput", "ttft", "tpot", "itl", "e2e"} == set(
                found.summary["metrics"])
