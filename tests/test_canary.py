"""A secret in the environment is in no file, page or line that quantcheck writes."""

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from tests.conftest import Run, command

CANARY = "sk-canary-5e1f7a90c3d24b68"
SECRETS = dict.fromkeys(("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_KEY"), CANARY)
FORMS = [CANARY.encode(), base64.b64encode(CANARY.encode()).rstrip(b"=")[:-1], CANARY[::-1].encode()]


def leaks(folder: Path) -> list[str]:
    """Files that hold the canary, plain, reversed or in base64."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and any(form in path.read_bytes() for form in FORMS)]


def test_the_search_finds_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_bytes(b"x" + CANARY.encode())
    assert leaks(tmp_path) == ["deep/log"]


def test_an_experiment_writes_no_secret(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=1)
    done = run("run", "exp.yaml", **SECRETS)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "exp" / "report.html").is_file()
    assert CANARY not in done.stdout + done.stderr
    for verb in (("doctor",), ("runs", "results", "--json")):
        told = run(*verb, **SECRETS)
        assert CANARY not in told.stdout + told.stderr
    assert leaks(tmp_path) == []


def test_a_load_with_a_key_writes_no_secret(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FakeServer(Script(ttft_s=0.01, itl_s=0.002), log=tmp_path / "log") as server:
        done = subprocess.run(
            command("load", "--url", server.endpoint.base_url, "--model", "fake", "-c", "2", "-n", "8",
                    "--output-tokens", "6", "--prompt-tokens", "8", "--key-env", "MY_KEY", "--out", "run.json",
                    "--raw", "run.parquet"),
            cwd=out, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, **SECRETS, "TMPDIR": str(out)})
    assert done.returncode == 0, done.stderr
    assert (out / "run.json").is_file()
    assert CANARY not in done.stdout + done.stderr
    assert leaks(out) == []
