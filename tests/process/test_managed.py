"""A child process is owned from start to end, whatever happens in between."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from quantcheck.errors import EngineError, StoreError
from quantcheck.process import managed as module
from quantcheck.process.managed import ManagedProcess

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
FAMILY = [
    sys.executable, "-c",
    "import subprocess, sys, time\n"
    "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
    "a = subprocess.Popen(sleep)\n"
    "b = subprocess.Popen(sleep, process_group=0)\n"
    "c = subprocess.Popen(sleep, start_new_session=True)\n"
    "print('up', a.pid, b.pid, c.pid, flush=True); time.sleep(600)",
]


def started(command: list[str], folder: Path) -> ManagedProcess:
    process = ManagedProcess(command, name="child", log=folder / "logs" / "child.log")
    process.start()
    process.wait_until(lambda: "up" in process.log_text(), 20)
    return process


def wait_gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_runs_in_a_session_of_its_own_and_stops_twice(tmp_path: Path) -> None:
    process = started(SLEEP, tmp_path)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert process.running()
    process.check()
    pid = process.pid
    process.stop()
    process.stop()
    assert not psutil.pid_exists(pid)
    assert not process.running()
    with pytest.raises(EngineError, match="killed by SIGTERM"):
        process.check()


def test_children_in_other_groups_and_sessions_end_too(tmp_path: Path) -> None:
    process = started(FAMILY, tmp_path)
    pids = [int(word) for word in process.log_text().split()[1:]]
    assert {member.pid for member in process.members()} == {process.pid, *pids}
    process.stop()
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_children_of_a_dead_command_end_too(tmp_path: Path) -> None:
    process = started(FAMILY, tmp_path)
    pids = [int(word) for word in process.log_text().split()[1:]]
    process.members()
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="killed by SIGKILL"):
        process.wait_until(lambda: False, 10)
    process.stop()
    assert all(wait_gone(pid) for pid in pids)


def test_sigterm_ignored_means_sigkill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    process = started(STUBBORN, tmp_path)
    process.stop()
    assert process.exit_text() == "killed by SIGKILL"


def test_death_is_told_with_status_and_last_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('one'); print('two'); print('three'); print('four'); raise SystemExit(7)"]
    with ManagedProcess(command, name="child", log=tmp_path / "log") as process:
        with pytest.raises(EngineError, match=r"child is gone \(exit status 7\).*two \| three \| four") as caught:
            process.wait_until(lambda: False, 20)
        assert "\n" not in str(caught.value)


def test_never_healthy_is_told_with_the_deadline(tmp_path: Path) -> None:
    with (
        ManagedProcess(SLEEP, name="child", log=tmp_path / "log") as process,
        pytest.raises(EngineError, match=r"not healthy within 0.2 s .*start_timeout_s"),
    ):
        process.wait_until(lambda: False, 0.2)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with (
        ManagedProcess(["/nonexistent/engine"], name="child", log=tmp_path / "log") as process,
        pytest.raises(EngineError, match="cannot run /nonexistent/engine: No such file"),
    ):
        process.wait_until(lambda: False, 20)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot write its log"):
        ManagedProcess(SLEEP, name="child", log=tmp_path / "file" / "log").start()


def test_is_started_once_only_and_not_before(tmp_path: Path) -> None:
    process = ManagedProcess(SLEEP, name="child", log=tmp_path / "log")
    process.stop()
    with pytest.raises(EngineError, match="never started"):
        process.check()
    with process, pytest.raises(EngineError, match="already started"):
        process.start()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_any_exception_ends_it(tmp_path: Path, error: type[BaseException]) -> None:
    process = ManagedProcess(SLEEP, name="child", log=tmp_path / "log")
    with pytest.raises(error), process:
        raise error
    assert not process.members()


def test_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    found: list[ManagedProcess] = []
    thread = threading.Thread(target=lambda: found.append(started(SLEEP, tmp_path)))
    thread.start()
    thread.join()
    time.sleep(0.2)  # a parent-death signal bound to that thread would have come by now
    try:
        found[0].check()
    finally:
        found[0].stop()


PARENT = """
import sys, time
from pathlib import Path
from quantcheck.process.managed import ManagedProcess
family = sys.argv[2:]
with ManagedProcess(family, name="child", log=Path(sys.argv[1])) as process:
    process.wait_until(lambda: "up" in process.log_text(), 20)
    print(process.pid, flush=True)
    time.sleep(600)
"""


def parent_of(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], int]:
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder / "log"), *command], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("command", [SLEEP, STUBBORN])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_end_of_quantcheck(tmp_path: Path, number: signal.Signals, command: list[str]) -> None:
    parent, child = parent_of(command, tmp_path)
    try:
        os.kill(parent.pid, number)
        parent.wait(20)
        assert wait_gone(child)
    finally:
        parent.kill()
        parent.communicate()


LEAVES_ONE = """
import os, subprocess, sys, time
rest = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("rest", rest.pid, flush=True)
time.sleep(300)
"""


def _rest_of(log: Path) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        words = log.read_text().split() if log.exists() else []
        if len(words) >= 2:
            return int(words[1])
        time.sleep(0.02)
    raise AssertionError("the command said nothing")


def _gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_trees_command_killed_alone_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = ManagedProcess([sys.executable, "-c", LEAVES_ONE], name="tree", log=log, tree=True)
    with process:
        rest = _rest_of(log)
        command = psutil.Process(rest).parent()
        assert command is not None
        assert command.pid != process.pid
        command.kill()
        assert _gone(rest)
        assert _gone(process.pid)
        assert process.exit_text() == "killed by SIGKILL"


def test_a_tree_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom quantcheck.process.managed import ManagedProcess\n"
        f"p = ManagedProcess([sys.executable, '-c', {LEAVES_ONE!r}], name='tree', log=Path({str(log)!r}), tree=True)\n"
        "p.start()\ntime.sleep(300)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        rest = _rest_of(log)
        command = psutil.Process(rest).parent()
        assert command is not None
    finally:
        parent.kill()
        parent.wait()
    assert _gone(rest)
    assert _gone(command.pid)


def test_a_tree_that_is_stopped_is_gone_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ManagedProcess([sys.executable, "-c", LEAVES_ONE], name="tree", log=log, tree=True) as process:
        rest = _rest_of(log)
        assert rest in {member.pid for member in process.members()}
    assert _gone(rest)


def test_a_process_that_ended_for_want_of_room_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = ManagedProcess([sys.executable, "-c", "raise SystemExit(1)"], name="child", log=tmp_path / "log")
    process.start()
    while process.running():
        time.sleep(0.01)
    with pytest.raises(EngineError, match="exit status 1"):
        process.check()
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([4096, 4096, 100, 3, 3, *[0] * 5]))
    with pytest.raises(StoreError, match=r"child is gone \(exit status 1\): the disk of .* is full; free disk space"):
        process.check()
    process.stop()


def test_a_guarded_command_does_not_outlive_who_waits_for_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = ("import subprocess\nfrom quantcheck.process.managed import guarded\n"
               f"subprocess.run(guarded({SLEEP!r}), stdout=open({str(log)!r}, 'w'))\n")
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        end = time.monotonic() + 20
        while "up" not in (log.read_text() if log.exists() else "") and time.monotonic() < end:
            time.sleep(0.01)
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    assert wait_gone(child.pid)
