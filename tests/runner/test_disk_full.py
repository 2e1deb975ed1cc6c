"""A disk that is really full: one line, exit code 2, nothing half-written, and the run goes on when there is room."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.chaos.checks import cells_of, kept, stored

from tests.conftest import Run

ROOM_KIB = (4, 20, 32, 72, 500)
"""Too little for: experiment.json; a load's files; the fake engine's log; the second cell; the report's page."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system in memory of so many KiB: made, or made larger."""
    place = tmp_path / "disk"
    place.mkdir()
    made = False

    def sized(kib: int) -> Path:
        nonlocal made
        how = f"{'remount,' if made else ''}size={kib}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        made = True
        return place

    yield sized
    if made:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("kib", ROOM_KIB)
def test_a_full_disk(
    tmp_path: Path, fake: Callable[..., Path], run: Run, disk: Callable[[int], Path], kib: int
) -> None:
    file = fake(blocks=1)
    file.write_text(file.read_text().replace("    long: {prompt_tokens: 32, output_tokens: 6}\n", "")
                    .replace("concurrency: [1, 3]", "concurrency: [1]") + "noise_floor: false\n")
    out = disk(kib) / "out"
    full = run("run", "exp.yaml", "--out", str(out))
    assert full.returncode == 2, full.stderr
    last = full.stderr.strip().splitlines()[-1]
    assert last.startswith("quantcheck: ")
    assert "free disk space" in last
    before = cells_of(out)
    assert stored(out) == []
    disk(32_768)
    again = run("run", "exp.yaml", "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert kept(before, cells_of(out)) == []
    assert len(cells_of(out)) == 2
