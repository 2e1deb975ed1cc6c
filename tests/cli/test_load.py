"""`quantcheck load` as a user types it, against the fake engine."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import read_log
from quantcheck.engines.fake.script import Script
from quantcheck.report.schema import load_schema
from quantcheck.store import read_table
from tests.conftest import Run, command, left_running

pytestmark = pytest.mark.alone

QUICK = ("--output-tokens", "6", "--prompt-tokens", "8")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run quantcheck in `tmp_path`; it leaves no process behind."""

    def go(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        before = set(left_running())
        done = subprocess.run(command(*args), cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
                              env={**os.environ, **environment})
        assert "Traceback" not in done.stderr, done.stderr
        assert set(left_running()) == before
        return done

    return go


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(Script(ttft_s=0.02, itl_s=0.004), log=tmp_path / "log", golden=tmp_path / "truth.jsonl") as server:
        yield server


def record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    jsonschema.validate(found, load_schema())
    return found


def test_a_ladder_is_recorded_shown_and_kept_raw(run: Run, tmp_path: Path, engine: FakeServer) -> None:
    done = run("load", "--url", f"{engine.endpoint.base_url}/v1", "--model", "fake", "-c", "1", "-c", "4", "-r", "50",
               "-n", "12", *QUICK, "--slo-ttft-ms", "2000", "--out", "run.json", "--raw", "run.parquet", COLUMNS="100")
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 3), done.stderr
    found = record(tmp_path / "run.json")
    assert [point["name"] for point in found["loads"]] == ["c1", "c4", "r50"]
    assert all(point["result"]["outcomes"] == {"ok": 12} for point in found["loads"])
    assert all(point["result"]["slo"]["met"] == 12 for point in found["loads"])
    assert found["abilities"]["ids"] is True
    assert any("vocabulary" in note for note in found["abilities"]["notes"])
    assert found["loads"][0]["result"]["metrics"]["ttft"] >= 0.02
    assert re.search(r"^  c4 +12/12 ", done.stdout, re.MULTILINE)
    assert "from the intended send time: TTFT, intended" in done.stdout
    raw = read_table(tmp_path / "run.parquet")
    own = (raw["load"] == "c4") & (raw["phase"] == "measured")
    assert raw["tokens"][own].sum() == 12 * 6
    assert len(np.unique(raw["request"][own])) == 12
    assert (raw["user_at_s"][own] >= raw["at_s"][own]).all()
    assert np.isnan(raw["due_s"][own]).all()
    assert not np.isnan(raw["due_s"][raw["load"] == "r50"]).any()
    # Three loads, three seeds: no prompt of one is sent in another.
    assert len({point["result"]["prompts_sha256"] for point in found["loads"]}) == 3


def test_a_duration_and_user_prompts_in_a_chat(run: Run, tmp_path: Path, engine: FakeServer) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(
        json.dumps({"messages": [{"role": "user", "content": f"question {k}"}]}) + "\n" for k in range(400)))
    done = run("load", "--url", engine.endpoint.base_url, "--model", "fake", "--api", "chat", "-c", "4", "--prompts",
               "prompts.jsonl", "--output-tokens", "6", "-n", "40", "--duration", "0.2", "--out", "run.json", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    result = record(tmp_path / "run.json")["loads"][0]["result"]
    assert set(result["outcomes"]) == {"ok"}
    assert 4 <= result["requests"] < 40


def test_a_search_brackets_the_slots(run: Run, tmp_path: Path) -> None:
    script = Script(ttft_s=0.01, itl_s=0.005, slots=3)
    with FakeServer(script, log=tmp_path / "log", golden=tmp_path / "truth.jsonl") as server:
        done = run("load", "--url", server.endpoint.base_url, "--model", "fake", "--find-max", "concurrency",
                   "--most", "16", "--slo-ttft-ms", "35", "-n", "40", "--output-tokens", "20", "--out", "run.json")
    assert done.returncode == 0, done.stderr
    search = record(tmp_path / "run.json")["search"]
    assert (search["unit"], search["highest"] in (2, 3), search["lowest"] in (3, 4)) == ("streams", True, True)
    assert "Highest load that meets the SLO" in done.stdout


def test_a_trace_is_replayed(run: Run, tmp_path: Path, engine: FakeServer) -> None:
    rows = "".join(f"{0.02 * k:.3f},{8 + k % 3},{4 + k % 2}\n" for k in range(20))
    (tmp_path / "trace.csv").write_text("time,input_tokens,output_tokens\n" + rows)
    done = run("load", "--url", engine.endpoint.base_url, "--model", "fake", "--trace", "trace.csv",
               "--time-scale", "2", "--warmup", "0", "--out", "run.json", "--raw", "run.parquet")
    assert done.returncode == 0, done.stderr
    point = record(tmp_path / "run.json")["loads"][0]
    assert (point["name"], point["result"]["outcomes"]) == ("trace", {"ok": 20})
    raw = read_table(tmp_path / "run.parquet")
    due = np.unique(raw["due_s"])
    np.testing.assert_allclose(np.diff(due), 0.01, atol=1e-6)


def test_faults_end_with_1_and_their_names(run: Run, tmp_path: Path) -> None:
    with FakeServer(Script(ttft_s=0.005, itl_s=0.002, fault="status-500"), log=tmp_path / "log") as server:
        done = run("load", "--url", server.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "8", *QUICK)
        assert done.returncode == 1
        assert "not ready to answer (status 500" in done.stderr
    with FakeServer(Script(ttft_s=0.005, itl_s=0.002, faults=(("cut", 0.5),)), log=tmp_path / "log") as server:
        done = run("load", "--url", server.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "40", *QUICK,
                   "--out", "run.json")
    outcomes = record(tmp_path / "run.json")["loads"][0]["result"]["outcomes"]
    assert set(outcomes) == {"ok", "cut"}
    assert f"failed: {outcomes['cut']} cut" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no load: give --concurrency"),
        (("-c", "2", "--prompt-tokens", "many"), "neither a number of tokens nor a range"),
        (("-c", "2", "--out", "nowhere/run.json"), "its folder is not there"),
        (("-c", "2", "--burstiness", "2"), "burstiness is gamma's"),
        (("-c", "2", "--prompts", "none.jsonl"), "none.jsonl"),
        (("--find-max", "rate"), "needs an SLO"),
        (("-c", "2", "--key-env", "NO_SUCH_KEY_VARIABLE"), "NO_SUCH_KEY_VARIABLE is not set"),
        (("--trace", "none.csv"), "none.csv"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(run: Run, engine: FakeServer, options: tuple[str, ...], said: str) -> None:
    done = run("load", "--url", engine.endpoint.base_url, "--model", "fake", *options)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_nobody_answers(run: Run) -> None:
    done = run("load", "--url", "http://127.0.0.1:9", "--model", "m", "-c", "1")
    assert done.returncode == 1
    assert re.fullmatch(r"quantcheck: http://127.0.0.1:9\S*: does not answer \(.*refused\); start the server, or check "
                        r"--url\n", done.stderr)


def test_ctrl_c_writes_what_there_is(tmp_path: Path, engine: FakeServer) -> None:
    with subprocess.Popen(
        command("load", "--url", engine.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "5000", *QUICK,
                "--out", "run.json"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as load:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and len(_log(tmp_path)) < 20:
            time.sleep(0.05)
        load.send_signal(signal.SIGINT)
        out, error = load.communicate(timeout=20)
    assert load.returncode == 130, error
    assert "interrupted" in out
    found = record(tmp_path / "run.json")
    assert found["interrupted"] is True
    assert found["loads"][0]["result"]["outcomes"]["ok"] > 5


def _log(folder: Path) -> list[Any]:
    try:
        return read_log(folder / "truth.jsonl")
    except Exception:  # noqa: BLE001  (it may not be there yet)
        return []


def test_the_key_is_sent_and_told_nowhere(run: Run, tmp_path: Path, engine: FakeServer) -> None:
    done = run("load", "--url", engine.endpoint.base_url, "--model", "fake", "-c", "1", "-n", "3", *QUICK,
               "--key-env", "MY_KEY", "--out", "run.json", "--raw", "run.parquet", MY_KEY="secret-of-mine")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr + (tmp_path / "run.json").read_text()
    assert "MY_KEY" in said
    assert "secret-of-mine" not in said
    assert b"secret-of-mine" not in (tmp_path / "run.parquet").read_bytes()


def test_calibration_is_stored_and_said(run: Run, tmp_path: Path, engine: FakeServer) -> None:
    done = run("load", "--url", engine.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "6", *QUICK,
               "--calibrate", "--out", "run.json")
    assert done.returncode == 0, done.stderr
    found = record(tmp_path / "run.json")["calibration"]
    assert found["not_in_the_log"] == 0
    assert found["chunks_per_s"] > 100
    assert abs(found["ttft_error"]["p50"]) < 0.05
    assert "calibration at 2 streams" in done.stdout


def test_a_terminal_gets_a_live_table(tmp_path: Path, engine: FakeServer) -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        command("load", "--url", engine.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "60", *QUICK),
        cwd=tmp_path, stdin=child, stdout=child, stderr=child, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as load:
        os.close(child)
        seen = b""
        while True:
            try:
                data = os.read(parent, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            seen += data
        load.wait(timeout=30)
    os.close(parent)
    assert load.returncode == 0
    assert re.search(rb"c2: [\d,]+ of [\d,]+ requests", seen)
    assert b"60/60" in seen
