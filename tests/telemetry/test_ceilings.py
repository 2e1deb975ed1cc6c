"""The probe: what it measures, alone and as a program; a GPU without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantcheck.telemetry import ceilings


def test_rates_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "LEAST_BYTES", 32 * ceilings.MIB)
    monkeypatch.setattr(ceilings, "MOST_BYTES", 32 * ceilings.MIB)
    monkeypatch.setattr(ceilings, "WORKING_SETS", (ceilings.MIB,))
    found = ceilings.cpu_ceilings(1)

    assert found["threads"] == 1
    assert [read["bytes"] for read in found["read"]] == [ceilings.MIB, 32 * ceilings.MIB]
    for rate in (found["copy"], *found["read"], found["matrix"]["fp32"]):
        assert 0 < rate["low"] <= rate["median"] <= rate["high"]
        assert 1e7 < rate["median"] < 1e14  # bytes/s or FLOP/s of any processor: the units are right


def test_runs_as_a_file_of_its_own(tmp_path: Path) -> None:
    """On a machine that has no quantcheck: a copy of the file, outside the package, isolated from it."""
    copy = tmp_path / "probe.py"
    copy.write_text(Path(ceilings.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([sys.executable, str(copy), "--threads", "0", "--no-cuda"], capture_output=True,
                          text=True, timeout=60, check=True, cwd=tmp_path)  # fmt: skip
    found = json.loads(done.stdout)
    assert found["schema"] == ceilings.SCHEMA
    assert found["cpu"] == []
    assert found["cuda"] == {"missing": "not asked for"}
    assert "quantcheck" not in [line.split()[1].split(".")[0] for line in copy.read_text().splitlines()
                                if line.startswith(("import ", "from "))]  # fmt: skip


def test_a_missing_gpu_says_why() -> None:
    found = ceilings.cuda_ceilings()
    if "missing" not in found or isinstance(found["missing"], dict):
        pytest.skip("this machine has a GPU")
    assert found["missing"] in ("torch is not installed", "torch sees no CUDA device")


def test_a_rate_is_the_amount_over_the_time() -> None:
    assert ceilings._rate(10.0, [1.0, 2.0, 5.0]) == {"median": 5.0, "low": 2.0, "high": 10.0}
