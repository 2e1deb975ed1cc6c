"""The real llama.cpp server, with a tiny random model."""

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest

from quantcheck.engines.llamacpp import LlamaCppServer, default_threads
from quantcheck.engines.llamacpp_log import buffers, kv_cache_bytes, model_fault
from quantcheck.engines.open import open_engine
from quantcheck.environments.native import native as compiled_here
from quantcheck.errors import EngineError, EngineUnavailable, ModelError, SpecError
from quantcheck.spec.experiment import LlamaCppEngine
from tests.engines.native import stand_in
from tests.ggml.tiny import TinyModel, TinyShape, write_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny(tmp_path_factory.mktemp("engine") / "tiny.gguf", TinyShape())


@pytest.fixture(params=["wheel", "stand-in", "compiled"])
def native(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """The server in the place of the wheel's: none, one of the tests', and the real one where it was compiled."""
    if request.param == "wheel":
        return None
    if request.param == "stand-in":
        return stand_in(tmp_path / "native")
    try:
        return compiled_here().server
    except EngineUnavailable as error:
        pytest.skip(str(error))


def server(
    model: Path, folder: Path, settings: LlamaCppEngine | None = None, slots: int = 2, native: Path | None = None
) -> LlamaCppServer:
    return LlamaCppServer(settings or LlamaCppEngine(), model, name="tiny", slots=slots, tokens=300,
                          log=folder / "server.log", native=native)


def test_starts_answers_describes_itself_and_ends(tiny: TinyModel, tmp_path: Path, native: Path | None) -> None:
    with server(tiny.path, tmp_path, LlamaCppEngine(threads=1), slots=3, native=native) as engine:
        body = json.dumps({"prompt": [40, 41, 42], "n_predict": 5, "ignore_eos": True, "cache_prompt": False}).encode()
        request = urllib.request.Request(f"{engine.endpoint.base_url}/completion", body)
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = json.load(answer)
        assert (found["tokens_predicted"], found["tokens_evaluated"]) == (5, 3)
        facts = engine.describe()
        json.dumps(facts)
        assert (facts["threads"], facts["slots"], facts["context_per_slot"]) == (1, 3, 512)
        assert facts["omp_wait_policy"] == "passive"
        assert "AVX2 = 1" in facts["system_info"]
        assert facts["llama_cpp"][0].isdigit()
        assert facts["build"] == ("native" if native else "wheel")
        # keys and values, 2 bytes each, of every layer, key/value head, cell and slot
        shape = tiny.shape
        truth = 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim * 512 * 3
        assert facts["kv_cache_bytes"] == pytest.approx(truth, abs=0.0051 * 2**20)  # the log rounds to 0.01 MiB
        assert facts["ready_s"] == engine.ready_s > 0
        pid = engine.pid
    assert not Path(f"/proc/{pid}").exists()


def test_listens_on_loopback_only(tiny: TinyModel, tmp_path: Path, native: Path | None) -> None:
    with server(tiny.path, tmp_path, native=native) as engine:
        addresses = {c.laddr.ip for c in psutil.Process(engine.pid).net_connections() if c.status == "LISTEN"}
        assert addresses == {"127.0.0.1"}


def test_is_an_engine_of_the_experiment(tiny: TinyModel, tmp_path: Path) -> None:
    engine = open_engine(LlamaCppEngine(), variant="v", model=tiny.path, slots=1, tokens=20, log=tmp_path / "log")
    with engine:
        assert engine.endpoint.dialect == "llama-server"
        assert engine.describe()["threads"] == default_threads()


def test_death_in_the_middle_is_noticed(tiny: TinyModel, tmp_path: Path) -> None:
    with server(tiny.path, tmp_path) as engine:
        engine.check()
        os.kill(engine.pid, signal.SIGKILL)
        os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(EngineError, match="killed by SIGKILL"):
            engine.check()


def test_a_deadline_that_is_too_short(tiny: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"not healthy within 0\.001 s"):
        server(tiny.path, tmp_path, LlamaCppEngine(start_timeout_s=0.001)).start()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.gguf: cannot be read \(No such file or directory\)"):
        server(tmp_path / "gone.gguf", tmp_path).start()


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        server(tmp_path / "x.gguf", tmp_path).start()


@pytest.mark.parametrize("share", [0.01, 0.6, 0.99])
def test_a_truncated_file(tiny: TinyModel, tmp_path: Path, share: float, native: Path | None) -> None:
    data = tiny.path.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"cut\.gguf: llama\.cpp cannot load it \(.+\); make or download") as caught:
        server(tmp_path / "cut.gguf", tmp_path, native=native).start()
    assert "\n" not in str(caught.value)


def test_a_port_in_use_and_one_that_is_free(tiny: TinyModel, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        with pytest.raises(SpecError, match=rf"engine\.port: {port} is in use"):
            server(tiny.path, tmp_path, LlamaCppEngine(port=port)).start()
    with server(tiny.path, tmp_path, LlamaCppEngine(port=port)) as engine:
        assert engine.endpoint.base_url.endswith(f":{port}")


def test_a_context_that_is_too_small(tiny: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"engine\.context: 299 tokens are fewer than the 300"):
        server(tiny.path, tmp_path, LlamaCppEngine(context=299))


def test_figures_out_of_a_log() -> None:
    log = (
        "0.1 I load_tensors:   CPU_Mapped model buffer size =    17.00 MiB\n"
        "0.1 I load_tensors:   CPU_REPACK model buffer size =     2.50 MiB\n"
        "0.2 I llama_kv_cache:        CPU KV buffer size =    16.00 MiB\n"
        "0.2 I llama_kv_cache: size =   16.00 MiB (   512 cells,   8 layers,  4/4 seqs), K (f16): 8.00 MiB\n"
        "0.2 I llama_kv_cache: size =    1.50 MiB (    48 cells,   8 layers,  4/4 seqs), K (f16): 0.75 MiB\n"
    )
    assert kv_cache_bytes(log) == round(17.5 * 2**20)
    assert buffers(log) == {"CPU_Mapped model": 17 << 20, "CPU_REPACK model": 5 << 19, "CPU KV": 16 << 20}
    assert kv_cache_bytes("nothing") is None
    assert model_fault(log) is None
