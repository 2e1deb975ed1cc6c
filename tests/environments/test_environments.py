"""Environments from a tiny lock and a local wheel: no network."""

import os
import zipfile
from pathlib import Path

import pytest

from quantcheck import environments
from quantcheck.environments import lock, make
from quantcheck.errors import EngineUnavailable, SpecError, StoreError


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of `transformers`, naming one local wheel of that name."""
    wheels, locks = tmp_path / "wheels", tmp_path / "locks"
    wheels.mkdir()
    locks.mkdir()
    info = "transformers-1.0.dist-info"
    with zipfile.ZipFile(wheels / "transformers-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("transformers.py", "here = 1\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: transformers\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (locks / "transformers.txt").write_text("# python: >=3.11,<3.14\ntransformers==1.0\n")
    monkeypatch.setattr(lock, "LOCKS", locks)
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", locks.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return locks / "transformers.txt"


def _install() -> environments.Environment:
    return environments.install("transformers", lambda line: None)


def test_installed_then_reused_without_uv(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineUnavailable, match="quantcheck engines install transformers"):
        environments.python_of("transformers")
    made = _install()
    assert made.current
    assert made.versions == {"transformers": "1.0"}
    assert made.size > 0
    monkeypatch.setattr(make, "find_uv", lambda: pytest.fail("uv was asked for"))
    assert _install() == made
    assert environments.installed() == [made]
    assert environments.python_of("transformers") == made.python


def test_new_lock_makes_the_old_one_stale_and_remove_takes_both(tiny: Path) -> None:
    _install()
    tiny.write_text(tiny.read_text() + "# newer\n")
    assert [one.current for one in environments.installed()] == [False]
    with pytest.raises(EngineUnavailable, match="not installed"):
        environments.python_of("transformers")
    _install()
    assert environments.remove("transformers") == 2
    assert environments.installed() == []


def test_wrong_python_is_named(tiny: Path) -> None:
    tiny.write_text("# python: 3.2\ntransformers==1.0\n")
    with pytest.raises(EngineUnavailable, match=r"needs Python 3\.2"):
        _install()
    assert environments.installed() == []


@pytest.mark.parametrize("text", ["", "nonsense\n"])
def test_damaged_lock(tiny: Path, text: str) -> None:
    tiny.write_text(text)
    with pytest.raises(EngineUnavailable, match="damaged"):
        _install()


def test_failed_or_interrupted_install_leaves_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(line: str) -> None:
        if "packages" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install("transformers", interrupt)
    assert environments.installed() == []
    tiny.write_text("transformers==2.0\n")
    with pytest.raises(EngineUnavailable, match="could not be made"):
        _install()
    assert not list(tiny.parent.parent.glob("cache/environments/*/*"))


def test_missing_uv_unknown_name_and_bad_disk(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="known: vllm"):
        environments.install("nonsense", print)
    (tiny.parent / "file").write_text("")
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tiny.parent / "file"))
    with pytest.raises(StoreError):
        _install()
    monkeypatch.setattr("quantcheck.environments.uv.shutil.which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "uv", None)
    with pytest.raises(EngineUnavailable, match="pip install uv"):
        make.find_uv()


def test_shipped_locks_are_whole() -> None:
    for name in environments.NAMES:
        assert len(environments.lock_of(name).digest) == 12
