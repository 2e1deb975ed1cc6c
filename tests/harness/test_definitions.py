"""Our documents under lm-eval's definitions make what the hub's documents make."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from quantcheck.errors import EngineUnavailable, SpecError

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

import lm_eval.tasks
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from quantcheck.harness.definitions import NAMED, build
from quantcheck.harness.definitions.documents import document
from quantcheck.tasks import read

ENDINGS = ["is using wrap to wrap a pair of skis.", "is ripping level tiles off.", "is holding a rubik's cube.",
           "starts pulling up roofing on a roof."]
HUB: dict[str, tuple[str, dict[str, Any]]] = {
    "gsm8k": ("gsm8k/gsm8k.yaml", {"question": "1 and 1?", "answer": "It is 1+1=<<1+1=2>>2.\n#### 2"}),
    "gsm8k_cot": ("gsm8k/gsm8k-cot.yaml", {"question": "1 and 1?", "answer": "It is 1+1=<<1+1=2>>2.\n#### 2"}),
    "mmlu": ("mmlu/default/mmlu_anatomy.yaml", {
        "question": "Where is the heart?", "subject": "anatomy", "choices": ["head", "chest", "foot", "hand"],
        "answer": 1}),
    "arc_easy": ("arc/arc_easy.yaml", {
        "id": "Mercury_1", "question": "Which is hot?", "answerKey": "2",
        "choices": {"text": ["ice", "fire", "snow", "rain"], "label": ["1", "2", "3", "4"]}}),
    "arc_challenge": ("arc/arc_challenge.yaml", {
        "id": "Mercury_2", "question": "Which is \"cold\"?", "answerKey": "A",
        "choices": {"text": ["it's ice", "fire", "sun", "a 'lamp'"], "label": ["A", "B", "C", "D"]}}),
    "hellaswag": ("hellaswag/hellaswag.yaml", {
        "ind": 24, "activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "he",
        "ctx": "A man is sitting on a roof. he", "endings": ENDINGS, "label": "3"}),
    "triviaqa": ("triviaqa/default.yaml", {
        "question": "Which vegetable makes you cry?", "question_id": "1",
        "answer": {"aliases": ["Onion", "The \"onion\""], "value": "Onion", "type": "WikipediaEntity"}}),
    "ifeval": ("ifeval/ifeval.yaml", {
        "key": 1000, "prompt": "Write without commas.", "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{"num_words": None, "relation": None}]}),
    "humaneval": ("humaneval/humaneval.yaml", {
        "task_id": "HumanEval/0", "prompt": "def add(a, b):\n", "entry_point": "add",
        "canonical_solution": "    return a + b\n", "test": "def check(f):\n    assert f(1, 2) == 3\n"}),
    "mbpp": ("mbpp/mbpp.yaml", {
        "task_id": 11, "text": "Write f11, which adds 11.", "code": "def f11(a):\r\n  return a + 11",
        "test_list": ["assert f11(0) == 11", "assert f11(1) == 12", "assert f11(2) == 13"], "test_setup_code": "",
        "challenge_test_list": []}),
}
"""One document of each data set as it is on the hub, equal in content to the first item of the plain files."""
UNRESOLVED = ("humaneval", "mbpp", "ifeval")
"""Definitions whose functions cannot be imported here: they run code, or fetch data."""


def test_every_task_is_compared() -> None:
    assert set(HUB) == set(NAMED)


def own(name: str) -> ConfigurableTask:
    """lm-eval's task over the hub's document."""
    path, row = HUB[name]
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / path, resolve_func=name not in UNRESOLVED)
    if name in UNRESOLVED:
        for key in ("metric_list", "filter_list", "process_results"):
            config.pop(key, None)
        config.get("fewshot_config", {}).pop("samples", None)
    splits = {config[key] for key in ("training_split", "validation_split", "test_split", "fewshot_split")
              if config.get(key)}
    config.pop("tag", None)
    rows = Dataset.from_list([row])
    return ConfigurableTask(config={**config, "num_fewshot": 0,
                                    "custom_dataset": lambda **_: dict.fromkeys(splits, rows)})


@pytest.fixture
def with_punkt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if NLTK's data were there; the module that fetches it is not imported."""
    definition = build.__globals__["_definition"]

    def unresolved(path: str, *, code: bool) -> dict[str, Any]:
        config: dict[str, Any] = definition(path, code=code and "ifeval" not in path)
        if "ifeval" in path:
            config.pop("metric_list")
        return config

    monkeypatch.setitem(build.__globals__, "need_judge", lambda *_: None)
    monkeypatch.setitem(build.__globals__, "_definition", unresolved)


@pytest.mark.parametrize("name", HUB)
@pytest.mark.usefixtures("with_punkt")
def test_prompts_targets_and_choices_are_lm_evals(name: str, data: Path) -> None:
    theirs, ours = own(name), build(name, data, 0)[0].task
    a, b = theirs.eval_docs[0], ours.eval_docs[0]
    assert ours.doc_to_text(b) == theirs.doc_to_text(a)
    assert ours.doc_to_target(b) == theirs.doc_to_target(a)
    if theirs.config.doc_to_choice is not None:
        assert ours.doc_to_choice(b) == theirs.doc_to_choice(a)
    assert ours.fewshot_context(b, 0) == theirs.fewshot_context(a, 0)
    for key in ("generation_kwargs", "output_type", "target_delimiter", "fewshot_delimiter", "description"):
        assert getattr(ours.config, key) == getattr(theirs.config, key)
    assert ours.VERSION == theirs.VERSION
    if name not in UNRESOLVED:
        assert ours._metric_fn_list == theirs._metric_fn_list
        assert ours.config.filter_list == theirs.config.filter_list


@pytest.mark.parametrize(("name", "shots", "source"), [
    ("gsm8k", 5, "train"), ("gsm8k_cot", 8, "the definition"), ("mbpp", 3, "the definition"), ("mmlu", 0, None),
    ("arc_easy", 0, None), ("arc_challenge", 0, None), ("hellaswag", 0, None), ("triviaqa", 0, None),
    ("humaneval", 0, None),
])
def test_the_number_of_examples_is_the_definitions(name: str, shots: int, source: str | None, data: Path) -> None:
    assert {(part.shots, part.shots_from) for part in build(name, data)} == {(shots, source)}


def test_examples_come_from_their_split_in_its_order(data: Path) -> None:
    anatomy = build("mmlu", data, 2)[0]
    assert anatomy.shots_from == "dev"
    assert anatomy.task.fewshot_context(anatomy.task.eval_docs[0], 2) == (
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
        "An eye?\nA. sees\nB. hears\nC. runs\nD. eats\nAnswer: A\n\n"
        "An ear?\nA. sees\nB. hears\nC. runs\nD. eats\nAnswer: B\n\n"
        "Where is the heart?\nA. head\nB. chest\nC. foot\nD. hand\nAnswer:")


def test_mbpp_shows_the_items_two_to_four(data: Path) -> None:
    task = build("mbpp", data)[0].task
    prompt = task.fewshot_context(task.eval_docs[0], 3)
    assert [f"Write f{n}," in prompt for n in range(1, 13)] == [n in (2, 3, 4, 11) for n in range(1, 13)]
    assert "[BEGIN]\ndef f2(a):\r\n  return a + 2\n[DONE]\n\n" in prompt
    assert prompt.endswith("[BEGIN]\n")


def test_without_their_split_examples_are_other_items(data: Path) -> None:
    (data / "gsm8k/train.jsonl").unlink()
    (part,) = build("gsm8k", data)
    assert part.shots_from == "test"
    part.task.set_fewshot_seed(0)
    for doc in part.task.eval_docs:
        prompt = part.task.fewshot_context(doc, 5)
        assert prompt.count("Question:") == 6
        assert prompt.count(f"Question: {doc['question']}") == 1


def test_examples_of_hellaswag_never_show_the_item_itself(data: Path) -> None:
    """Its items are a validation split, for which lm-eval would not leave the item out."""
    (part,) = build("hellaswag", data, 1)
    part.task.set_fewshot_seed(0)
    for doc in part.task.eval_docs:
        assert part.task.fewshot_context(doc, 1).count(doc["query"]) == 1


@pytest.mark.parametrize(("name", "fewshot", "message"), [
    ("gsm8k", 7, "train has 6; lower fewshot"), ("mbpp", 4, "the definition has 3"), ("mmlu", 3, "dev has 2"),
    ("triviaqa", 1, "validation has 0"),
])
def test_too_many_examples_are_refused(name: str, fewshot: int, message: str, data: Path) -> None:
    with pytest.raises(SpecError, match=message):
        build(name, data, fewshot)


def test_the_hash_is_of_the_definition_and_the_number_of_examples(data: Path, tmp_path: Path) -> None:
    first, again, more = (build("gsm8k", data, fewshot)[0].sha256 for fewshot in (None, 5, 4))
    assert first == again != more
    elsewhere = shutil.copytree(data, tmp_path / "elsewhere")
    for name in ("gsm8k", "mbpp", "humaneval", "hellaswag"):
        assert build(name, elsewhere)[0].sha256 == build(name, data)[0].sha256


def test_ifeval_without_nltks_data_says_what_to_do(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(EngineUnavailable, match="python -m nltk.downloader punkt_tab$"):
        build("ifeval", data)


def test_a_subject_that_lm_eval_does_not_have_is_refused(data: Path) -> None:
    (data / "mmlu/test/astrology_test.csv").write_text("Which?,a,b,c,d,0\n", encoding="utf-8")
    with pytest.raises(SpecError, match="mmlu_astrology.yaml: lm-eval .* has no such definition"):
        build("mmlu", data)


@pytest.mark.parametrize(("text", "query"), [
    ("Rowing: Two women paddle. the child and a Man", "Rowing: Two women paddle. The child and a man"),
    ("Travel: How to pack. Roll your clothes.", "Travel: How to pack. Roll your clothes."),
    ("Travel: Roll 2 of them, e.g. socks.", "Travel: Roll 2 of them, e.g. socks."),
])
def test_hellaswags_begun_sentence_is_capitalized(text: str, query: str, data: Path) -> None:
    (data / "hellaswag/hellaswag_val_full.txt").write_text(f"{text}\n0\na\nb\nc\nd\n", encoding="utf-8")
    (item,) = read(data, "hellaswag")
    assert document("hellaswag", item)["query"] == query
