"""Named tasks in a scoring job: the cells that they become, and answering in rounds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.ggml.model import Model
from quantcheck.ggml.special import SpecialVocabulary
from quantcheck.harness import FolderTokens
from quantcheck.quality.early import EarlyStop
from quantcheck.quality.known import known
from quantcheck.quality.named import Looks, NotAnswered, answer_named
from quantcheck.quality.suite import NamedTask
from quantcheck.sandbox import why_no_sandbox
from quantcheck.spec.experiment import Quality, Variant
from quantcheck.stats.sequential import look_order
from quantcheck.variants.make import prepare
from tests.ggml.tiny import TinyShape, write_tiny
from tests.harness.byte_model import ByteModel, ByteTokens, Scripted
from tests.harness.conftest import data
from tests.quality.test_job import results, start

__all__ = ["data"]

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

SPECIAL = "<|endoftext|>"


class Tokens(ByteTokens):
    chat_template: str | None = None


def asked(name: str, data: Path, **changes: Any) -> tuple[NamedTask, Quality]:
    quality = Quality.model_validate({"suites": [name], "data": str(data), **changes})
    task = known(name, quality, ())
    assert isinstance(task, NamedTask)
    return task, quality


def answered(model: ByteModel, name: str, data: Path, looks: Looks | None = None, **changes: Any) -> Any:
    task, quality = asked(name, data, **changes)
    return answer_named(model, Tokens(), task, quality, 4000, lambda _done, _of: None, looks)


def test_a_cell_has_what_pairing_needs(data: Path) -> None:
    result, table = answered(ByteModel(3), "mmlu", data)
    assert (result["kind"], result["n"], result["answers"]) == ("task", 4, "chosen")
    assert result["accuracy"] == table["right"].mean()
    assert result["asked"]["metric"] == "acc,none"
    assert result["asked"]["by"].startswith("lm-eval 0.")
    assert table["id"].tolist() == ["anatomy/0", "anatomy/1", "anatomy/2", "high_school_geography/0"]
    assert table["group"].tolist() == ["anatomy"] * 3 + ["high_school_geography"]
    assert {len(column) for column in table.values()} == {4}
    assert all(len(digest) == 64 for name in ("doc_hash", "prompt_hash", "target_hash") for digest in table[name])
    assert (table["score:acc,none"] == table["right"]).all()


def test_examples_are_as_many_as_are_asked_for_by_task(data: Path) -> None:
    few, _ = answered(Scripted(["4"] * 7), "gsm8k", data, fewshot={"gsm8k": 2})
    own, _ = answered(Scripted(["4"] * 7), "gsm8k", data)
    assert (few["asked"]["shots"], own["asked"]["shots"]) == (2, 5)
    assert few["definition_sha256"] != own["definition_sha256"]


def test_the_chat_template_is_the_models_or_a_files(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    plain, _ = answered(Scripted(["a"]), "triviaqa", data)
    chat, _ = answered(Scripted(["a"]), "triviaqa", data, chat_template=str(file))
    assert plain["asked"]["chat_template_sha256"] is None
    assert len(chat["asked"]["chat_template_sha256"]) == 64
    with pytest.raises(SpecError, match="has no chat template of its own"):
        answered(Scripted([]), "triviaqa", data, chat_template=True)


def test_what_a_machine_cannot_answer_is_not_answered(data: Path) -> None:
    task, quality = asked("humaneval", data)
    with pytest.raises(NotAnswered, match="do not fit the context of 512"):
        answer_named(ByteModel(), Tokens(), task, quality, 512, lambda _done, _of: None)


def test_rounds_ask_the_same_of_two_models_and_end_when_it_is_enough(data: Path) -> None:
    task, _ = asked("gsm8k", data)
    ids = [item.id for item in task.items]
    order = [ids[place] for place in look_order(ids, 7)]

    class Enough(Looks):
        def enough(self, right: Sequence[float | None]) -> bool:
            assert len(right) == 3
            return True

    _, whole = answered(Scripted(["#### 2"] * 7), "gsm8k", data, Looks(3, 7, None))
    _, part = answered(Scripted(["#### 2"] * 3), "gsm8k", data, Enough(3, 7, None))
    assert whole["id"].tolist() == order
    assert part["id"].tolist() == order[:3]
    for name in ("doc_hash", "prompt_hash", "target_hash"):
        assert part[name].tolist() == whole[name][:3].tolist()


def test_a_watch_sees_the_differences_from_the_baseline(data: Path) -> None:
    task, _ = asked("mmlu", data)
    _, base = answered(ByteModel(3), "mmlu", data)
    right = dict(zip(base["id"].tolist(), base["right"].astype(float).tolist(), strict=True))
    early = EarlyStop(tasks=1, margins={"mmlu": 0.02}, baseline={"mmlu": right})
    ids = [item.id for item in task.items]
    ordered = NamedTask(task.name, task.ask, tuple(task.items[i] for i in look_order(ids, 0)), None, task.digest)
    result, table = answered(ByteModel(5), "mmlu", data, Looks(2, 0, early.watch(ordered)))
    assert (result["early"]["items"], result["early"]["of"], len(result["early"]["looks"])) == (4, 4, 2)
    assert [right[key] for key in table["id"].tolist()] != table["right"].tolist()  # two models, not one


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    return prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=cache, threads=1)["F16"].path


def test_a_gguf_files_tokenizer_reads_as_its_folders_does(gguf: Path) -> None:
    folder = FolderTokens(reference.model_dir())
    with Model(gguf) as model:
        words = SpecialVocabulary(model)
        assert (words.eot, words.prefix, words.ends, words.spelling(0)) == (0, 0, frozenset({0}), SPECIAL)
        assert words.chat_template is None
        for text in ("", "Hi there 12", f"a{SPECIAL}b", " x\n\ny", "ä 🙂"):
            for bos in (True, False):
                assert words.encode(text, bos=bos).tolist() == folder.encode(text, bos=bos).tolist()
        assert words.decode(np.array([0, *folder.encode("Hi", bos=False)])) == "Hi"


def test_a_job_answers_named_tasks_among_its_own(gguf: Path, data: Path, tmp_path: Path) -> None:
    quality = Quality(suites=["arc_easy", "reference/arithmetic", "humaneval"], data=str(data), items=2)
    assert start(tmp_path / "job", gguf, quality) == (0, "")
    lines = (tmp_path / "job/events.jsonl").read_text().splitlines()
    assert any('"suite": "humaneval", "why_not": "answers of up to 1024 tokens' in line for line in lines)
    found = results(tmp_path / "job")
    assert {name: result["n"] for name, (result, _) in found.items()} == {"arc_easy": 2, "reference/arithmetic": 2}
    assert found["arc_easy"][1]["id"].tolist() == ["0", "1"]


def test_a_job_runs_written_code_in_the_sandbox(data: Path, tmp_path: Path) -> None:
    if why := why_no_sandbox():
        pytest.skip(why)
    write_tiny(tmp_path / "tiny.gguf", TinyShape(context=2048))
    quality = Quality(suites=["humaneval"], data=str(data))
    assert start(tmp_path / "job", tmp_path / "tiny.gguf", quality) == (0, "")
    result, table = results(tmp_path / "job")["humaneval"]
    assert (result["n"], result["asked"]["metric"], result["accuracy"]) == (2, "pass@1", 0.0)  # random weights
    assert all(table["output"])
