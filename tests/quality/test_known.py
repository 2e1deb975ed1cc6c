"""Suites that people know by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.harness import NAMED, answer, library
from quantcheck.quality import known
from quantcheck.quality.suites import Corpus, NamedTask, load_suites
from quantcheck.spec.experiment import Quality
from tests.conftest import real_data
from tests.harness.byte_model import ByteModel, ByteTokens
from tests.harness.conftest import data

__all__ = ["data"]

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")


def named(name: str, folder: Path, **changes: object) -> NamedTask:
    (suite,) = load_suites(Quality.model_validate({"suites": [name], "data": str(folder), **changes}))
    assert isinstance(suite, NamedTask)
    return suite


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "arc_easy", "hellaswag", "triviaqa"])
def test_the_items_that_are_planned_are_those_that_are_asked(name: str, limit: int | None, data: Path) -> None:
    task = named(name, data, items=limit)
    (result,) = answer(ByteModel(), ByteTokens(), [name], context=4000, data=data, limit=limit)
    assert [(item.id, item.group) for item in task.items] == [(one.id, one.group) for one in result.records]


def test_a_task_holds_its_questions_and_right_choices(data: Path) -> None:
    assert [item.prompt for item in named("arc_easy", data).items] == ["Which is hot? fire", "Which is wet?  rain"]


def test_the_digest_is_of_the_content(data: Path) -> None:
    before = named("mmlu", data).digest
    assert before == named("mmlu", data).digest != named("gsm8k", data).digest
    shots = data / "mmlu/dev/anatomy_dev.csv"
    shots.write_text(shots.read_text().replace("An eye?", "One eye?"))
    assert named("mmlu", data).digest != before


def test_without_data_the_harness_is_asked_by_name() -> None:
    quality = Quality(suites=["mmlu", "lm-eval/boolq"], items=5)
    assert [(suite.name, suite.ask, suite.items, suite.limit) for suite in load_suites(quality)
            if isinstance(suite, NamedTask)] == [("mmlu", "mmlu", (), 5), ("lm-eval/boolq", "boolq", (), 5)]


def test_over_the_hubs_data_the_digest_is_of_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        (suite,) = load_suites(Quality(suites=["hellaswag"]))
        return suite.digest

    before = digest()
    monkeypatch.setattr(known, "NAMED", {**NAMED, "hellaswag": replace(NAMED["hellaswag"], metric="acc")})
    assert digest() != before


def test_a_corpus_by_name(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2-raw").mkdir()
    (tmp_path / "wikitext-2-raw/test.txt").write_text("Some text.")
    (suite,) = load_suites(Quality(suites=["wikitext2"], data=str(tmp_path), tokens=9))
    assert isinstance(suite, Corpus)
    assert (suite.documents, suite.tokens) == (("Some text.",), 9)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    for quality, said in [
        (Quality(suites=["wikitext2"]), "give their folder by `quality.data`"),
        (Quality(suites=["mlu"]), "did you mean 'mmlu'"),
        (Quality(suites=["mmlu"], data=str(tmp_path / "none")), "is no folder"),
        (Quality(suites=["mmlu"], data=str(tmp_path)), "there is no such file"),
        (Quality(suites=["mmlu"], chat_template="none.jinja"), "none.jinja is not there"),
        (Quality(tasks={"mine": str(tmp_path / "mine.yaml")}), "mine.yaml is not there"),
    ]:
        with pytest.raises(SpecError, match=said):
            load_suites(quality)


def test_without_lm_eval_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VERSION", "0.0.1")
    assert known.why_missing is library.why_missing
    with pytest.raises(EngineUnavailable, match=r"mmlu: .*pip install 'quantcheck\[eval\]'"):
        load_suites(Quality(suites=["mmlu"]))


@pytest.mark.realdata
def test_the_real_files() -> None:
    folder = real_data("mmlu").parent
    sizes = {name: len(named(name, folder).items) for name in NAMED if name != "gsm8k_cot"}
    assert sizes == {"mmlu": 14042, "arc_easy": 2376, "arc_challenge": 1172, "hellaswag": 10042, "gsm8k": 1319,
                     "triviaqa": 3000, "ifeval": 541, "humaneval": 164, "mbpp": 500}
    assert len({item.group for item in named("mmlu", folder, items=570).items}) == 57
