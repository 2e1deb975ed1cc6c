"""docs/dependencies.md against the locks: no package, version or licence is missing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
LOCKS = [ROOT / "requirements" / "core.txt", ROOT / "requirements" / "test.txt"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", re.M)


def rows() -> dict[tuple[str, str], str]:
    found = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {(name, version): licence for name, version, licence in found if not name.startswith("-")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_is_listed_at_its_version(lock: Path) -> None:
    pins = set(PIN.findall(lock.read_text(encoding="utf-8")))
    assert len(pins) > 20
    missing = sorted(pins - rows().keys())
    assert not missing, f"run `.venv/bin/python docs/dependencies.py`: {missing}"


def test_every_listed_package_has_a_licence() -> None:
    """A package for another system has none in this environment's metadata, and its row says so."""
    listed = rows()
    untold = {name for (name, _), licence in listed.items() if licence in ("not told", "")}
    elsewhere = {name for (name, _), licence in listed.items() if licence == "not installed here"}
    assert not untold
    assert len(elsewhere) <= 5, elsewhere


def test_nothing_is_listed_that_is_not_locked() -> None:
    pins = {pin for lock in LOCKS for pin in PIN.findall(lock.read_text(encoding="utf-8"))}
    assert not rows().keys() - pins - {("package", "version")}
