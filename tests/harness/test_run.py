"""Named tasks answered by models that can be computed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import SpecError
from quantcheck.harness import Record, TaskResult, answer, run
from quantcheck.harness.definitions import build
from quantcheck.sandbox import why_no_sandbox
from tests.harness.byte_model import ByteModel, ByteTokens, Scripted

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

CONTEXT = 4000


def one(model: ByteModel, name: str, data: Path | None, context: int = CONTEXT, **options: object) -> TaskResult:
    (result,) = answer(model, ByteTokens(), [name], context=context, data=data, **options)
    return result


def hashes(record: Record) -> tuple[str, str, str]:
    return record.doc_hash, record.prompt_hash, record.target_hash


def test_multiple_choice_takes_the_likeliest(data: Path) -> None:
    model = ByteModel(3)
    result = one(model, "arc_easy", data)
    assert (result.name, result.metric, result.version, result.shots) == ("arc_easy", "acc,none", "1.0", 0)
    choices = [["ice", "fire", "snow", "rain"], ["fire", "sand", "rain"]]
    assert [len(record.logprobs) for record in result.records] == [4, 3]
    for record, texts, gold in zip(result.records, choices, (1, 2), strict=True):
        lls = [model.logprobs[list(f":{' ' + text}".encode())[:-1], list(f" {text}".encode())].sum() for text in texts]
        assert record.logprobs == pytest.approx(lls)
        assert record.answer == str(np.argmax(lls))
        assert record.right == record.scores["acc,none"] == (np.argmax(lls) == gold)
        by_length = [ll / len(text) for ll, text in zip(lls, texts, strict=True)]
        assert record.scores["acc_norm,none"] == (np.argmax(by_length) == gold)
    assert result.score == np.mean([record.right for record in result.records])


def test_subjects_are_groups_of_one_task(data: Path) -> None:
    told: list[tuple[str, int, int]] = []
    result = one(ByteModel(), "mmlu", data, progress=lambda *args: told.append(args))
    assert [(record.id, record.group) for record in result.records] == [
        ("anatomy/0", "anatomy"), ("anatomy/1", "anatomy"), ("anatomy/2", "anatomy"),
        ("high_school_geography/0", "high_school_geography")]
    assert told == [("mmlu", 16, 16)]


@pytest.mark.parametrize(("limit", "ids"), [
    (1, ["anatomy/0"]), (2, ["anatomy/0", "high_school_geography/0"]),
    (3, ["anatomy/0", "anatomy/1", "high_school_geography/0"]), (99, None),
])
def test_a_limit_is_spread_over_subjects(limit: int, ids: list[str] | None, data: Path) -> None:
    records = one(ByteModel(), "mmlu", data, limit=limit).records
    assert len(records) == 4 if ids is None else [record.id for record in records] == ids


def test_written_answers_are_judged_by_the_tasks_filter(data: Path) -> None:
    texts = ["It is so.\n#### 2", "So 4", "#### 7", "\n#### 8\n\nQuestion: 9", "", "#### 12.", "1,4"]
    result = one(Scripted(texts), "gsm8k", data)
    assert (result.metric, result.shots, result.shots_from) == ("exact_match,strict-match", 5, "train")
    assert [record.right for record in result.records] == [1, 0, 0, 1, 0, 1, 0]
    assert [record.scores["exact_match,flexible-extract"] for record in result.records] == [1, 1, 0, 1, 0, 1, 1]
    assert [record.answer for record in result.records][:2] == ["2", "[invalid]"]


def test_any_alias_is_right(data: Path) -> None:
    def right(text: str) -> float | None:
        return one(Scripted([text]), "triviaqa", data).records[0].right

    assert [right(" the onion. No"), right(" ONION\nQ"), right(" leek")] == [1, 1, 0]


def test_two_models_records_are_of_the_same_questions(data: Path) -> None:
    for name in ("gsm8k", "mmlu", "hellaswag"):
        a, b = one(ByteModel(1), name, data), one(ByteModel(2), name, data)
        assert [hashes(record) for record in a.records] == [hashes(record) for record in b.records]
        assert len({record.doc_hash for record in a.records}) == len(a.records)
        assert a.sha256 == b.sha256
        assert a.records != b.records


def test_another_number_of_examples_is_another_prompt(data: Path) -> None:
    a, b = (one(ByteModel(), "gsm8k", data, fewshot=count) for count in (1, 2))
    assert a.sha256 != b.sha256
    assert all(x.doc_hash == y.doc_hash and x.prompt_hash != y.prompt_hash
               for x, y in zip(a.records, b.records, strict=True))
    c, d = (one(ByteModel(), "gsm8k", data, fewshot=2, seed=seed) for seed in (1, 2))
    assert {record.prompt_hash for record in c.records} != {record.prompt_hash for record in d.records}


def test_a_chat_template_is_put_around_the_prompt(data: Path) -> None:
    model = ByteModel()
    template = "[{% for message in messages %}{{ message.content }}{% endfor %}]"
    one(model, "gsm8k", data, fewshot=0, limit=1, chat_template=template)
    assert bytes(model.asked[0]) == b"[Question: 1 and 1?\nAnswer:]"


@pytest.mark.skipif(why_no_sandbox() is not None, reason=f"no sandbox: {why_no_sandbox()}")
def test_code_is_judged_in_the_sandbox(data: Path) -> None:
    written = ["    return a + b\nprint('x')", "    return 2\n"]
    result = one(Scripted(written), "humaneval", data)
    assert (result.metric, result.score) == ("pass@1", 0.5)
    assert [record.right for record in result.records] == [1, 0]
    assert result.records[0].answer == "    return a + b"
    assert result.records[0].scores == {"pass@1": 1.0}
    written = ["def f11(a):\n  return a + 11\n[DONE]\nimport", "import os\nos._exit(0)\n"]
    assert [record.right for record in one(Scripted(written), "mbpp", data).records] == [1, 0]


def test_no_code_runs_without_a_sandbox(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "why_no_sandbox", lambda: "bubblewrap is missing; install it")
    result = one(Scripted([]), "humaneval", data)
    assert result.why_not == "no sandbox: bubblewrap is missing; install it"
    assert result.records == ()
    assert np.isnan(result.score)


def test_a_task_that_does_not_fit_is_not_answered_and_the_next_is(data: Path) -> None:
    found = list(answer(Scripted(["#### 2"] * 7), ByteTokens(), ["ifeval", "gsm8k"], context=257, data=data, fewshot=0))
    assert found[0].why_not
    assert len(found[1].records) == 7
    tight = one(Scripted([]), "gsm8k", data, context=256)
    assert tight.why_not == ("answers of up to 256 tokens do not fit the context of 256; it takes a model with a "
                             "longer one")


@pytest.mark.parametrize("name", ["hellaswag", "arc_challenge", "arc_easy", "gsm8k", "triviaqa", "mmlu"])
def test_over_the_hubs_data_it_is_judged_as_over_plain_files(
    name: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load", lambda name, fewshot: build(name, data, fewshot))  # of the hub's rows, as here
    files, hub = (one(ByteModel(), name, where) for where in (data, None))
    assert hub.metric == files.metric
    assert hub.records == files.records


@pytest.mark.parametrize("where", ["files", "hub"])
def test_a_judge_that_lacks_something_says_what(where: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    monkeypatch.setattr("nltk.download", lambda *_: pytest.fail("nothing is fetched"))
    result = one(ByteModel(), "ifeval", data if where == "files" else None)
    assert result.why_not == "its judge needs NLTK's punkt_tab: python -m nltk.downloader punkt_tab"


def test_the_users_own_definition(tmp_path: Path) -> None:
    rows = [{"q": "2+2", "a": ["3", "4"], "gold": 1}, {"q": "1+1", "a": ["2", "9"], "gold": 0}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "sums.yaml").write_text(f"""
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}, cache_dir: {tmp_path / 'cache'}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}} ="
doc_to_choice: "{{{{a}}}}"
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 7}}
""", encoding="utf-8")
    result = one(ByteModel(), str(tmp_path / "sums.yaml"), None)
    assert (result.metric, result.version, len(result.records)) == ("acc,none", "7", 2)
    assert all(len(record.logprobs) == 2 for record in result.records)


def test_a_definition_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lm-eval cannot load it"):
        one(ByteModel(), str(tmp_path / "none.yaml"), None)


@pytest.mark.slow
def test_a_task_that_fetches_code_is_not_answered() -> None:
    """Slow: a name that is not read from plain files is looked up among all of lm-eval's."""
    result = one(Scripted([]), "humaneval_instruct", None)
    assert result.why_not
    assert result.why_not.startswith("it is judged by code that it fetches from the hub (code_eval")


@pytest.mark.slow
def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SpecError, match="nonsense: lm-eval cannot load it .*'nonsense' is not a registered task"):
        one(Scripted([]), "nonsense", None)
