"""Whole runs through the public API: on the fake engine, whose log knows the truth, and on llama.cpp."""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import quantcheck
from quantcheck import EngineError, Experiment
from quantcheck.engines.base import Engine
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.job import encode
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.report.schema import summary_schema
from quantcheck.runner import serving
from quantcheck.runner.progress import Silent
from quantcheck.runner.speed import limited_by_client
from quantcheck.spec.experiment import Quality, Variant
from quantcheck.store import Store
from quantcheck.variants.make import prepare
from tests.conftest import command, left_running
from tests.ggml.tiny import TinyShape, random_weights, write_gguf, write_tiny

Json = dict[str, Any]
LOAD = "s@c1"


def cli(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """The command in `folder`; nothing that it started is there when it returns."""
    done = subprocess.run(command(*args), cwd=folder, capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "QUANTCHECK_CACHE": str(folder / "cache")})
    assert "Traceback" not in done.stderr, done.stderr
    assert left_running() == []
    return done


def experiment(**changes: Any) -> Experiment:
    """Two variants on the fake engine, 10 ms to the first token and 2 ms between tokens, one load."""
    return Experiment.model_validate({
        "name": "exp", "model": "none", "baseline": "a", "blocks": 2, "noise_floor": False,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
        "engine": {"kind": "fake", "ttft_ms": 10, "itl_ms": 2},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 12}}, "requests": 6, "warmup_requests": 1},
        **changes,
    })


def summary_of(out: Path) -> Json:
    """summary.json, checked against the schema that is published."""
    found: Json = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(summary_schema()).validate(found)
    return found


def speed_row(summary: Json, variant: str, metric: str) -> Json:
    rows = [row for row in summary["speed"]
            if (row["variant"], row["metric"], row["load"]) == (variant, metric, LOAD)]
    assert len(rows) == 1
    found: Json = rows[0]
    return found


def golden(out: Path, entry: str, block: int, requests: int) -> list[Json]:
    """What the server did for the measured requests of a block's only window (its last try), in its own words."""
    lines = [json.loads(line) for line in (out / "logs" / f"{entry}-block{block + 1}.jsonl").read_text().splitlines()]
    found = {int(line["request"]): line for line in lines if int(line["request"]) < requests}
    assert sorted(found) == list(range(requests))
    return list(found.values())


def true_tpot(records: list[Json]) -> float:
    """Median time per output token after the first, in s, by the server's clock."""
    return float(np.median([(r["sent_ns"][-1] - r["sent_ns"][0]) / (len(r["sent_ns"]) - 1) for r in records])) / 1e9


def true_ttft(records: list[Json]) -> float:
    return float(np.median([r["sent_ns"][0] - r["read_ns"] for r in records])) / 1e9


@pytest.fixture(scope="module")
def sped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run of four blocks in which b is scripted to be 1.3 times as fast."""
    out = tmp_path_factory.mktemp("sped") / "out"
    engine = {"kind": "fake", "ttft_ms": 10, "itl_ms": 2, "speed": {"b": 1.3}}
    outcome = quantcheck.run(experiment(blocks=4, noise_floor=True, engine=engine), out)
    assert left_running() == []
    assert outcome.measured == 4 * 3
    assert outcome.problems == []
    return out


@pytest.mark.alone
def test_a_scripted_speed_up_is_found_and_is_the_servers_own(sped: Path) -> None:
    summary = summary_of(sped)
    for metric, measure in (("tpot", true_tpot), ("ttft", true_ttft)):
        row = speed_row(summary, "b", metric)
        truth = np.exp(np.mean([
            np.log(measure(golden(sped, "b", block, 6))) - np.mean([
                np.log(measure(golden(sped, twin, block, 6))) for twin in ("a", "a@again")
            ])
            for block in range(4)
        ]))
        # Half a percent for what lies between the two clocks' readings: the way through the kernel.
        slack = 0.005 if metric == "tpot" else 0.05
        assert row["ratio"]["low"] - slack <= truth <= row["ratio"]["high"] + slack, metric
        assert truth == pytest.approx(1 / 1.3, rel=0.08)
        assert row["word"] == "faster"
        assert row["ratio"]["high"] < 1
    row = speed_row(summary, "b", "output_throughput")
    assert row["word"] == "faster"
    assert row["ratio"]["low"] > 1.05
    assert row["ratio"]["value"] == pytest.approx(1.3, rel=0.08)
    assert row["blocks"] == 4
    floor = [row for row in summary["noise_floor"] if (row["kind"], row["subject"]) == ("speed", LOAD)]
    assert [row["effect"]["value"] for row in floor] == [pytest.approx(1.0, abs=0.08)]
    assert "b" in summary["headline"]["sentence"]


@pytest.mark.alone
def test_the_interval_is_the_t_interval_of_the_blocks_log_ratios(sped: Path) -> None:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    hashes: dict[int, set[str]] = defaultdict(set)
    for cell in Store(sped).cells():
        result = cell.record["result"]
        if not result["client"]["limited"]:  # a busy machine: such a window is no figure of the engine
            values[cell.key.variant][cell.key.block] = result["metrics"]["output_throughput"]
        hashes[cell.key.block].add(result["prompts_sha256"])
        # The stored figure follows from the stored samples.
        chunks, table = cell.table("chunks"), cell.table("requests")
        measured = table["request"][table["phase"] == "measured"]
        begin = table["sent_s"][np.isin(table["request"], measured)].min()
        end = table["last_s"][np.isin(table["request"], measured)].max()
        tokens = chunks["tokens"][(chunks["at_s"] > begin) & (chunks["at_s"] <= end)].sum()
        assert result["metrics"]["output_throughput"] == pytest.approx(tokens / (end - begin), rel=1e-6)
    # The baseline of a block is the mean of the two measurements that span it.
    twin, blocks = values["a@again"], sorted(values["a"].keys() & values["b"].keys())
    logs = np.array([np.log(values["b"][k]) - np.log([values["a"][k], twin.get(k, values["a"][k])]).mean()
                     for k in blocks])
    half = stats.t.ppf(0.975, len(blocks) - 1) * logs.std(ddof=1) / np.sqrt(len(blocks))
    ratio = speed_row(summary_of(sped), "b", "output_throughput")["ratio"]
    assert ratio["value"] == pytest.approx(np.exp(logs.mean()), rel=1e-9)
    assert ratio["low"] == pytest.approx(np.exp(logs.mean() - half), rel=1e-6)
    assert ratio["high"] == pytest.approx(np.exp(logs.mean() + half), rel=1e-6)
    # The same prompts for all variants, others in each block.
    assert all(len(found) == 1 for found in hashes.values())
    assert len(set.union(*hashes.values())) == 4


@pytest.mark.alone
def test_a_variant_that_never_starts_is_missing_with_its_reason_and_made_good_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = serving.open_engine

    def broken(settings: Any, *, variant: str, **others: Any) -> Engine:
        if variant == "b":
            settings = settings.model_copy(update={"fault": "never-healthy", "start_timeout_s": 0.5})
        return whole(settings, variant=variant, **others)

    chosen = experiment(variants={name: {"scheme": "gguf/F16"} for name in ("a", "b", "c")})
    out = tmp_path / "out"
    monkeypatch.setattr(serving, "open_engine", broken)
    outcome = quantcheck.run(chosen, out)
    assert [problem["variant"] for problem in outcome.problems] == ["b"]
    assert "not healthy within 0.5 s" in outcome.problems[0]["reason"]
    assert outcome.measured == 2 * 2
    summary = summary_of(out)
    row = speed_row(summary, "b", "output_throughput")
    assert row["ratio"]["value"] is None
    assert "not healthy within 0.5 s" in row["ratio"]["reason"]
    assert speed_row(summary, "c", "output_throughput")["ratio"]["value"] is not None
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "n/a" in page
    assert "not healthy within 0.5 s" in page
    first = {cell.key.id: (cell.folder / "cell.json").stat().st_mtime_ns for cell in Store(out).cells()}

    monkeypatch.setattr(serving, "open_engine", whole)
    outcome = quantcheck.run(chosen, out)
    assert outcome.problems == []
    assert outcome.measured == 2
    assert first.items() <= {cell.key.id: (cell.folder / "cell.json").stat().st_mtime_ns
                             for cell in Store(out).cells()}.items()
    assert speed_row(summary_of(out), "b", "output_throughput")["ratio"]["value"] is not None
    assert "not healthy" not in (out / "comparison.md").read_text(encoding="utf-8")


def test_a_baseline_that_never_starts_ends_the_run(tmp_path: Path) -> None:
    chosen = experiment(engine={"kind": "fake", "fault": "die-at-start"})
    with pytest.raises(EngineError, match="fake engine of a") as caught:
        quantcheck.run(chosen, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(Store(tmp_path / "out").cells()) == []


@pytest.mark.alone
def test_report_writes_the_same_bytes_again(tmp_path: Path, sped: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(sped, out)
    before = {name: (out / name).read_bytes() for name in ("comparison.md", "summary.json")}
    for name in before:
        (out / name).unlink()
    done = cli(tmp_path, "report", "out")
    assert done.returncode == 0, done.stderr
    assert {name: (out / name).read_bytes() for name in before} == before
    assert before["comparison.md"].decode().startswith("# ")


@pytest.mark.alone
def test_the_command_ends_with_1_for_a_variant_that_never_starts(tmp_path: Path) -> None:
    """The real command in a process of its own, in which variant b's engine is made to fail."""
    (tmp_path / "e.yaml").write_text(json.dumps(experiment(blocks=1).model_dump(mode="json", by_alias=True)))
    code = (
        "import quantcheck.cli, quantcheck.runner.serving as serving\n"
        "whole = serving.open_engine\n"
        "def broken(settings, *, variant, **others):\n"
        "    fault = {'fault': 'die-at-start'} if variant == 'b' else {}\n"
        "    return whole(settings.model_copy(update=fault), variant=variant, **others)\n"
        "serving.open_engine = broken\n"
        "quantcheck.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "run", "e.yaml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert left_running() == []
    said = [line for line in done.stderr.splitlines() if line.startswith("quantcheck: ")]
    assert len(said) == 1
    assert said[0].startswith("quantcheck: b was not measured whole: fake engine of b")
    assert "n/a" in done.stdout
    assert {cell.key.variant for cell in Store(tmp_path / "results" / "exp").cells()} == {"a"}
    done = cli(tmp_path, "run", "e.yaml")
    assert done.returncode == 0, done.stderr
    assert "1 of them stored already" in done.stderr


def test_a_file_that_llama_cpp_refuses_is_one_line_and_keeps_earlier_cells(tmp_path: Path) -> None:
    """A GGUF whose tensors are readable but not all there: found only when the engine loads it."""
    write_tiny(tmp_path / "good.gguf")
    weights = random_weights(TinyShape(), 0)
    del weights["blk.1.ffn_down.weight"]
    write_gguf(tmp_path / "bad.gguf", TinyShape(), weights)
    (tmp_path / "exp.yaml").write_text(
        "model: good.gguf\nbaseline: a\nnoise_floor: false\nblocks: 1\nvariants:\n"
        "  a: {checkpoint: good.gguf, scheme: gguf/F16}\n  b: {checkpoint: bad.gguf, scheme: gguf/F16}\n"
        "engine: {kind: llama.cpp, threads: 1}\n"
        "load: {workloads: {s: {prompt_tokens: 8, output_tokens: 64}}, requests: 3, warmup_requests: 1}\n")
    done = cli(tmp_path, "run", "exp.yaml")
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("quantcheck: ")]
    assert len(said) == 1
    assert said[0].startswith("quantcheck: b was not measured whole")
    assert "blk.1.ffn_down.weight" in said[0]
    out = tmp_path / "results" / "exp"
    assert {cell.key.variant for cell in Store(out).cells()} == {"a"}
    limited = any(limited_by_client(cell) for cell in Store(out).cells())

    shutil.copy(tmp_path / "good.gguf", tmp_path / "bad.gguf")
    done = cli(tmp_path, "run", "exp.yaml")
    assert done.returncode == 0, done.stderr
    # On a busy machine the client may have been the limit: such a window is measured again.
    assert limited or "1 of them stored already" in done.stderr
    assert {cell.key.variant for cell in Store(out).cells()} == {"a", "b"}


class KeepsLogits(Silent):
    """Copies the baseline's logits before the run clears them."""

    def __init__(self, work: Path, to: Path) -> None:
        self._work, self._to = work, to

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None:
        for file in self._work.glob("*.f32"):
            shutil.copy(file, self._to / "logits.f32")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json, Path]:
    """A small run of the reference model on llama.cpp: its results, its summary, and the folder around them."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "kept").mkdir()
    chosen = Experiment.model_validate({
        "name": "small", "model": "reference", "baseline": "F16", "blocks": 2,
        "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q2_K")},
        "engine": {"kind": "llama.cpp", "threads": 1},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8},
                               "l": {"prompt_tokens": 48, "output_tokens": 4}},
                 "requests": 3, "warmup_requests": 1},
        "quality": {"suites": ["reference/stories", "reference/arithmetic", "reference/knowledge"],
                    "items": 8, "tokens": 256},
    })
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTCHECK_CACHE", str(folder / "cache"))
        outcome = quantcheck.run(chosen, folder / "out", KeepsLogits(folder / "out" / "work", folder / "kept"))
    assert outcome.problems == []
    assert outcome.measured == 3 * (3 + 2 * 2)
    assert left_running() == []
    assert not (folder / "out" / "work").exists()
    return folder / "out", summary_of(folder / "out"), folder


def test_a_real_run_is_whole_and_sees_the_damage(real: tuple[Path, Json, Path]) -> None:
    out, summary, _ = real
    results = {(cell.key.variant, cell.key.subject): cell.record["result"] for cell in Store(out).cells()}
    assert results["Q2_K", "reference/stories"]["kl_divergence"] > 0.1
    assert results["F16@again", "reference/stories"]["kl_divergence"] < 1e-3
    assert results["F16", "reference/stories"]["kl_divergence"] is None
    assert results["F16", "reference/arithmetic"]["accuracy"] > results["Q2_K", "reference/arithmetic"]["accuracy"]
    hashes: dict[tuple[str, int], set[str]] = defaultdict(set)
    for cell in Store(out).cells():
        hashes[cell.key.subject, cell.key.block].add(cell.record["result"]["prompts_sha256"])
    assert all(len(found) == 1 for found in hashes.values()), "the same token ids for all variants"
    assert len(set.union(*hashes.values())) == 3 + 2 * 2
    for (_, subject), result in results.items():
        if "@c" in subject:
            assert result["outcomes"] == {"ok": 3}
            assert result["output_tokens"] == 3 * (8 if subject == LOAD else 4)
            assert result["token_counts"]["prompt_unlike_server"] == 0
            assert all(result["memory"][key] > 0 for key in
                       ("rss_bytes", "pss_bytes", "weights_bytes", "kv_cache_bytes"))
    names = [variant["name"] for variant in summary["variants"]]
    assert names[0] == "F16"
    assert "Q2_K" in names
    sizes = {name: Path(prepared.path).stat().st_size for name, prepared in artifacts(real).items()}
    assert sizes["Q2_K"] < 0.5 * sizes["F16"]


def artifacts(real: tuple[Path, Json, Path]) -> Any:
    variants = {name: Variant(scheme=f"gguf/{name}") for name in ("F16", "Q2_K")}
    return prepare("reference", variants, cache=real[2] / "cache")


def test_the_stored_perplexity_is_that_of_the_logits(real: tuple[Path, Json, Path]) -> None:
    out, summary, folder = real
    quality = Quality(suites=["reference/stories"], tokens=256)
    corpus = load_suites(quality)[0]
    assert isinstance(corpus, Corpus)
    with Model(artifacts(real)["F16"].path) as model:
        work = encode(corpus, Vocabulary(model), quality)
    targets: NDArray[Any] = np.concatenate([window.tokens[-window.scored:] for window in work.windows])
    logits = np.fromfile(folder / "kept" / "logits.f32", dtype="<f4", offset=8)
    rows = logits.reshape(len(targets), -1).astype(np.float64)
    nll = [float(np.log(np.exp(row - row.max()).sum()) + row.max() - row[token])
           for row, token in zip(rows, targets.tolist(), strict=True)]
    stored = next(cell for cell in Store(out).cells()
                  if (cell.key.variant, cell.key.subject) == ("F16", "reference/stories"))
    assert stored.record["result"]["perplexity"] == pytest.approx(float(np.exp(np.mean(nll))), rel=1e-4)
    np.testing.assert_allclose(stored.table("tokens")["nll"], nll, rtol=1e-4, atol=1e-9)
    assert stored.record["result"]["prompts_sha256"] == work.sha256
    told = [row for row in summary["corpora"] if (row["variant"], row["corpus"]) == ("F16", "reference/stories")]
    assert told[0]["perplexity"]["value"] == pytest.approx(float(np.exp(np.mean(nll))), rel=1e-4)


def test_the_api_prints_nothing_and_writes_into_the_results_folder_only(tmp_path: Path) -> None:
    code = (
        "import quantcheck, pathlib\n"
        "e = quantcheck.read(pathlib.Path('e.yaml'))\n"
        "assert quantcheck.run(e, pathlib.Path('out')).measured == 2\n"
    )
    (tmp_path / "e.yaml").write_text(json.dumps(experiment(blocks=1).model_dump(mode="json", by_alias=True)))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"e.yaml", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".lock", "cells", "comparison.md", "experiment.json", "logs", "report.html", "summary.json"}
