"""`weights: random` on llama.cpp, end to end: from a configuration alone to a report."""

import json
from pathlib import Path

import pytest

from quantcheck.runner.speed import limited_by_client
from quantcheck.store import Store
from quantcheck.variants.gguf_file import GgufFile
from tests.runner.test_run import LOAD, cli, speed_row, summary_of
from tests.variants import folders

EXPERIMENT = """\
model: shape
weights: random
baseline: F16
variants:
  F16: {scheme: gguf/F16}
  Q4_K_M: {scheme: gguf/Q4_K_M}
engine: {kind: llama.cpp, threads: 1}
load: {workloads: {s: {prompt_tokens: 16, output_tokens: 8}}, requests: 4, warmup_requests: 1}
noise_floor: false
blocks: 1
"""


@pytest.mark.slow
def test_speed_and_memory_of_an_architecture_without_its_weights(tmp_path: Path) -> None:
    config = folders.config(hidden_size=256, intermediate_size=512, vocab_size=1024)
    (tmp_path / "shape").mkdir()
    (tmp_path / "shape" / "config.json").write_text(json.dumps(config))
    (tmp_path / "x.yaml").write_text(EXPERIMENT)
    done = cli(tmp_path, "run", "x.yaml")
    assert done.returncode == 0, done.stderr
    assert "F16: random weights in F16" in done.stderr
    out = tmp_path / "results" / "x"
    cells = {cell.key.variant: cell.record for cell in Store(out).cells()}
    assert set(cells) == {"F16", "Q4_K_M"}
    assert all(record["result"]["outcomes"] == {"ok": 4} for record in cells.values())
    assert len({record["result"]["prompts_sha256"] for record in cells.values()}) == 1

    summary = summary_of(out)
    sizes = {row["name"]: row["size"] for row in summary["variants"]}
    files = {name: next((tmp_path / "cache" / "artifacts").glob(f"{name}-random-*/model.gguf")) for name in sizes}
    assert {tensor.type.name for tensor in GgufFile(files["Q4_K_M"]).tensors} >= {"Q4_K", "Q6_K", "F32"}
    assert {name: size["bytes"]["value"] for name, size in sizes.items()} == {
        name: file.stat().st_size for name, file in files.items()}
    assert sizes["Q4_K_M"]["ratio"]["value"] < 0.5
    # On a busy machine the client may have been the limit: such a window has no figure, and is measured again.
    limited = any(limited_by_client(cell) for cell in Store(out).cells())
    speed = speed_row(summary, "Q4_K_M", "output_throughput")["value"]["value"]
    assert limited or speed > 0
    assert (summary["loads"][0]["load"], summary["quality"]) == (LOAD, [])
    assert all(recipe["weights"] == "random" for recipe in summary["artifacts"].values())
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "| source | random weights |" in page

    # Again: nothing is made or measured. With quality: refused, before anything is started.
    again = cli(tmp_path, "run", "x.yaml")
    assert limited or "2 of them stored already" in again.stderr
    assert "random weights in" not in again.stderr
    (tmp_path / "q.yaml").write_text(EXPERIMENT + "quality: {suites: [reference/knowledge]}\n")
    refused = cli(tmp_path, "run", "q.yaml")
    assert refused.returncode == 2
    assert "random weights have no quality" in refused.stderr
    assert not (tmp_path / "results" / "q").exists()
