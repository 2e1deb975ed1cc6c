"""docs/dependencies.md against the locks: no package, version or licence is missing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
OURS = [ROOT / "requirements" / f"{name}.txt" for name in ("core", "test")]
"""What this environment has; packages of the other locks may be installed nowhere here."""
LOCKS = [*OURS, *(ROOT / "requirements" / f"{name}.txt" for name in ("build", "docs")),
         *sorted((ROOT / "src" / "quantcheck" / "environments" / "locks").glob("*.txt"))]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", re.M)


def pins(*locks: Path) -> set[tuple[str, str]]:
    return {pin for lock in locks for pin in PIN.findall(lock.read_text(encoding="utf-8"))}


def rows() -> dict[tuple[str, str], str]:
    found = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {(name, version): licence for name, version, licence in found if not name.startswith("-")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_is_listed_at_its_version(lock: Path) -> None:
    assert len(pins(lock)) > (20 if lock in OURS else 2)
    missing = sorted(pins(lock) - rows().keys())
    assert not missing, f"run `.venv/bin/python docs/dependencies.py`: {missing}"


def test_every_listed_package_has_a_licence() -> None:
    """A package for another system has none in this environment's metadata, and its row says so."""
    listed = rows()
    untold = {name for (name, _), licence in listed.items() if licence in ("not told", "")}
    elsewhere = {name for name, version in pins(*OURS) if listed[name, version] == "not installed here"}
    assert not untold
    assert len(elsewhere) <= 5, elsewhere


def test_nothing_is_listed_that_is_not_locked() -> None:
    assert not rows().keys() - pins(*LOCKS) - {("package", "version")}
