"""The model card's section: read back by huggingface_hub, and silent about the machine's files."""

import json
import re
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcheck.errors import SpecError
from quantcheck.report.model_card import card_data, model_card
from quantcheck.report.public_names import NOT_SHOWN
from quantcheck.report.summary import Summary
from tests.report.golden_files import check_golden
from tests.report.rendered import ALLOWED, read
from tests.report.situations import (
    SITUATIONS,
    all_measured,
    failed_cells,
    not_comparable,
    random_weights,
    single_variant,
)
from tests.report.test_markdown import HOSTILE, with_name


def results(card: ModelCard) -> list[EvalResult]:
    return list(card.data.eval_results or [])


def changed(old: str, new: str, **experiment: str) -> Summary:
    document = with_name(json.loads(all_measured().model_dump_json()), old, new)
    document["experiment"] |= experiment
    return Summary.model_validate(document)


def test_golden() -> None:
    check_golden("model-card.md", model_card(all_measured(), "Q2_K"))


@pytest.mark.parametrize(("name", "variant"), [
    (name, row.name) for name, make in SITUATIONS.items() for row in make().variants if not row.baseline])
def test_it_reads_back_as_the_same_results(name: str, variant: str) -> None:
    summary = SITUATIONS[name]()
    card = ModelCard(model_card(summary, variant), ignore_metadata_errors=False)
    data = card_data(summary, variant)
    assert results(card) == list(data.eval_results or [])
    assert card.data.to_dict() == data.to_dict()
    if "model-index" in card.data.to_dict():
        assert model_index_to_eval_results(card.data.to_dict()["model-index"]) == (data.model_name, data.eval_results)


def test_results_are_the_figures_of_the_summary() -> None:
    summary = all_measured()
    found = {(one.dataset_name, one.metric_type): one for one in results(ModelCard(model_card(summary, "Q2_K")))}
    for task in (row for row in summary.quality if row.variant == "Q2_K"):
        one = found[task.task, "accuracy"]
        assert one.metric_value == task.accuracy.value
        assert one.metric_args is not None
        assert (one.metric_args["change_low"], one.metric_args["n"]) == (task.delta.low, task.n)
        assert one.dataset_revision == summary.settings["hashes"][task.task]["suite_sha256"]
    for corpus in (row for row in summary.corpora if row.variant == "Q2_K"):
        assert found[corpus.corpus, "perplexity"].metric_value == corpus.perplexity.value
        assert found[corpus.corpus, "kl_divergence"].metric_value == corpus.kl_divergence.value
    assert len(found) == 4 + 2 * 2


def test_it_says_what_it_was_made_from_and_measured_with() -> None:
    text = model_card(changed("reference.yaml", "reference.yaml", model="hub:owner/model"), "Q2_K")
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["base_model"], front["base_model_relation"]) == ("owner/model", "quantized")
    assert {"quantized", "quantcheck", "gguf/Q2_K"} <= set(front["tags"])
    assert front["model-index"][0]["name"] == "model-Q2_K"
    for part in ("stories.jsonl: 48 samples", "e" * 64, "580.1", "quantcheck 0.1.0, engine llama.cpp, seed 0",
                 "quantcheck run reference.yaml"):  # fmt: skip
        assert part in text


def test_random_weights_have_no_results() -> None:
    text = model_card(random_weights(), "Q8_0")
    assert "model-index" not in text
    assert "nothing is said of quality" in text


def test_what_is_missing_is_no_result() -> None:
    names = {one.dataset_name for one in results(ModelCard(model_card(failed_cells(), "Q2_K")))}
    assert "reference/arithmetic" in names
    assert "reference/format" not in names
    assert results(ModelCard(model_card(failed_cells(), "Q4_K_M"))) == []
    for one in results(ModelCard(model_card(not_comparable(), "Q8_0"))):
        assert one.metric_type in ("accuracy", "perplexity")  # its own; a divergence is from the baseline
        assert not {"change", "ratio"} & set(one.metric_args or {})


@pytest.mark.parametrize(("variant", "message"), [
    ("Q9", "is no variant of this run: choose one of Q8_0, Q4_K_M, Q2_K"),
    ("F16", "is the baseline, which is compared with nothing: choose one of Q8_0"),
])  # fmt: skip
def test_a_variant_that_cannot_be_shown(variant: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        model_card(all_measured(), variant)


def test_a_baseline_alone_has_no_card() -> None:
    with pytest.raises(SpecError, match="run an experiment with a second variant"):
        model_card(single_variant(), "F16")


def test_no_local_path_comes_into_it() -> None:
    """Of the model, a task's file, the command, a calibration's text, and reasons that name a log."""
    document = json.loads(failed_cells().model_dump_json())
    document = with_name(document, "reference/arithmetic", "/home/secret/mine.jsonl")
    document = with_name(document, "the scorer ran out of memory", "it died; full log: /home/secret/my logs/x.log")
    document = with_name(document, "engine never became healthy", "no 'secret/model.gguf'")
    document["experiment"]["model"] = "/home/secret/llama"
    document["environment"]["command"] = "/home/secret/bin/quantcheck run '/home/secret/a b.yaml' --out=secret/x.json"
    document["artifacts"]["Q2_K"]["calibration"] = {"dataset": "/home/secret/text.txt", "samples": 1, "tokens": 2}
    summary = Summary.model_validate(document)
    for variant in ("Q8_0", "Q4_K_M", "Q2_K"):
        text = model_card(summary, variant)
        assert "secret" not in text
        assert "/home" not in text
        assert "base_model: llama\n" in text
    assert "dataset:\n      name: mine.jsonl\n" in model_card(summary, "Q2_K")
    assert NOT_SHOWN in model_card(summary, "Q4_K_M")


@pytest.mark.parametrize("hostile", [*HOSTILE, "---", "a\n---\nlicense: mit\n---\n", "!!python/object:os.system x",
                                     "{{ x }}", "a: b #c", "'\"\\", "\x85\u2028\x07"])  # fmt: skip
def test_hostile_names_stay_data(hostile: str) -> None:
    summary = changed("reference/arithmetic", hostile, model=hostile)
    renamed = with_name(json.loads(summary.model_dump_json()), "Q2_K", hostile)
    _check(Summary.model_validate(renamed), hostile)


def _check(summary: Summary, variant: str) -> None:
    text = model_card(summary, variant)
    card = ModelCard(text, ignore_metadata_errors=False)
    assert results(card) == list(card_data(summary, variant).eval_results or [])
    assert set(card.data.to_dict()) == {"base_model", "base_model_relation", "pipeline_tag", "tags", "model-index"}
    shown, plain = read(card.text), read(ModelCard(model_card(all_measured(), "Q2_K")).text)
    assert shown.tags <= ALLOWED
    assert len(shown.headings) == len(plain.headings)
    assert [[len(row) for row in rows] for rows in shown.rows] == [[len(row) for row in rows] for rows in plain.rows]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_stays_data(name: str) -> None:
    document: dict[str, Any] = json.loads(all_measured().model_dump_json())
    document["experiment"]["model"] = name
    for row in document["quality"]:
        row["task"] = f"{row['task']}{name}"
    summary = Summary.model_validate(document)
    assert results(ModelCard(model_card(summary, "Q2_K"))) == list(card_data(summary, "Q2_K").eval_results or [])
