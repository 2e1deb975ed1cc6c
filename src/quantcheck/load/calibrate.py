"""What this client can do on this machine: its errors of timing against a server whose every chunk time is known, and
the most chunks per second that it receives from a server that never waits.

The server is the fake engine, on the same machine and so on the same cores: the figures are a lower bound of what the
client could do alone.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.load.bodies import path
from quantcheck.load.build import build_schedule
from quantcheck.load.client import Traffic, run_schedule
from quantcheck.load.figures import spread
from quantcheck.load.records import Record, read_exchange
from quantcheck.load.sending import Limits
from quantcheck.load.target import target_of
from quantcheck.spec.load import Workload

__all__ = ["calibrate", "timing_errors"]

VOCABULARY = 32_000
FLAT_OUT_TOKENS = 256
FLAT_OUT_STREAMS = 64
FLAT_OUT_S = 1.0
GUESSED_RATE = 40_000
TRUTH_S = 2.0
LEAST_PER_STREAM = 2


def calibrate(
    *, streams: int, prompt_tokens: int, output_tokens: int, ttft_s: float = 0.1, itl_s: float = 0.02,
    workers: int | None = None, kernel_stamps: bool = True, scratch: Path | None = None,
) -> dict[str, Any]:
    """Measures this client at a run's own shape: `streams` at once, `itl_s` between the tokens of each.

    `scratch`: where its files go meanwhile; none: the system's temporary folder. Takes some seconds. Raises what
    `run_schedule` raises, and `EngineError` when the fake engine fails.
    """
    with tempfile.TemporaryDirectory(prefix="quantcheck-calibrate-", dir=scratch) as name:
        folder = Path(name)
        requests = max(LEAST_PER_STREAM * streams, round(TRUTH_S / (ttft_s + itl_s * output_tokens)) * streams)
        truth_script = Script(ttft_s=ttft_s, itl_s=itl_s)
        traffic = _load(folder, truth_script, streams, requests, prompt_tokens, output_tokens, workers, kernel_stamps)
        records = [read_exchange(exchange, "completions") for exchange in traffic.exchanges]
        errors = timing_errors(records, read_log(folder / "truth.jsonl"))
        flat = min(streams, FLAT_OUT_STREAMS)
        answers = max(2 * flat, round(GUESSED_RATE * FLAT_OUT_S / FLAT_OUT_TOKENS))
        fast = _load(folder, Script(ttft_s=0.0, itl_s=0.0), flat, answers, prompt_tokens, FLAT_OUT_TOKENS, workers,
                     kernel_stamps)
    return {
        "streams": streams,
        "output_tokens": output_tokens,
        "ttft_s": ttft_s,
        "itl_s": itl_s,
        **errors,
        "cpu_s_per_1000_chunks": 1e3 * traffic.facts["cpu_s"] / max(1, _reads(traffic)),
        "flat_out_streams": flat,
        "chunks_per_s": _rate(fast),
    }


def _load(
    folder: Path, script: Script, streams: int, requests: int, prompt_tokens: int, output_tokens: int,
    workers: int | None, kernel_stamps: bool,
) -> Traffic:
    with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
        schedule = build_schedule(
            engine.endpoint, Workload(prompt_tokens=prompt_tokens, output_tokens=output_tokens), seed=0,
            requests=requests, warmup_requests=1, concurrency=streams, vocab_size=VOCABULARY)
        return run_schedule(
            target_of(engine.endpoint.base_url), schedule, path=path("completions"), streams=streams,
            limits=Limits(request_timeout_s=60.0), workers=workers, kernel_stamps=kernel_stamps, scratch=folder)


def timing_errors(records: Sequence[Record], truths: Sequence[Truth]) -> dict[str, Any]:
    """What the client reports minus the truth, over the measured requests that ended well; s.

    TTFT's truth is from the request's arrival in the server's kernel to the moment just before its first chunk was
    sent; a gap's truth is the time between two such moments. Also how late the server itself was (`server_late`).
    """
    by_request = {truth.request: truth for truth in truths}
    ttft, gaps, late, missing = [], [np.empty(0)], [np.empty(0)], 0
    for record in records:
        if record.outcome != "ok" or record.exchange.phase != "measured":
            continue
        truth = by_request.get(str(record.exchange.request))
        own = record.stamps_ns
        if truth is None or len(truth.sent_ns) != len(own):
            missing += 1
            continue
        sent = np.array(truth.sent_ns)
        ttft.append(((own[0] - record.exchange.sent_ns) - (sent[0] - truth.arrived_ns)) / 1e9)
        gaps.append((np.diff(own) - np.diff(sent)) / record.chunk_tokens[1:] / 1e9)
        late.append((sent - np.array(truth.due_ns)) / 1e9)
    return {
        "requests": len(ttft),
        "not_in_the_log": missing,
        "ttft_error": spread(np.array(ttft)),
        "itl_error": spread(np.abs(np.concatenate(gaps))),
        "server_late": spread(np.concatenate(late)),
    }


def _reads(traffic: Traffic) -> int:
    return sum(len(exchange.pieces) for exchange in traffic.exchanges)


def _rate(traffic: Traffic) -> float:
    """Chunks per second between the first and the last of the measured requests' reads."""
    stamps = np.concatenate([exchange.user_ns for exchange in traffic.exchanges if exchange.phase == "measured"])
    events = sum(piece.count(b"\n\ndata:") + 1 for exchange in traffic.exchanges if exchange.phase == "measured"
                 for piece in exchange.pieces if piece)
    return float(events / max(1e-9, (stamps.max() - stamps.min()) / 1e9))
