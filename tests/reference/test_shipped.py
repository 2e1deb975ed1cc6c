"""What ships: well-formed items that their own references pass, corpora and a model of the stated size."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from quantcheck import reference
from quantcheck.quality import answers, expressions

RECIPE = Path(__file__).resolve().parents[2] / "reference"
sys.path.append(str(RECIPE))

import corpus  # noqa: E402


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_ids_are_unique_and_name_their_skill() -> None:
    for name in reference.SKILLS:
        ids = [item["id"] for item in rows(reference.skill_path(name))]
        assert len(set(ids)) == len(ids)
        assert all(i.startswith(name + "-") for i in ids)


def test_arithmetic_workings_are_true_and_end_in_the_answer() -> None:
    for item in rows(reference.skill_path("arithmetic")):
        assert answers.final_number(item["working"]) == item["answer"]
        for equation in item["working"].strip().split("; "):
            left, _, right = equation.partition("=")
            assert expressions.evaluate(left, None) == int(right)


def test_expression_references_run_on_their_inputs_and_are_not_constant() -> None:
    for item in rows(reference.skill_path("expressions")):
        values = [expressions.evaluate(item["reference"], x) for x in item["inputs"]]
        assert any(not expressions.same_value(v, values[0]) for v in values)
        assert expressions.agrees(item["reference"], item["reference"], item["inputs"])


def test_knowledge_items_have_four_distinct_choices() -> None:
    for item in rows(reference.skill_path("knowledge")):
        assert len(set(item["choices"])) == 4
        assert all(c.startswith(" ") for c in item["choices"])
        assert item["gold"] in range(4)


def test_knowledge_gold_is_spread_over_the_positions() -> None:
    golds = [item["gold"] for item in rows(reference.skill_path("knowledge"))]
    assert all(200 < golds.count(position) < 300 for position in range(4))


def test_format_checks_are_known_and_not_met_by_an_empty_answer() -> None:
    for item in rows(reference.skill_path("format")):
        assert item["checks"]
        assert not all(answers.check_format("", item["checks"]))


@pytest.mark.parametrize("name", reference.CORPORA)
def test_corpora_are_of_the_stated_size(name: str) -> None:
    texts = [row["text"] for row in rows(reference.corpus_path(name))]
    assert 25 <= len(texts) <= 80
    assert 60_000 <= sum(len(t.encode()) for t in texts) <= 90_000
    assert all(1000 <= len(t) <= 4000 for t in texts)


def test_the_held_out_package_is_not_trained_on() -> None:
    assert corpus.HELD_OUT[0] not in corpus.PACKAGES


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError):
        reference.skill_path("poetry")
    with pytest.raises(KeyError):
        reference.corpus_path("../model/config")


def test_the_model_fits_and_its_rows_suit_k_quants() -> None:
    path = reference.model_dir() / "model.safetensors"
    assert path.stat().st_size <= 24_000_000
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert all(entry["dtype"] == "F16" for entry in tensors.values())
    assert all(entry["shape"][-1] % 256 == 0 for entry in tensors.values())
    config = json.loads((reference.model_dir() / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    layer = [name for name in tensors if name.startswith("model.layers.")]
    assert len(layer) == 9 * config["num_hidden_layers"]


def test_no_merge_of_the_tokenizer_holds_a_digit() -> None:
    data = json.loads((reference.model_dir() / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = data["model"]["vocab"]
    assert len(vocabulary) == 4096
    assert [token for token in vocabulary if any(c.isdigit() and c.isascii() for c in token)] == list("0123456789")
    assert data["pre_tokenizer"]["type"] == "ByteLevel"
    assert vocabulary["<|endoftext|>"] == 0


def test_every_skill_of_the_stored_evaluation_meets_its_target() -> None:
    scores = json.loads((RECIPE / "results" / "evaluation.json").read_text())
    for name, target in {"arithmetic": 0.85, "expressions": 0.75, "knowledge": 0.85, "format": 0.85}.items():
        assert scores[name]["right"] >= target * scores[name]["n"]
        assert scores[name]["n"] == len(rows(reference.skill_path(name)))
