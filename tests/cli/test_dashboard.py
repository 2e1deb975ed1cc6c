"""`quantcheck dashboard` through the real command."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

from tests.conftest import Run, command, left_running


def test_it_serves_until_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    started = subprocess.Popen(command("dashboard", "--port", "0", "--no-open"), cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    address = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:\d+/)   \(Ctrl-C ends it\)\n", started.stdout.readline())
    assert address is not None
    with urllib.request.urlopen(address[1], timeout=30) as page, \
            urllib.request.urlopen(f"{address[1]}events", timeout=30) as events:
        assert b'id="live"' in page.read()
        assert events.readline() == b"retry: 1000\n"
        # While somebody looks on.
        os.kill(started.pid, signal.SIGINT)
        assert started.wait(timeout=30) == 0
    assert started.communicate() == ("", "")
    assert left_running() == []
    assert list(tmp_path.iterdir()) == []


def test_mistakes_take_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("dashboard", "--port", str(port), "--no-open")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"quantcheck: port {port} is in use; give another one with --port\n"
    done = run("dashboard", "reslts", "--no-open")
    assert done.returncode == 2
    assert done.stderr == ("quantcheck: reslts: no such folder; give one that holds results, as `quantcheck run` "
                           "writes them\n")
