"""GuideLLM in our client's place: what its report becomes, and what happens where it fails. A script stands for it."""

import json
import stat
import sys
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.base import Endpoint
from quantcheck.errors import EngineError, EngineUnavailable
from quantcheck.load import guidellm
from quantcheck.load.guidellm import GuideLlm, guidellm_version, measure_with_guidellm
from quantcheck.load.guidellm_report import Asked, read_report
from quantcheck.load.measure import LoadResult
from quantcheck.spec.load import SLO, Arrival, Workload

WRITTEN = Path(__file__).parents[1] / "importers" / "data" / "guidellm-f16.json"
"""By GuideLLM 0.8.1: 6 requests of 64 and 16 tokens over 2 streams, against llama.cpp's server."""
ALL = Asked(warmup=0, measured=6, prompt_tokens=64, output_tokens=16, concurrency=2, rate=None)
NOW = (1_000_000_000_000, 1795880390.0)


def report() -> Any:
    return json.loads(WRITTEN.read_text(encoding="utf-8"))


def read(document: Any, asked: Asked = ALL, slo: SLO | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    return read_report(json.dumps(document), asked, name="guidellm.json", now=NOW, slo=slo)


def test_what_a_request_took_is_what_guidellm_says_of_it() -> None:
    document = report()
    result, tables = read(document)
    theirs = document["benchmarks"][0]["requests"]["successful"]
    assert result["measured_by"] == "guidellm"
    assert result["client"]["version"] == "0.8.1"
    assert result["outcomes"] == {"ok": 6}
    assert result["metrics"]["ttft"] * 1e3 == pytest.approx(median(r["time_to_first_token_ms"] for r in theirs))
    assert result["metrics"]["tpot"] * 1e3 == pytest.approx(median(r["inter_token_latency_ms"] for r in theirs),
                                                            abs=1e-3)
    # Theirs ends with the HTTP response, ours with the last token.
    took = [r["info"]["timings"]["last_token_iteration"] - r["info"]["timings"]["request_start"] for r in theirs]
    assert result["metrics"]["e2e"] == pytest.approx(median(took))
    assert result["metrics"]["e2e"] < median(r["request_latency"] for r in theirs)
    assert "single tokens" in result["missing"]["itl"]
    assert "itl" not in result["metrics"]
    assert "chunks" not in tables
    assert tables["requests"]["output_tokens"].tolist() == [16] * 6
    assert result["intervals"]["ttft"][0] <= result["metrics"]["ttft"] <= result["intervals"]["ttft"][1]


def test_stamps_become_monotonic_by_one_reading_of_both_clocks() -> None:
    document = report()
    result, tables = read(document)
    first = min(r["info"]["timings"]["request_start"] for r in document["benchmarks"][0]["requests"]["successful"])
    sent = NOW[0] + round((first - NOW[1]) * 1e9)
    at = result["began_monotonic_ns"] + tables["requests"]["sent_s"][0] * 1e9
    assert at == pytest.approx(sent, abs=2e3)


def test_warm_up_and_tail_are_told_apart_by_the_order_of_beginning() -> None:
    result, tables = read(report(), Asked(2, 3, 64, 16, 2, None))
    assert tables["requests"]["phase"].tolist() == ["warmup"] * 2 + ["measured"] * 3 + ["tail"]
    assert result["requests"] == 3
    assert np.all(np.diff(tables["requests"]["sent_s"]) >= 0)


def test_no_two_requests_of_a_stream_overlap_and_there_are_as_many_streams_as_asked() -> None:
    _, tables = read(report())
    table = tables["requests"]
    assert set(table["stream"]) == {0, 1}
    for stream in (0, 1):
        own = table["stream"] == stream
        assert np.all(table["sent_s"][own][1:] >= table["end_s"][own][:-1] - 0.05)


def test_an_answer_that_ended_early_is_none_though_guidellm_counts_it() -> None:
    document = report()
    document["benchmarks"][0]["requests"]["successful"][2]["output_tokens"] = 9
    result, tables = read(document)
    assert result["outcomes"] == {"ok": 5, "incomplete": 1}
    assert any("9 of 16 tokens" in fault for fault in result["faults"])
    assert (tables["requests"]["outcome"] == "ok").sum() == 5


def test_failed_requests_keep_their_reason_and_break_the_slo() -> None:
    document = report()
    kept = document["benchmarks"][0]["requests"]
    failed = kept["successful"].pop()
    failed["info"]["error"] = "ReadTimeout"
    for key in ("first_token_iteration", "last_token_iteration"):
        failed["info"]["timings"][key] = None
    kept["errored"] = [failed]
    result, _ = read(document, slo=SLO(e2e_ms=60_000))
    assert result["outcomes"] == {"ok": 5, "error": 1}
    assert result["slo"]["met"] == 5
    assert result["slo"]["total"] == 6
    assert any("ReadTimeout" in fault for fault in result["faults"])


def test_the_hash_of_the_prompts_knows_no_order_and_every_letter() -> None:
    one, other, third = report(), report(), report()
    other["benchmarks"][0]["requests"]["successful"].reverse()
    told = third["benchmarks"][0]["requests"]["successful"][0]
    told["request_args"] = told["request_args"].replace("energy", "Energy")
    hashes = [read(document)[0]["prompts_sha256"] for document in (one, other, third)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hash_of_the_prompts_is_of_those_that_were_asked_for() -> None:
    """They are numbered from 0 in their first words; which of the rest are begun is a matter of chance."""
    one, other = report(), report()
    asked = Asked(1, 3, 64, 16, 2, None)
    last = [r for r in other["benchmarks"][0]["requests"]["successful"] if '"prompt":"1 5 ' in r["request_args"]]
    assert len(last) == 1
    last[0]["request_args"] = last[0]["request_args"].replace("1 5 m0", "1 6 m0")
    assert read(one, asked)[0]["prompts_sha256"] == read(other, asked)[0]["prompts_sha256"]
    last[0]["request_args"] = last[0]["request_args"].replace("1 6 m0", "1 2 m0")
    assert read(one, asked)[0]["prompts_sha256"] != read(other, asked)[0]["prompts_sha256"]


@pytest.mark.parametrize(("change", "says"), [
    (lambda d: d.pop("benchmarks"), "benchmarks: Field required"),
    (lambda d: d["benchmarks"].append(deepcopy(d["benchmarks"][0])), "holds 2 benchmarks"),
    (lambda d: d["benchmarks"][0].update(requests={}), "began 0 requests"),
    (lambda d: d["benchmarks"][0]["requests"]["successful"][0]["info"].pop("timings"), "timings: Field required"),
])
def test_a_broken_report_is_one_line(change: Any, says: str) -> None:
    document = report()
    change(document)
    with pytest.raises(EngineError, match=says) as told:
        read(document)
    assert "\n" not in str(told.value)


def test_a_report_cut_short_is_one_line() -> None:
    with pytest.raises(EngineError, match="not what GuideLLM") as told:
        read_report(WRITTEN.read_text(encoding="utf-8")[:5_000], ALL, name="guidellm.json", now=NOW)
    assert "\n" not in str(told.value)


PROGRAM = """#!{python}
import json, pathlib, sys, time
if sys.argv[1] == "-c":
    print("0.8.1")
    sys.exit()
spec = json.loads(pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).read_text())["spec"]
out = pathlib.Path(spec["outputs"][0]["path"])
pathlib.Path({seen!r}).write_text(json.dumps(spec))
{does}
"""
COPIES = f"out.write_text(pathlib.Path({str(WRITTEN)!r}).read_text())"


def program(folder: Path, does: str) -> GuideLlm:
    path = folder / "python"
    path.write_text(PROGRAM.format(python=sys.executable, does=does, seen=str(folder / "seen.json")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return GuideLlm(path, folder)


def measured(folder: Path, does: str, check: Any = lambda: None) -> LoadResult:
    return measure_with_guidellm(
        program(folder, does), Endpoint("http://127.0.0.1:9", "m", "llama-server"),
        Workload(prompt_tokens=64, output_tokens=16), concurrency=2, rate=None, arrival=Arrival(), requests=4,
        warmup_requests=1, seed=2**40 + 5, request_timeout_s=7.0, slo=None, scratch=folder, log=folder / "its.log",
        check=check)


def test_it_is_asked_for_the_same_work_and_its_report_is_not_kept(tmp_path: Path) -> None:
    found = measured(tmp_path, COPIES)
    assert found.summary["outcomes"] == {"ok": 4}
    spec = json.loads((tmp_path / "seen.json").read_text())
    assert spec["profile"] == {"kind": "concurrent", "streams": [2]}
    assert spec["constraints"] == [{"kind": "max_requests", "count": 2 + 4 + 4}]
    assert spec["data"] == [{"kind": "synthetic_text", "prompt_tokens": 64, "output_tokens": 16}]
    assert spec["backend"] == {"kind": "openai_http", "target": "http://127.0.0.1:9", "model": "m",
                               "request_format": "/v1/completions", "timeout": 7.0}
    assert spec["seed"]["value"] == 5
    assert not (tmp_path / "guidellm.json").exists()


@pytest.mark.parametrize(("does", "says"), [
    ("print('CUDA is unhappy'); sys.exit(3)", "exit status 3 and wrote no report.*CUDA is unhappy"),
    ("print('nothing to do')", "exit status 0 and wrote no report"),
    ("out.write_text('{')", "not what GuideLLM 0.8 writes"),
    (COPIES + "; sys.exit(1)", "exit status 1"),
])
def test_its_failures_name_its_log(tmp_path: Path, does: str, says: str) -> None:
    with pytest.raises(EngineError, match=says) as told:
        measured(tmp_path, does)
    assert str(tmp_path / "its.log") in str(told.value)
    assert "\n" not in str(told.value)


def test_an_old_report_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "guidellm.json").write_text(WRITTEN.read_text())
    with pytest.raises(EngineError, match="wrote no report"):
        measured(tmp_path, "pass")


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidellm, "PATIENCE_S", -34.5)  # of 5 rounds of 7 s, half a second is left
    with pytest.raises(EngineError, match="has not ended"):
        measured(tmp_path, "time.sleep(600)")


def test_an_engine_that_died_is_named_before_what_guidellm_made_of_it(tmp_path: Path) -> None:
    def dead() -> None:
        raise EngineError("the engine is gone")

    with pytest.raises(EngineError, match="the engine is gone"):
        measured(tmp_path, "time.sleep(600)", dead)


def test_the_version_is_asked_of_the_interpreter(tmp_path: Path) -> None:
    assert guidellm_version(program(tmp_path, "").python) == "0.8.1"
    with pytest.raises(EngineUnavailable, match="engines install guidellm"):
        guidellm_version(tmp_path / "none")
    with pytest.raises(EngineUnavailable, match="has no GuideLLM"):
        guidellm_version(Path(sys.executable))
