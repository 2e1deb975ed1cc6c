"""Recipes and calibration in words, and settings side by side."""

from typing import Any

import pytest

from quantcheck.report.recipes import calibration_words, maker_words, model_pairs, recipe_grid, shared_and_own
from tests.report.situations import all_measured, random_weights

CALIBRATED = {"dataset": "a.jsonl", "data_sha256": "e" * 64, "samples": 48, "tokens": 12288, "most_tokens": 256,
              "seed": 7}  # fmt: skip


@pytest.mark.parametrize(("recipe", "words"), [
    ({}, "none"),
    ({"ready": True}, "not known (a ready checkpoint)"),
    ({"calibration": CALIBRATED}, "a.jsonl: 48 samples, 12,288 tokens, at most 256 a sample, seed 7"),
    ({"calibration": {"hub": "a/b", "samples": 8, "tokens": 512, "seed": 0}},
     "a/b: 8 samples, at most 512 tokens a sample, seed 0"),
    ({"imatrix": {"data_sha256": "d" * 64, "tokens": 9000, "chunk_tokens": 512}, "imatrix_tokens": 8704},
     "importance matrix: 8,704 tokens, no seed: read from its begin"),
    ({"imatrix": True}, "none"),  # of random weights: there is no text
])  # fmt: skip
def test_calibration_in_words(recipe: dict[str, Any], words: str) -> None:
    assert calibration_words(recipe) == words


@pytest.mark.parametrize(("recipe", "words"), [
    ({"weights": "random", "with": "quantcheck"}, "random weights"),
    ({"ready": True}, "as it was found"),
    ({"with": "llm-compressor", "method": "awq", "tools": {"torch": "2"}}, "awq, llm-compressor (torch 2)"),
    ({}, "quantcheck"),
])  # fmt: skip
def test_makers_in_words(recipe: dict[str, Any], words: str) -> None:
    assert maker_words(recipe) == words


def test_every_variant_has_its_recipe_and_hashes() -> None:
    rows = {row[0].text: row for row in recipe_grid(all_measured()).rows}
    assert list(rows) == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
    assert [item.text for item in rows["Q2_K"][3:6]] == [
        "gptq, llm-compressor (llmcompressor 0.14)",
        "stories.jsonl: 48 samples, 12,288 tokens, at most 256 a sample, seed 7", "e" * 12]


def test_the_model_and_the_machine_are_told() -> None:
    told = model_pairs(all_measured())
    assert told["source SHA-256"] == "5" * 64
    assert told["engine"] == "llama.cpp fake 1"
    assert "Imaginary GPU (80000 MiB, driver 580.1)" in told["machine"]
    assert model_pairs(random_weights())["source"] == "random weights"


def test_shared_values_are_told_once() -> None:
    shared, own = shared_and_own({"a": {"x": 1, "y": {"z": 0.123456}}, "b": {"x": 1, "y": {"z": 2.0}, "w": None}})
    assert shared == {"x": "1"}
    assert [[item.text for item in row] for row in own.rows] == [["y.z", "0.1235", "2"], ["w", "n/a", "n/a"]]
