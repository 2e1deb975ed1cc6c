"""vLLM's server: its command line, and what its starts and failures say. The interpreter is a stand-in."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from quantcheck.engines.vllm import VllmServer, command_line
from quantcheck.engines.vllm_metrics import Counters
from quantcheck.engines.vllm_python import vllm_packages
from quantcheck.errors import EngineError, EngineUnavailable, ModelError
from quantcheck.spec.experiment import VllmEngine

SERVER = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
print("(EngineCore pid=1) INFO 11-25 02:27:33 [m.py:302] Model loading took 13.51 GiB and 1.9 seconds", flush=True)
print("ARGS " + " ".join(sys.argv[1:]), flush=True)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): ...
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def interpreter(folder: Path, server: str = SERVER, packages: dict[str, str] | None = None) -> Path:
    """What answers like an interpreter that has vLLM: the question for versions, and the server."""
    (folder / "server.py").write_text(server)
    found = {"python": "3.12.3", "vllm": "0.25.1"} if packages is None else packages
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nif [ \"$1\" = -c ]; then echo '{json.dumps(found)}'; exit; fi\n"
                    f"exec {sys.executable} {folder / 'server.py'} \"$@\"\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def model(folder: Path, context: int = 512) -> Path:
    path = folder / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    return path


def server(folder: Path, python: Path, *, tokens: int = 64, **settings: object) -> VllmServer:
    return VllmServer(VllmEngine.model_validate(settings), model(folder), name="fp8", tokens=tokens,
                      log=folder / "log", python=python, arguments={"load-format": "dummy"})


def test_options_are_written_as_vllm_takes_them() -> None:
    found = list(command_line({"a": 1, "on": True, "off": False, "gone": None, "c": {"x": [1]}, "d": "e"}))
    assert found == ["--a", "1", "--on", "--no-off", "--c", '{"x": [1]}', "--d", "e"]


def test_a_start_passes_the_options_and_tells_what_it_used(tmp_path: Path) -> None:
    with server(tmp_path, interpreter(tmp_path), args={"max-num-seqs": 8, "generation-config": None}) as engine:
        said = (tmp_path / "log").read_text()
        assert "--max-num-seqs 8" in said
        assert "--no-enable-prefix-caching" in said
        assert "--load-format dummy" in said
        assert "generation-config" not in said
        assert engine.endpoint.base_url.startswith("http://127.0.0.1:")
        told = engine.describe()
        assert (told["version"], told["weights_bytes"]) == ("0.25.1", round(13.51 * 2**30))
        assert told["args"]["max-num-seqs"] == 8
        pid = engine.pid
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(("settings", "share"), [
    ({}, "0.5"),
    ({"args": {"gpu-memory-utilization": 0.3}}, "0.3"),
    ({"environment": {"VLLM_CPU_KVCACHE_SPACE": "1"}}, None),
])
def test_the_cpu_build_is_not_left_to_take_all_memory(tmp_path: Path, settings: dict[str, object],
                                                      share: str | None) -> None:
    with server(tmp_path, interpreter(tmp_path, packages={"vllm-cpu": "0.32.0", "vllm": "0.32.0"}), **settings):
        said = (tmp_path / "log").read_text()
    assert said.count("--gpu-memory-utilization") == (share is not None)
    assert share is None or f"--gpu-memory-utilization {share}" in said


def test_a_gpus_memory_is_left_to_vllm(tmp_path: Path) -> None:
    with server(tmp_path, interpreter(tmp_path)):
        assert "--gpu-memory-utilization" not in (tmp_path / "log").read_text()


COUNTING = SERVER.replace("""self.end_headers()""", """self.end_headers()
        if self.path == "/metrics":
            Answer.asked = getattr(Answer, "asked", 0) + 1
            self.wfile.write(f"vllm:prompt_tokens_total {Answer.asked}\\n"
                             f"vllm:num_requests_running {max(0, 3 - Answer.asked)}\\n".encode())""")


def test_counters_are_read_when_no_request_is_left(tmp_path: Path) -> None:
    with server(tmp_path, interpreter(tmp_path, COUNTING)) as engine:
        assert engine.counters() == Counters(prompt_tokens=3, busy=0)


def test_a_server_without_metrics_counts_nothing(tmp_path: Path) -> None:
    with server(tmp_path, interpreter(tmp_path)) as engine:
        assert engine.counters() == Counters()


@pytest.mark.parametrize(("said", "meaning"), [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "the GPU's memory is too small (CUDA out"),
    ("ValueError: The quantization method nvfp4 is not supported here", "the GPU cannot run this format"),
    ("ValueError: To serve at least one request with the models's max seq len (512), 0.1 GiB KV cache is needed",
     "its KV cache is too small (To serve"),
    ("OSError: [Errno 98] Address already in use", "another program took its port meanwhile"),
    ("api_server.py: error: unrecognized arguments: --max-sums 3", "it does not know an option of engine.args"),
])
def test_what_a_failed_start_says_is_the_error(tmp_path: Path, said: str, meaning: str) -> None:
    python = interpreter(tmp_path, f"import sys\nprint({said!r}, file=sys.stderr)\nsys.exit(1)\n")
    with pytest.raises(EngineError) as error:
        server(tmp_path, python).start()
    assert meaning in str(error.value)
    assert "\n" not in str(error.value)


def test_the_file_by_which_workers_met_is_taken_away(tmp_path: Path) -> None:
    met, other = tmp_path / f"vllm_dist_{'0a' * 16}", tmp_path / f"vllm_dist_{'0b' * 16}"
    met.touch()
    other.touch()
    line = f"INFO world_size=1 rank=0 local_rank=-1 distributed_init_method=file://{met} backend=gloo"
    with server(tmp_path, interpreter(tmp_path, f"print({line!r}, flush=True)\n{SERVER}")):
        assert met.exists()
    assert not met.exists()
    assert other.exists()


def test_a_hanging_start_is_given_up(tmp_path: Path) -> None:
    python = interpreter(tmp_path, "import time\ntime.sleep(300)\n")
    with pytest.raises(EngineError, match="was not healthy within"):
        server(tmp_path, python, start_timeout_s=0.5).start()
    assert not [p for p in psutil.Process(os.getpid()).children(recursive=True) if "server.py" in " ".join(p.cmdline())]


def test_another_servers_answers_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port was free when it was chosen, and another run's server listens there before ours does."""
    (tmp_path / "other").mkdir()
    with server(tmp_path / "other", interpreter(tmp_path / "other")) as other:
        taken = other.endpoint.base_url.rpartition(":")[2]
        monkeypatch.setattr("quantcheck.engines.vllm.free_port", lambda: int(taken))
        for name, script in {"slow": "import time\ntime.sleep(300)\n", "prompt": SERVER}.items():
            (tmp_path / name).mkdir()
            with pytest.raises(EngineError, match=r"another program (\(process \d+\) )?took its port"):
                server(tmp_path / name, interpreter(tmp_path / name, script)).start()
        other.check()


def test_a_request_longer_than_the_model_is_refused_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds 512 tokens"):
        server(tmp_path, interpreter(tmp_path), tokens=513).start()


def test_no_model_folder(tmp_path: Path) -> None:
    engine = VllmServer(VllmEngine(), tmp_path / "none", name="a", tokens=1, log=tmp_path / "log",
                        python=interpreter(tmp_path))
    with pytest.raises(ModelError, match="needs a Hugging Face model folder"):
        engine.start()


def test_an_interpreter_without_vllm(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="has no vLLM"):
        vllm_packages(interpreter(tmp_path, packages={"python": "3.12.3"}))
    with pytest.raises(EngineUnavailable, match="cannot be asked"):
        vllm_packages(tmp_path / "nowhere")


def test_the_cpu_build_is_vllm_too(tmp_path: Path) -> None:
    assert vllm_packages(interpreter(tmp_path, packages={"vllm-cpu": "0.32.0"}))["vllm"] == "0.32.0+cpu"


ABORTS = SERVER.replace("http.server.HTTPServer", """import os, threading
def end():
    print("terminate called after throwing an instance of 'c10::Error'", flush=True)
    print("  what():  scale_C: scalar path not implemented!", flush=True)
    os.abort()
threading.Timer(0.5, end).start()
http.server.HTTPServer""")


def test_a_server_that_a_kernel_ends_says_what_helps(tmp_path: Path) -> None:
    with server(tmp_path, interpreter(tmp_path, ABORTS)) as engine:
        while psutil.Process(engine.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
        with pytest.raises(EngineError, match=r"is gone: .*give the variant `args: \{dtype: bfloat16\}`; full log: "):
            engine.check()
