"""Programs that try to get out, or to take the machine down. Each would pass if it succeeded."""

import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from quantcheck.sandbox import Limits, Outcome, Program, run

SMALL = Limits(cpu_s=2, wall_s=20.0, memory_mib=192, tmp_mib=4, file_mib=2, processes=12, output_kib=16)
"""Wall time is for what sleeps; a busy machine must not turn another ending into `timeout`."""
PROJECT = Path(__file__).parents[2]
SECRET = "canary-of-the-sandbox-tests"


def attempt(name: str, source: str, limits: Limits = SMALL) -> Outcome:
    return run(Program(source, name=name), limits)


ANY = """
done = []
for path in {paths}:
    try: done.append({what})
    except OSError as error: print(type(error).__name__)
assert done
"""
"""Passes if one of its attempts succeeds."""


@pytest.fixture
def canaries() -> Iterator[list[str]]:
    """Files with a secret, in the places where a user has such."""
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.NamedTemporaryFile("w", dir=folder, prefix=".canary-"))
                 for folder in (Path.home(), PROJECT, tempfile.gettempdir())]
        for file in files:
            file.write(SECRET)
            file.flush()
        yield [file.name for file in files]


def test_read_a_file_outside(name: str, canaries: list[str]) -> None:
    ways = ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/..", "/oldroot", "/newroot", "/tmp/..")
    paths = [way + canary for way in ways for canary in canaries]
    outcome = attempt(name, ANY.format(paths=paths, what="print(open(path).read())"))
    assert (outcome.ending, outcome.detail) == ("failed", "AssertionError")
    assert outcome.stdout.split() == ["FileNotFoundError"] * len(paths)


def test_the_source_tree_and_the_home_are_not_there(name: str) -> None:
    outcome = attempt(name, f"import os\nassert os.listdir({str(PROJECT)!r}) or os.listdir({str(Path.home())!r})")
    assert outcome.ending == "failed"
    seen = attempt(name, "import os\nprint(*sorted(os.listdir('/')))").stdout.split()
    first = Path(sys.base_prefix).parts[1]
    assert set(seen) <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "program.py", "sbin", "start.py", "tmp", "usr",
                         first}


def test_open_a_socket(name: str) -> None:
    hidden = f"\0{name}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(hidden)
        abstract.listen()
        port = server.getsockname()[1]
        connect = attempt(name, f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5).send(b'x')")
        inside = attempt(name, f"import socket\nsocket.socket(socket.AF_UNIX).connect({hidden!r})")
        outside = attempt(name, "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))")
        for listener in (server, abstract):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert [outcome.ending for outcome in (connect, inside, outside)] == ["failed"] * 3
    assert [outcome.detail.split(":")[0] for outcome in (connect, inside)] == ["ConnectionRefusedError"] * 2
    assert "unreachable" in outside.detail


FORK_BOMBS = {
    "raises": "import os\nwhile True: os.fork()",
    "goes on": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "and leaves": "import os\nwhile os.fork(): pass\nwhile True:\n  try: os.setsid()\n  except OSError: os.fork()",
}


@pytest.mark.parametrize("kind", FORK_BOMBS)
def test_fork_without_end(name: str, kind: str) -> None:
    outcome = attempt(name, FORK_BOMBS[kind], Limits(cpu_s=1, wall_s=2.0, processes=12))
    assert outcome.ending in ("failed", "timeout")
    assert outcome.ending == "timeout" or "Resource temporarily unavailable" in outcome.stderr


def test_never_more_processes_than_allowed(name: str) -> None:
    count = "import os\nn = 1\ntry:\n  while True:\n    if os.fork() == 0: os.read(os.pipe()[0], 1)\n    n += 1\n" \
        "except BlockingIOError: print(n)"
    assert attempt(name, count).stdout == f"{SMALL.processes}\n"


def test_fill_the_disk(name: str) -> None:
    fill = "n = 0\nwhile True:\n  n += 1\n  with open(f'/tmp/{n}', 'wb') as f: f.write(bytes(1 << 20))\n  print(n)"
    outcome = attempt(name, fill)
    assert outcome.ending == "failed"
    assert "No space left on device" in outcome.detail
    assert outcome.stdout.split()[-1] == str(SMALL.tmp_mib)


def test_one_large_file(name: str) -> None:
    outcome = attempt(name, "with open('/tmp/x', 'wb', 0) as f:\n  while True: f.write(bytes(1 << 20))")
    assert (outcome.ending, outcome.exit_code) == ("failed", 1)
    assert "File too large" in outcome.detail


def test_write_outside_of_tmp(name: str) -> None:
    places = ["/", "/usr", "/usr/lib", "/etc", "/dev", "/bin", str(Path.home()), sys.base_prefix,
              f"{sys.base_prefix}/lib"]
    paths = [f"{place}/new" for place in places] + ["/start.py", "/program.py", str(Path(sys.executable).resolve())]
    outcome = attempt(name, ANY.format(paths=paths, what="open(path, 'ab').write(b'x')"))
    assert (outcome.ending, outcome.detail) == ("failed", "AssertionError")
    assert set(outcome.stdout.split()) <= {"OSError", "PermissionError", "FileNotFoundError"}
    assert not any(Path(place, "new").exists() for place in places)


def test_sleep_for_ever(name: str) -> None:
    sleep = "import signal, time\nfor n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\n" \
        "while True: time.sleep(9)"
    outcome = attempt(name, sleep, Limits(wall_s=1.0))
    assert (outcome.ending, outcome.exit_code) == ("timeout", None)
    assert outcome.detail == "still running after 1 s"


def test_compute_for_ever(name: str) -> None:
    outcome = attempt(name, "while True: pass", Limits(cpu_s=1, wall_s=30.0))
    assert outcome.ending == "timeout"
    assert outcome.detail == "used 1 s of processor time"


@pytest.mark.parametrize("target", ["os.getppid()", "1", "{parent}", "{bystander}", "-1"])
def test_kill_the_parent(name: str, target: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        target = target.format(parent=os.getpid(), bystander=bystander.pid)
        kill = f"import os\nos.kill({target}, 9)\nif os.getppid() == 1: raise SystemExit('the parent lives')"
        outcome = attempt(name, kill)
        assert bystander.poll() is None
        bystander.kill()
    assert outcome.ending == "failed"
    assert outcome.detail.partition(":")[0] in ("the parent lives", "PermissionError", "ProcessLookupError")


@pytest.mark.parametrize("stream", [1, 2])
def test_print_a_gigabyte(name: str, stream: int) -> None:
    write = f"import os\nfor _ in range(1 << 14): os.write({stream}, b'x' * (1 << 16))"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = attempt(name, write)
    assert (outcome.ending, outcome.exit_code) == ("output", None)
    assert outcome.detail == "wrote more than 16 KiB"
    assert len(outcome.stdout) == (16 << 10 if stream == 1 else 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # KiB


HOLD = "import os\nfor _ in range(6):\n  if os.fork() == 0:\n    x = b'x' * (64 << 20)\n" \
    "    os.read(os.pipe()[0], 1)\nos.wait()"


@pytest.mark.parametrize("source", [
    "x = b'x' * (1 << 40)",
    "x = []\nwhile True: x.append(b'x' * (1 << 20))",
    "import mmap\nx = mmap.mmap(-1, 1 << 30)\nfor n in range(0, 1 << 30, 4096): x[n] = 1",
    HOLD,
], ids=["at once", "bit by bit", "by mmap", "in many processes"])
def test_allocate_all_memory(name: str, source: str) -> None:
    outcome = attempt(name, source)
    assert outcome.ending == "memory" or "Cannot allocate memory" in outcome.detail
    assert outcome.ending == "memory" or "mmap" in source


def test_files_without_end(name: str) -> None:
    outcome = attempt(name, "n = 0\nwhile True:\n  n += 1\n  open(f'/tmp/{n}', 'w').close()",
                      Limits(cpu_s=60, wall_s=60.0, memory_mib=64))
    assert (outcome.ending, outcome.exit_code) == ("memory", None)


def test_the_environment_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", SECRET)
    outcome = attempt(name, "import os\nprint(dict(os.environ), flush=True)\nos.environ['CANARY_TOKEN']")
    assert outcome.ending == "failed"
    assert outcome.detail.startswith("KeyError")
    assert SECRET not in outcome.stdout + outcome.stderr
    assert attempt(name, f"import os\nopen('/proc/{os.getpid()}/environ').read()").ending == "failed"


def test_leave_a_process_behind(name: str) -> None:
    daemon = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork(): os._exit(0)\n  time.sleep(600)"
    outcome = attempt(name, daemon)
    assert outcome.ending == "passed"  # that nothing is left is what the fixture checks, once `run` has returned


def test_no_privilege_is_left(name: str) -> None:
    ask = """
import os
assert os.getuid() != 0 and os.getgid() != 0
for call in (lambda: os.setuid(0), lambda: os.chroot("/tmp"), lambda: os.mknod("/tmp/sda", 0o60666, os.makedev(8, 0))):
    try: call()
    except OSError: pass
    else: raise SystemExit("too much")
"""
    assert attempt(name, ask).ending == "passed"


CALLS = {
    "memory that no process holds": "import os\nos.memfd_create('x')",
    "a virtual machine's host": "import socket\nsocket.socket(40, socket.SOCK_STREAM)",
    "the kernel's other interfaces": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a user namespace, by unshare": "LIBC.unshare(0x10000000) and error()",
    "a user namespace, by clone": "LIBC.syscall(CLONE, 0x10000000 | 17, 0, 0, 0, 0) == -1 and error()",
    "shared memory": "LIBC.shmget(0, 4096, 0o1600) == -1 and error()",
    "keys": "LIBC.syscall(ADD_KEY, b'user', b'x', b'x', 1, -3) == -1 and error()",
}
NUMBERS = {"x86_64": "CLONE, ADD_KEY = 56, 248", "aarch64": "CLONE, ADD_KEY = 220, 217"}


@pytest.mark.parametrize("what", CALLS)
def test_calls_that_would_lead_around_it(name: str, what: str) -> None:
    ready = "import ctypes, os\nLIBC = ctypes.CDLL(None, use_errno=True)\n" \
        "def error(): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n"
    outcome = attempt(name, f"{ready}{NUMBERS[platform.machine()]}\n{CALLS[what]}")
    assert outcome.ending == "failed"
    assert "not permitted" in outcome.detail or "Address family not supported" in outcome.detail
