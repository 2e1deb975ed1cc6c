"""What `quantcheck load` promises, small and fast, as a user runs it; benchmarks/load_*.py do the same at full size."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.stats import kstest

from quantcheck.cli.load import command
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.load.columns import columns
from quantcheck.load.exchange import Exchange
from quantcheck.load.flight import Fault
from quantcheck.load.records import read_exchange
from quantcheck.store import read_table

pytestmark = pytest.mark.alone

OUTCOMES = {
    None: "ok", "status-429": "rate_limited", "status-503": "server_error", "error-event": "error_event", "cut": "cut",
    "reset": "reset", "short": "incomplete", "garbage": "garbage", "empty": "empty", "hang": "no_first_byte",
    "stall": "stalled",
}




def load(folder: Path, script: Script, *options: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The report, and the raw rows of the measured requests."""
    with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
        done = CliRunner().invoke(command, [
            "--url", engine.endpoint.base_url, "--model", "fake", "--prompt-tokens", "8", "--vocab-size", "4096",
            "--out", str(folder / "run.json"), "--raw", str(folder / "run.parquet"), "--quiet", *options])
    assert done.exit_code in (0, 1), done.output
    raw = read_table(folder / "run.parquet")
    return json.loads((folder / "run.json").read_text()), {
        key: values[raw["phase"] == "measured"] for key, values in raw.items()}


def truths(folder: Path) -> dict[int, Truth]:
    return {int(truth.request): truth for truth in read_log(folder / "truth.jsonl") if truth.request.isdecimal()}


@pytest.mark.parametrize("told", [{}, {"token_ids": False, "usage": "every"}, {"token_ids": False}],
                         ids=["ids", "running usage", "total only"])
@pytest.mark.parametrize("pattern", [(1, 4, 2, 3), (4,)])
def test_several_tokens_a_chunk(tmp_path: Path, pattern: tuple[int, ...], told: dict[str, Any]) -> None:
    script = Script(ttft_s=0.1, itl_s=0.01, token_pattern=pattern, **told)
    report, _ = load(tmp_path, script, "-c", "4", "-n", "16", "--output-tokens", "32")
    metrics, counts = report["loads"][0]["result"]["metrics"], report["loads"][0]["result"]["token_counts"]
    after_first_s = 0.01 * sum(script.chunk_tokens(32)[1:])
    # The server sends nothing early. The upper bounds are for a busy machine: the benchmark asks for 1%.
    assert 0.99 * after_first_s / 31 < metrics["tpot"] < 1.3 * after_first_s / 31
    rate = 4 * 32 / (0.1 + after_first_s)
    assert 0.7 * rate < metrics["output_throughput"] < 1.02 * rate
    assert counts["unlike_server"] == (16 if counts["counted_by"] == {"one per chunk": 16} else 0)
    if counts["counted_by"] != {"one per chunk": 16}:
        assert 0.0098 < metrics["itl"] < 0.013
    else:
        assert "itl" not in metrics
        assert "not which chunk" in report["loads"][0]["result"]["missing"]["itl"]
    assert metrics["output_length"] == 32


def test_an_answer_without_a_total_is_scaled_as_the_others() -> None:
    # The run's own end cuts answers off before the server tells their total: they must not count less than others.
    chunk = b'data: {"choices": [{"text": "four words in one"}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 8}}\n\ndata: [DONE]\n\n'
    whole, cut_off = [chunk, chunk, usage], [chunk]
    ends: list[tuple[list[bytes], Fault | None]] = [(whole, None), (cut_off, "cancelled")]
    records = [read_exchange(Exchange(
        request=number, stream=number, phase="measured", prompt_tokens=8, wanted=8, forced=True, due_ns=None, sent_ns=0,
        end_ns=9, status=200, headers={}, fault=fault, detail="", pieces=pieces,
        user_ns=np.arange(len(pieces)), kernel_ns=np.zeros(len(pieces), np.int64)), "completions")
        for number, (pieces, fault) in enumerate(ends)]
    assert [record.outcome for record in records] == ["ok", "cancelled"]
    assert columns(records).weight.tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_loop_sends_by_its_process_and_sees_a_stall(tmp_path: Path, workers: int) -> None:
    script = Script(ttft_s=0.005, itl_s=0.001, stall_at_s=1.6, stall_s=1.0)
    report, raw = load(tmp_path, script, "--rate", "200", "-n", "500", "--output-tokens", "2", "--workers",
                       str(workers))
    result = report["loads"][0]["result"]
    assert result["outcomes"] == {"ok": 500}
    _, first = np.unique(raw["request"], return_index=True)
    due, sent = raw["due_s"][first], raw["sent_s"][first]
    last = np.array([raw["at_s"][raw["request"] == request].max() for request in raw["request"][first]])
    assert len(first) == 500
    assert np.all(sent >= due)
    assert kstest(np.diff(np.sort(sent)), "expon", args=(0, 1 / 200)).pvalue > 1e-3
    begin_ns = min(truth.read_ns for truth in read_log(tmp_path / "truth.jsonl")) + 1.6e9
    end = (begin_ns - result["began_monotonic_ns"]) / 1e9 + 1.0
    inside = (due > end - 0.95) & (due < end - 0.1)
    assert inside.sum() > 60  # 170 are due then where the client starts at once; none is left out
    assert np.all(last[inside] - due[inside] >= end - due[inside])
    assert np.all(sent[inside] < end)
    assert result["percentiles"]["e2e_intended"]["p95"] > 0.3


def test_ten_kinds_of_fault_are_the_servers_own(tmp_path: Path) -> None:
    kinds = [kind for kind in OUTCOMES if kind is not None]
    script = Script(ttft_s=0.005, itl_s=0.001, faults=tuple((kind, 0.05) for kind in kinds), seed=1)
    report, raw = load(tmp_path, script, "-c", "32", "-n", "200", "--output-tokens", "8", "--request-timeout", "2",
                       "--first-byte-timeout", "1")
    truth = truths(tmp_path)
    found: dict[int, tuple[str, int]] = {}
    for request, outcome, tokens in zip(*(raw[key].tolist() for key in ("request", "outcome", "tokens")), strict=True):
        found[request] = (outcome, found.get(request, ("", 0))[1] + tokens)
    assert len(found) == 200
    assert found == {request: (OUTCOMES[truth[request].fault], int(truth[request].tokens.sum())) for request in found}
    assert {truth[request].fault for request in found} == set(OUTCOMES)
    result = report["loads"][0]["result"]
    assert result["outcomes"] == dict(Counter(outcome for outcome, _ in found.values()))
    assert result["problem"] is None
    assert report["duration_s"] < 60


def test_a_capacity_is_bracketed(tmp_path: Path) -> None:
    # One stream too many: all wait for 22 ms, when the streams are spread evenly, or one of seven waits for 130 ms.
    script = Script(ttft_s=0.02, itl_s=0.01, slots=6)
    report, _ = load(tmp_path, script, "--find-max", "concurrency", "-c", "4", "--output-tokens", "12", "-n", "40",
                     "--slo-ttft-ms", "35", "--slo-share", "0.8")
    search = report["search"]
    assert search["unit"] == "streams"
    assert 5 <= search["highest"] < search["lowest"] <= 8
