"""Runs on a llama.cpp that is not the wheel's: what was compiled here serves and scores, and its cells are its own."""

from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGMLQuantizationType as Kind

import quantcheck
from quantcheck.environments.native import Native
from quantcheck.errors import EngineUnavailable
from quantcheck.runner import serving
from quantcheck.spec.experiment import Experiment
from quantcheck.store import Store
from tests.engines.native import stand_in
from tests.ggml.tiny import TinyShape, write_tiny

TEXT = "The cat sat on the mat and looked at the rain. " * 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    for name, kind in (("a", Kind.F16), ("b", Kind.Q8_0)):
        write_tiny(tmp_path / f"{name}.gguf", TinyShape(), kind=kind)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def experiment(folder: Path, build: str) -> Experiment:
    return Experiment.model_validate({
        "name": "exp", "model": str(folder / "a.gguf"), "baseline": "a", "noise_floor": False, "blocks": 1,
        "engine": {"kind": "llama.cpp", "threads": 1, "scoring_threads": 1, "build": build},
        "variants": {name: {"checkpoint": str(folder / f"{name}.gguf"), "scheme": f"gguf/{kind}"}
                     for name, kind in (("a", "F16"), ("b", "Q8_0"))},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 4}}, "requests": 3, "warmup_requests": 1},
        "quality": {"texts": {"text": {"text": str(folder / "text.txt"), "tokens": None}}, "context": 64, "stride": 32},
    })


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Native:
    server = stand_in(folder / "native")
    found = Native(server, server.with_name("libllama.so"))
    monkeypatch.setattr(serving, "native", lambda: found)
    return found


def build_of(record: Any) -> str:
    """Of the engine that a cell names: one that was loaded tells it with its figures."""
    engine = record["result"].get("engine") or record["engine"]
    return str(engine["build"])


def test_it_serves_and_scores_and_mixes_with_no_cell_of_the_wheel(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "out"
    installed(folder, monkeypatch)
    assert quantcheck.run(experiment(folder, "wheel"), out).measured == 4
    wheel = {(cell.key.variant, cell.key.subject): cell.record for cell in Store(out).cells()}
    assert {build_of(record) for record in wheel.values()} == {"wheel"}
    outcome = quantcheck.run(experiment(folder, "native"), folder / "other")
    assert (outcome.measured, outcome.problems) == (4, [])
    mine = {(cell.key.variant, cell.key.subject): cell.record for cell in Store(folder / "other").cells()}
    assert {build_of(record) for record in mine.values()} == {"native"}
    # The tests' stand-in is the wheel's own code: its figures of quality are the same bits.
    assert mine["b", "text"]["result"]["perplexity"] == wheel["b", "text"]["result"]["perplexity"]
    keys = {build: {cell.key.id for cell in Store(place).cells()}
            for build, place in (("wheel", out), ("native", folder / "other"))}
    assert not keys["wheel"] & keys["native"]


def test_the_library_beside_the_server_is_what_scores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed(folder, monkeypatch)
    found.library.unlink()
    found.library.write_text("no library")
    with pytest.raises(EngineUnavailable, match=r"native/libllama\.so: .*; compile it again: "):
        quantcheck.run(experiment(folder, "native"), folder / "out")


def test_without_it_a_run_says_how_to_get_it_and_makes_nothing(folder: Path) -> None:
    chosen = experiment(folder, "native")
    with pytest.raises(EngineUnavailable, match=r"quantcheck engines install llama\.cpp"):
        quantcheck.run(chosen, folder / "out")
    assert not (folder / "out").exists()
    assert not (folder / "cache").exists()
