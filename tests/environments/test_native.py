"""llama.cpp compiled here: what is asked for, and what is refused. Steps of ours stand in for the compiler."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantcheck import environments
from quantcheck.environments import lock, make
from quantcheck.environments.installed import RECORD, folder
from quantcheck.environments.native import Step, native, require_compiler, steps
from quantcheck.errors import EngineUnavailable
from quantcheck.ggml.library import WHEEL, WHEEL_VERSION
from quantcheck.telemetry.environment import cpu_flags
from tests.environments.tiny import variables, write_lock

SOURCE = "xllamacpp==1 --hash=sha256:0"
COMPILE = """
import sys
from pathlib import Path
folder = Path(sys.argv[1]) / "native"
folder.mkdir()
(folder / "llama-server").touch(0o755)
(folder / "libllama.so").touch()
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = write_lock(tmp_path, "llama.cpp", ("cmake", "ninja"))
    found.write_text(f"# source: {SOURCE}\n{found.read_text()}")
    monkeypatch.setattr(lock, "LOCKS", found.parent)
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def compiled(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment's folder, where a step of ours stood in for the compiler."""
    asked = []

    def stand_in(environment: Path, source: str) -> Iterator[Step]:
        asked.append(source)
        yield Step("standing in", [sys.executable, "-c", COMPILE, str(environment)])

    monkeypatch.setattr(make, "steps", stand_in)
    told: list[str] = []
    made = environments.install("llama.cpp", told.append)
    assert asked == [SOURCE]
    assert told[-1] == "llama.cpp: standing in"
    assert made.versions == {"xllamacpp": "1", "cmake": "1.0", "ninja": "1.0"}
    return made.python.parents[1]


def test_the_source_is_that_of_the_wheel_by_its_hash() -> None:
    requirement, _, digest = str(environments.lock_of("llama.cpp").source).partition(" --hash=sha256:")
    assert requirement == f"{WHEEL}=={WHEEL_VERSION}"
    assert len(bytes.fromhex(digest)) == 32


def test_server_and_library(compiled: Path) -> None:
    found = native()
    assert (found.server, found.library) == (compiled / "native/llama-server", compiled / "native/libllama.so")


def test_another_processor_is_refused(compiled: Path) -> None:
    record = json.loads((compiled / RECORD).read_text())
    assert record["cpu_flags"] == cpu_flags()
    (compiled / RECORD).write_text(json.dumps(record | {"cpu_flags": [*cpu_flags(), "avx1024"]}))
    with pytest.raises(EngineUnavailable, match=r"for a processor with AVX1024, which .* remove llama\.cpp; "):
        native()


def test_what_is_not_there(tiny: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"quantcheck engines install llama\.cpp"):
        native()


@pytest.mark.parametrize("name", ["llama-server", "libllama.so"])
def test_half_of_it(compiled: Path, name: str) -> None:
    (compiled / "native" / name).unlink()
    with pytest.raises(EngineUnavailable, match="is not whole; quantcheck engines remove"):
        native()


def test_a_step_that_fails_leaves_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = Step("configuring", [sys.executable, "-c", "print('CMake Error: no such thing'); raise SystemExit(1)"])
    monkeypatch.setattr(make, "steps", lambda environment, source: iter([fails]))
    with pytest.raises(EngineUnavailable, match=r"not be compiled \(configuring: CMake Error: no such thing\); see to"):
        environments.install("llama.cpp", lambda line: None)
    assert environments.installed() == []
    assert not [path for path in folder().iterdir() if not path.name.endswith(".lock")]


def test_without_a_compiler(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineUnavailable, match=r"no C\+\+ compiler \(c\+\+, .*\); .* apt-get install g\+\+"):
        require_compiler({"PATH": str(tiny.parent)})
    with pytest.raises(EngineUnavailable, match=r"no C\+\+ compiler \(nonsense\)"):
        require_compiler({"PATH": "/usr/bin", "CXX": "nonsense -O3"})
    require_compiler({"PATH": "/usr/bin", "CXX": "env g++"})


def test_every_step_but_the_first_waits_for_what_is_before_it(tmp_path: Path) -> None:
    """The archive's name and what is in it are looked up, not assumed."""
    going = steps(tmp_path, SOURCE)
    first = next(going)
    assert first.command[1:4] == ["-m", "pip", "download"]
    assert (tmp_path / "source.txt").read_text() == f"{SOURCE}\n"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "some-1.tar.gz").touch()
    assert next(going).command[-1] == "some-1.tar.gz"
    (tmp_path / "source" / "some-1" / "thirdparty" / "llama.cpp").mkdir(parents=True)
    assert str(tmp_path / "source" / "some-1" / "thirdparty" / "llama.cpp") in next(going).command
    assert "llama-server" in next(going).command
    assert [step.doing for step in going] == ["keeping what is needed", "removing the rest"]
