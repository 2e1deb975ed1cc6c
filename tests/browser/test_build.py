"""The committed page is what its source builds."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = (20, 9)
MADE = shutil.ignore_patterns("node_modules", ".next", "out", "*.tsbuildinfo")


def why_not() -> str | None:
    """Why the page cannot be built here."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "needs Node.js and npm"
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, re.findall(r"\d+", told)[:2]))
    return None if version >= NODE else f"needs Node.js 20.9 or newer, this is {told.strip()}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_template_is_what_its_source_builds(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    shutil.copytree(ROOT / "web", tmp_path / "web", ignore=MADE)
    for kept in ("docs/summary.schema.json", "src/quantcheck/report/template.html"):
        (tmp_path / kept).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / kept, tmp_path / kept)
    committed = (tmp_path / "src/quantcheck/report/template.html").read_bytes()
    (tmp_path / "src/quantcheck/report/template.html").unlink()
    for step in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
        done = subprocess.run(["npm", *step], cwd=tmp_path / "web", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    built = (tmp_path / "src/quantcheck/report/template.html").read_bytes()
    assert built == committed, "run `make web` and commit src/quantcheck/report/template.html"
