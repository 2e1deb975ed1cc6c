"""Why there is no sandbox, and that nothing runs without one."""

from pathlib import Path

import pytest

from quantcheck.errors import MeasurementError
from quantcheck.sandbox import Program, probe, run, why_no_sandbox
from quantcheck.sandbox.syscalls import seccomp_filter

FORBIDDEN = "bwrap: No permissions to create new namespace"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A bubblewrap that does what `script` says."""
    file = folder / "bwrap"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_bubblewrap_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = why_no_sandbox()
    assert reason is not None
    assert reason.startswith("bubblewrap is missing")
    assert "apt install bubblewrap" in reason


def test_without_it_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasurementError, match="bubblewrap is missing; install it"):
        run(Program(f"open({str(trace)!r}, 'w').close()"))
    assert not trace.exists()


def test_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "echo bubblewrap 0.4.1")
    assert why_no_sandbox() == "bubblewrap 0.4.1 is too old; 0.8.0 or newer is needed"


@pytest.mark.parametrize("switch", [*probe.SWITCHES, None])
def test_namespaces_are_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str | None) -> None:
    stand_in(tmp_path, monkeypatch,
             f'[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\necho "{FORBIDDEN}" >&2\nexit 1')
    values = {name: allows for name, (_, allows) in probe.SWITCHES.items()}
    if switch:
        values[switch] = probe.SWITCHES[switch][0]
    real = Path.read_text

    def read_text(path: Path, *args: str, **named: str) -> str:
        name = ".".join(path.parts[3:])
        return f"{values[name]}\n" if name in values else real(path, *args, **named)

    monkeypatch.setattr(Path, "read_text", read_text)
    reason = why_no_sandbox()
    assert reason is not None
    assert reason.startswith(f"the sandbox did not start: {FORBIDDEN}; ")
    assert reason.endswith(f"`sysctl -w {switch}={probe.SWITCHES[switch][1]}`" if switch else "has to allow them")


def test_it_does_not_bound_processes(sandbox: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE", "print('went on')")
    reason = why_no_sandbox()
    assert reason is not None
    assert "limit of processes does not hold" in reason


def test_a_processor_whose_calls_are_not_known() -> None:
    with pytest.raises(MeasurementError, match="it knows x86_64 and aarch64, not riscv64"):
        seccomp_filter("riscv64")
