"""Run in a network namespace of its own: a load is under way when its only link goes down, for `DOWN_S` (0: for good).

    unshare --net python cut_network.py FOLDER DOWN_S

Leaves run.json and run.parquet of `quantcheck load` and the server's truth.jsonl in FOLDER.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from quantcheck.engines.health import get_text

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def loopback(*, up: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))[0]
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def main(folder: Path, down_s: float) -> int:
    loopback(up=True)
    script = Script(ttft_s=0.02, itl_s=0.02)
    with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
        url = engine.endpoint.base_url
        load = subprocess.Popen([
            sys.executable, "-m", "quantcheck", "load", "--url", url, "--model", "fake", "-c", "4", "-n", "8",
            "--prompt-tokens", "8", "--output-tokens", "100", "--vocab-size", "4096", "--request-timeout", "6",
            "--first-byte-timeout", "3", "--out", str(folder / "run.json"), "--raw", str(folder / "run.parquet"),
            "--quiet"])
        while "llamacpp:requests_processing 4\n" not in (get_text(url + "/metrics") or "") and load.poll() is None:
            time.sleep(0.01)
        time.sleep(0.7)
        loopback(up=False)
        if down_s:
            time.sleep(down_s)
            loopback(up=True)
        code = load.wait()
    (folder / "code.json").write_text(json.dumps(code))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
