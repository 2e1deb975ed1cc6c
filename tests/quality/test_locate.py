"""The module that was damaged on purpose is found, wherever it is."""

from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import ModelError, SpecError
from quantcheck.quality.locate import Located, LocateJob, locate
from quantcheck.quality.mixed import mixed_files
from quantcheck.report.heatmap import heatmap
from quantcheck.report.located import locate_report, located_grid, located_lines
from quantcheck.spec.experiment import Quality, TextSuite
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.quantize import quantize
from quantcheck.variants.swap import unlike_tensors, write_mixed
from tests.ggml.tiny import TinyShape, write_tiny

TEXT = "A short text\nof two lines, and then some more of it. " * 3
WIDE = TinyShape(hidden=256, ffn=256, layers=3)
"""Rows of 256, which two-bit blocks need."""


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "f16.gguf"
    write_tiny(path, shape=WIDE)
    return path


def job(folder: Path, baseline: Path, variant: Path, *, reverse: bool = False) -> LocateJob:
    text = folder / "mine.txt"
    text.write_text(TEXT)
    quality = Quality(texts={"mine": TextSuite(text=str(text))}, context=64, stride=32)
    return LocateJob(baseline=baseline, variant=variant, quality=quality, suite="mine", tokens=96, threads=1,
                     batch_tokens=128, reverse=reverse)


def found(folder: Path, baseline: Path, variant: Path, *, reverse: bool = False) -> Located:
    told: list[dict[str, object]] = []
    asked = job(folder, baseline, variant, reverse=reverse)
    result = locate(asked, mixed_files(baseline, variant, folder, 1, 128), folder, lambda **event: told.append(event))
    assert [event["done"] for event in told if "done" in event] == ["", *result.modules.tolist()]
    assert not (folder / "mixed.gguf").exists()
    return result


def report(result: Located, *, reverse: bool = False, **changes: object) -> object:
    return locate_report(result.modules.tolist(), result.kl, result.whole, result.document, **{
        "variant": "v", "baseline": "b", "corpus": "mine", "reverse": reverse, "engine": "llama.cpp",
        "maker": "quantcheck", "types": {}, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("damaged", ["blk.0.ffn_down", "blk.1.attn_output", "blk.2.ffn_gate"])
def test_one_projection_at_two_bits_among_eight_is_found_first(
    damaged: str, reverse: bool, baseline: Path, tmp_path: Path
) -> None:
    variant = tmp_path / "variant.gguf"
    quantize(baseline, variant, "Q8_0", own={damaged: "Q2_K"}, threads=1)
    result = found(tmp_path, baseline, variant, reverse=reverse)
    assert len(result.modules) == 3 * 7 + 2
    ranked = report(result, reverse=reverse)
    first, second = ranked.modules[:2]  # type: ignore[attr-defined]
    assert first.module == f"{damaged}.weight"
    assert first.damage.value > 3 * second.damage.value
    assert ranked.keep == [f"quantize: {{tensors: {{{damaged}: Q8_0}}}}"]  # type: ignore[attr-defined]


def test_all_modules_together_are_the_variant_and_none_is_the_baseline(baseline: Path, tmp_path: Path) -> None:
    variant = tmp_path / "variant.gguf"
    quantize(baseline, variant, "Q4_0", threads=1)
    ours, theirs = GgufFile(baseline), GgufFile(variant)
    names = unlike_tensors(ours, theirs)
    write_mixed(tmp_path / "all.gguf", ours, theirs, names)
    write_mixed(tmp_path / "none.gguf", ours, theirs, [])
    assert unlike_tensors(GgufFile(tmp_path / "all.gguf"), theirs) == []
    assert unlike_tensors(GgufFile(tmp_path / "none.gguf"), ours) == []
    write_mixed(tmp_path / "one.gguf", ours, theirs, names[:1])
    assert unlike_tensors(GgufFile(tmp_path / "one.gguf"), ours) == names[:1]
    assert unlike_tensors(GgufFile(tmp_path / "one.gguf"), theirs) == names[1:]


def test_two_models_and_one_model_twice_are_refused(baseline: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    write_tiny(other)
    with pytest.raises(ModelError, match="no variants of one model"):
        mixed_files(baseline, other, tmp_path, 1, 128)
    with pytest.raises(SpecError, match="nothing to locate"):
        found(tmp_path, baseline, baseline)


def some(names: list[str], damage: list[float]) -> Located:
    rng = np.random.default_rng(0)
    kl = np.abs(rng.normal(1, 0.1, size=(len(names), 600))) * np.array(damage)[:, None]
    return Located(np.array(names), kl, kl.sum(axis=0), np.repeat(np.arange(20), 30).astype(np.int32))


NAMES = ["model.layers.0.mlp.up_proj", "model.layers.10.mlp.up_proj", "lm_head"]


def test_the_recipe_keeps_the_fewest_that_do_half_of_the_damage() -> None:
    ranked = report(some(NAMES, [0.1, 0.5, 0.4]), engine="transformers", maker="llm-compressor")
    assert [row.module for row in ranked.modules] == [NAMES[1], NAMES[2], NAMES[0]]  # type: ignore[attr-defined]
    assert [row.share for row in ranked.modules] == pytest.approx([0.5, 0.4, 0.1], abs=0.01)  # type: ignore[attr-defined]
    assert ranked.keep == [f"quantize: {{ignore: [{NAMES[1]}, {NAMES[2]}]}}"]  # type: ignore[attr-defined]
    assert any("worst: model.layers.10.mlp.up_proj, 50%" in line for line in located_lines(ranked))  # type: ignore[arg-type]
    assert len(located_grid(ranked, 2).rows) == 2  # type: ignore[arg-type]
    assert report(some(NAMES, [0.1, 0.5, 0.4]), maker="transformers").keep == []  # type: ignore[attr-defined]
    assert report(some(NAMES, [0.0, 0.0, 0.0])).keep == []  # type: ignore[attr-defined]


def test_the_picture_has_a_mark_for_each_module_and_keeps_names_text() -> None:
    names = [*NAMES, "blk.3.</svg><script>.weight"]
    picture = heatmap(report(some(names, [0.1, 0.5, 0.4, 0.2])))  # type: ignore[arg-type]
    assert picture.count("<rect") == 1 + len(names)
    assert "<script" not in picture
    assert picture.count("</svg>") == 1
