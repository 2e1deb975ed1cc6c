"""Two workers: each file is one's, and what is marked `alone` overlaps with nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = '''
import json, os, pathlib, time, pytest

@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", ["shared", pytest.param("alone", marks=pytest.mark.alone)])
def test_one(kind, number):
    begin = time.monotonic()
    time.sleep(0.05)
    with pathlib.Path(__file__).with_name("times").open("a") as file:
        file.write(json.dumps([kind, pathlib.Path(__file__).name, os.getpid(), begin, time.monotonic()]) + "\\n")
'''


def test_alone_is_alone(tmp_path: Path) -> None:
    files = ("test_a.py", "test_b.py", "test_c.py", "test_d.py")
    for name in files:
        (tmp_path / name).write_text(FILE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.turns", "-p", "xdist", "-n", "2", "-q", "-W",
         "ignore::pytest.PytestUnknownMarkWarning", "--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base"),
         str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "32 passed" in done.stdout
    told = [json.loads(line) for line in (tmp_path / "times").read_text().splitlines()]
    assert len(told) == 32
    workers = {name: {process for _, file, process, *_ in told if file == name} for name in files}
    assert all(len(found) == 1 for found in workers.values()), "a file's fixtures are made once"
    assert len(set.union(*workers.values())) == 2
    for kind, _, process, begin, end in told:
        if kind == "alone":
            assert not [other for other in told if other[2] != process and other[3] < end and begin < other[4]]
