"""A variant that cannot be made, loaded or served is a failed row with its reason; the others are measured."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import quantcheck
from quantcheck import Experiment, ModelError, SpecError, reference
from quantcheck.errors import StoreError
from quantcheck.runner import artifacts as making
from quantcheck.runner import run as running
from quantcheck.runner import walk as walking
from quantcheck.runner.progress import Silent
from quantcheck.store import Store
from tests.conftest import left_running
from tests.engines.test_vllm import interpreter
from tests.ggml.tiny import write_tiny
from tests.runner.test_run import summary_of

SERVER = """
import sys, time
from quantcheck.engines.fake import server
from quantcheck.engines.fake.script import Script
if sys.argv[1] != "-m":
    sys.exit(1)  # the probe of the machine's ceilings
said = dict(zip(sys.argv[3::1], sys.argv[4::1]))
name = said["--served-model-name"]
if name.startswith("crash"):
    print("Traceback ...\\nRuntimeError: size mismatch for lm_head.weight", file=sys.stderr)
    sys.exit(1)
if name.startswith("format"):
    print("ValueError: The quantization method nvfp4 is not supported for the current GPU.", file=sys.stderr)
    sys.exit(1)
if name.startswith("large"):
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 200 GiB", file=sys.stderr)
    sys.exit(1)
if name.startswith("hang"):
    time.sleep(300)
sys.exit(server.main(["", Script(model=name, port=int(said["--port"]), ttft_s=0.01, itl_s=0.002).to_json()]))
"""
"""Plays vLLM: the fake engine, but for variants whose name says how they fail."""

LOAD = {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}}, "requests": 4, "warmup_requests": 1}


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: set[str] = set()

    def begin(self, tasks: Any, stored: int) -> None:
        self.begun = {task.entry for task in tasks}

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    for probe in ("ceilings_of", "calibration_of"):  # they take seconds, and nothing here is about them
        monkeypatch.setattr(walking, probe, lambda *_args, **_others: None)


def experiment(variants: Mapping[str, Any], **changes: Any) -> Experiment:
    """On llama.cpp, with the first variant as the baseline."""
    return Experiment.model_validate({
        "name": "x", "model": "reference", "baseline": next(iter(variants)), "blocks": 1, "noise_floor": False,
        "variants": variants, "engine": {"kind": "llama.cpp", "threads": 1}, "load": LOAD, **changes})


def measured(out: Path) -> set[str]:
    return {cell.key.variant for cell in Store(out).cells()}


def reasons(outcome: running.Outcome) -> dict[str, str]:
    found = {problem["variant"]: problem["reason"] for problem in outcome.problems}
    assert not any("\n" in reason for reason in found.values())
    return found


def test_vllm_goes_on_past_every_kind_of_failure(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(reference.model_dir(), cut)
    (cut / "config.json").write_text('{"model_type": "llama", ')
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(reference.model_dir() / "config.json", bare)
    odd = tmp_path / "odd"
    shutil.copytree(reference.model_dir(), odd)
    (odd / "config.json").write_text(json.dumps({"model_type": "rnn", "vocab_size": "many"}))
    chosen = experiment(
        {"bf16": {"scheme": "bf16"}, "cut": {"checkpoint": str(cut)}, "bare": {"checkpoint": str(bare)},
         "odd-crash": {"checkpoint": str(odd)}, "int8": {"scheme": "w8a8-int8", "quantize": {"python": "/bin/false"}},
         "crash": {}, "format": {}, "large": {}, "hang": {}, "whole": {}},
        engine={"kind": "vllm", "python": str(interpreter(tmp_path, SERVER)), "start_timeout_s": 8})
    heard, out = Heard(), tmp_path / "out"
    outcome = quantcheck.run(chosen, out, heard)
    assert left_running() == []
    found = reasons(outcome)
    assert set(found) == set(chosen.variants) - {"bf16", "odd-crash", "whole"}
    for name, reason in {
        "cut": "config.json", "bare": "safetensors", "int8": "engines install llm-compressor",
        "crash": "size mismatch for lm_head.weight", "format": "the GPU cannot run this format",
        "large": "the GPU's memory is too small", "hang": "was not healthy within 8 s",
    }.items():
        assert reason in found[name]
        assert any(note.startswith(f"{name}: ") for note in heard.notes)
    # An architecture that we do not know is vLLM's to judge: it was served.
    assert measured(out) == {"bf16", "odd-crash", "whole"}
    assert heard.begun.isdisjoint({"cut", "bare", "int8"})
    summary = summary_of(out)
    for name, reason in found.items():
        rows = [row for row in summary["speed"] if row["variant"] == name]
        assert rows
        assert all(row["ratio"]["value"] is None for row in rows)
        assert reason in rows[0]["ratio"]["reason"]
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "the GPU cannot run this format" in page


def test_a_damaged_file_is_a_failed_variant_and_made_good_next_time(tmp_path: Path) -> None:
    write_tiny(tmp_path / "good.gguf")
    (tmp_path / "bad.gguf").write_bytes((tmp_path / "good.gguf").read_bytes()[:-1000])
    chosen = experiment({name: {"checkpoint": str(tmp_path / file), "scheme": "gguf/F16"} for name, file in (
        ("a", "good.gguf"), ("b", "bad.gguf"), ("c", "good.gguf"))})
    out = tmp_path / "out"
    first = quantcheck.run(chosen, out)
    assert "cut off" in reasons(first)["b"]
    assert measured(out) == {"a", "c"}
    row = next(row for row in summary_of(out)["variants"] if row["name"] == "b")
    assert row["size"]["bytes"]["value"] is None

    shutil.copy(tmp_path / "good.gguf", tmp_path / "bad.gguf")
    second = quantcheck.run(chosen, out)
    # A busy machine may show the client instead of so small a model: such cells are measured again.
    assert second.problems == []
    assert second.measured >= 1
    assert measured(out) == {"a", "b", "c"}


def test_the_baselines_artifact_comes_first_and_its_failure_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    chosen = experiment({"a": {"checkpoint": str(tmp_path / "bad.gguf")}, "b": {"scheme": "gguf/Q8_0"}},
                        baseline="a")
    with pytest.raises(ModelError, match=r"bad\.gguf"):
        quantcheck.run(chosen, tmp_path / "out")
    assert not list((tmp_path / "cache" / "artifacts").glob("[!.]*"))
    assert measured(tmp_path / "out") == set()


def test_a_mistake_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    chosen = experiment({"a": {"scheme": "gguf/F16"}, "b": {"checkpoint": str(tmp_path / "none.gguf")}})
    with pytest.raises(SpecError, match=r"none\.gguf' is not there"):
        quantcheck.run(chosen, tmp_path / "out")
    served = experiment({"a": {}, "b": {"checkpoint": str(tmp_path / "none")}},
                        engine={"kind": "vllm", "python": str(interpreter(tmp_path, SERVER))})
    with pytest.raises(SpecError, match="none' is not there"):
        quantcheck.run(served, tmp_path / "out")
    assert not list((tmp_path / "cache" / "artifacts").glob("[!.]*"))


def test_a_disk_that_is_too_small_for_one_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantcheck.variants import make

    whole = make.quantize

    def full(source: Any, target: Path, scheme: str, **others: Any) -> Any:
        if scheme == "Q8_0":
            target.write_bytes(b"half")
            raise StoreError(f"{target}: no space left on the disk; free some, then run again")
        return whole(source, target, scheme, **others)

    monkeypatch.setattr(make, "quantize", full)
    chosen = experiment({"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}, "c": {"scheme": "gguf/Q2_K"}})
    outcome = quantcheck.run(chosen, tmp_path / "out")
    assert "no space left" in reasons(outcome)["b"]
    assert measured(tmp_path / "out") == {"a", "c"}
    assert {path.name.split("-")[0] for path in (tmp_path / "cache" / "artifacts").glob("[!.]*")} == {"F16", "Q2_K"}


def test_what_was_measured_of_a_variant_whose_artifact_is_gone_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the artifact nobody can say whether the stored cells are still those of the experiment."""
    chosen = experiment({"a": {"scheme": "x"}, "b": {"scheme": "x"}, "c": {"scheme": "x"}},
                        model="none", engine={"kind": "fake", "ttft_ms": 3, "itl_ms": 1})
    out = tmp_path / "out"
    assert quantcheck.run(chosen, out).measured == 3
    whole = making.artifacts_of

    def without_b(*args: Any) -> Any:
        made, failed = whole(*args)
        del made["b"]
        return made, {**failed, "b": "the hub is gone"}

    monkeypatch.setattr(running, "artifacts_of", without_b)
    outcome = quantcheck.run(chosen, out)
    assert reasons(outcome) == {"b": "the hub is gone"}
    rows = [row for row in summary_of(out)["speed"] if row["variant"] == "b"]
    assert all(row["ratio"]["value"] is None and "the hub is gone" in row["ratio"]["reason"] for row in rows)
    monkeypatch.setattr(running, "artifacts_of", whole)
    assert quantcheck.run(chosen, out).problems == []
    assert measured(out) == {"a", "b", "c"}


def test_ctrl_c_while_an_artifact_is_made_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantcheck.variants import make

    def interrupted(*_args: Any, **_others: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "quantize", interrupted)
    chosen = experiment({"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}})
    with pytest.raises(KeyboardInterrupt):
        quantcheck.run(chosen, tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()
    assert not list((tmp_path / "cache" / "artifacts").glob("*.making"))
