"""Small made-up files in the form of the real ones, and what is said of broken ones."""

import bz2
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from quantcheck.errors import SpecError
from quantcheck.tasks import DATASETS, MBPP, HumanEval, read

HUMANEVAL = {"task_id": "HumanEval/0", "prompt": "def add(a, b):\n", "entry_point": "add",
             "canonical_solution": "    return a + b\n", "test": "def check(f):\n    assert f(1, 2) == 3\n"}
MBPP_ROW = {"text": "Write a function to add.", "code": "def add(a, b):\r\n  return a + b", "task_id": 11,
            "test_setup_code": "", "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
            "challenge_test_list": []}
IFEVAL = {"key": 1000, "prompt": "Write without commas.", "instruction_id_list": ["punctuation:no_comma"],
          "kwargs": [{}]}
ARC = {"query": "Question: Which is hot?", "choices": ["ice", "fire", "snow", "rain"], "gold": 1}
TRIVIA = {"context": "Question: Which vegetable makes you cry?\nAnswer:", "answer": "Onion",
          "aliases": ["Onion", "Onions"]}
GSM8K = {"question": "2 and 2?", "answer": "It is 2+2=<<2+2=4>>4.\n#### 4"}
HELLASWAG = "Cooking: A man cuts an onion. he\n2\nflies.\nsings.\ncries.\nmelts.\n"
MMLU = """question,choice0,choice1,choice2,choice3,answer
"What is ""hot"", then?",ice,"fire,
flames",snow,rain,1
2+2?,1,2,3,4,3
"""
GOOD: dict[str, tuple[str, str | list[dict[str, Any]]]] = {
    "gsm8k": ("gsm8k/test.jsonl", [GSM8K]),
    "humaneval": ("humaneval/HumanEval.jsonl", [HUMANEVAL]),
    "mbpp": ("mbpp/mbpp.jsonl", [MBPP_ROW, {**MBPP_ROW, "task_id": 10}, {**MBPP_ROW, "task_id": 511}]),
    "ifeval": ("ifeval/input_data.jsonl", [IFEVAL]),
    "mmlu": ("mmlu/test/high_school_heat_test.csv", MMLU),
    "arc_easy": ("arc/arc_easy.jsonl", [ARC]),
    "arc_challenge": ("arc/arc_challenge.jsonl", [ARC]),
    "hellaswag": ("hellaswag/hellaswag_val_full.txt", HELLASWAG),
    "triviaqa": ("triviaqa/triviaqa_sm_sub.jsonl", [TRIVIA]),
}


def write(folder: Path, name: str, content: str | bytes | list[dict[str, Any]] | None = None, suffix: str = "") -> Path:
    place, good = GOOD[name]
    content = good if content is None else content
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    if isinstance(content, str):
        content = content.encode()
    content = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[suffix](content)
    path = folder / f"{place}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_examples_are_all_data_sets() -> None:
    assert list(GOOD) == list(DATASETS)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("name", GOOD)
def test_each_form_is_read_packed_or_not(tmp_path: Path, name: str, suffix: str) -> None:
    write(tmp_path, name, suffix=suffix)
    items = read(tmp_path, name)
    assert len(items) == (2 if name == "mmlu" else 1)
    assert all(isinstance(item, DATASETS[name].item) for item in items)


def test_fields_come_out_as_they_were_written(tmp_path: Path) -> None:
    for name in GOOD:
        write(tmp_path, name)
    first = {name: read(tmp_path, name)[0].model_dump() for name in GOOD}
    assert first["gsm8k"] == {"id": "0", **GSM8K}
    assert first["humaneval"] == {"id": "HumanEval/0", **HUMANEVAL}
    assert first["mbpp"] == {"id": "11", **MBPP_ROW}
    assert first["ifeval"] == {"id": "1000", **IFEVAL}
    assert first["mmlu"] == {"id": "high_school_heat/0", "question": 'What is "hot", then?', "gold": 1,
                             "choices": ["ice", "fire,\nflames", "snow", "rain"], "subject": "high_school_heat"}
    assert first["arc_easy"] == {"id": "0", "question": "Which is hot?", "choices": ARC["choices"], "gold": 1,
                                 "subject": ""}
    assert first["hellaswag"]["question"] == "Cooking: A man cuts an onion. he"
    assert first["hellaswag"]["choices"][first["hellaswag"]["gold"]] == "cries."
    assert first["triviaqa"] == {"id": "0", "question": "Which vegetable makes you cry?", "answer": "Onion",
                                 "aliases": ["Onion", "Onions"]}


def test_splits_of_one_file(tmp_path: Path) -> None:
    write(tmp_path, "mbpp", [{**MBPP_ROW, "task_id": number} for number in (1, 10, 11, 510, 511, 974)])
    assert [item.id for item in read(tmp_path, "mbpp")] == ["11", "510"]
    assert [item.id for item in read(tmp_path, "mbpp", "prompt")] == ["1", "10"]


def test_mmlu_without_a_header_and_with_letters(tmp_path: Path) -> None:
    write(tmp_path, "mmlu")
    headed = read(tmp_path, "mmlu")
    bare = MMLU.split("\n", 1)[1].replace("rain,1", "rain,B").replace("4,3", "4,D").replace("\n2+2", "\r\n2+2")
    write(tmp_path, "mmlu", bare)
    assert read(tmp_path, "mmlu") == headed


def test_mmlu_subjects_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = write(tmp_path, "mmlu")
    (path.parent / "anatomy_test.csv").write_bytes(path.read_bytes())
    assert [item.id for item in read(tmp_path, "mmlu")] \
        == ["anatomy/0", "anatomy/1", "high_school_heat/0", "high_school_heat/1"]


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    write(tmp_path, "triviaqa", [TRIVIA, {**TRIVIA, "context": "Question: Other?\nAnswer:"}])
    one = read(tmp_path, "triviaqa")
    swapped = [{"aliases": TRIVIA["aliases"], "unknown": 1, **TRIVIA}]
    write(tmp_path, "triviaqa", [{**TRIVIA, "answer": "Leek", "aliases": ["Leek"]}, *swapped])
    two = read(tmp_path, "triviaqa")
    assert one[0].digest == two[1].digest
    assert len({item.digest for item in (*one, *two)}) == 3
    content = '{"aliases":["Onion","Onions"],"answer":"Onion","question":"Which vegetable makes you cry?"}'
    assert one[0].digest == hashlib.sha256(content.encode()).hexdigest()


def test_programs_are_prompt_completion_and_test(tmp_path: Path) -> None:
    write(tmp_path, "humaneval")
    write(tmp_path, "mbpp")
    function, described = read(tmp_path, "humaneval")[0], read(tmp_path, "mbpp")[0]
    assert isinstance(function, HumanEval)
    assert isinstance(described, MBPP)
    for right, result in (("a + b", True), ("a - b", False)):
        for program in (function.program(f"    return {right}\n"), described.program(f"def add(a, b): return {right}")):
            try:
                exec(program, {})  # noqa: S102 -- the test's own text
            except AssertionError:
                assert not result
            else:
                assert result


BROKEN: list[tuple[str, Any, str]] = [
    ("gsm8k", '{"question": "a", "answer": "#### 1"}\n{"question": \n', "test.jsonl, line 2: not JSON"),
    ("gsm8k", "\n[1]\n", "line 2: not an object"),
    ("gsm8k", [GSM8K, {"question": "a"}], "line 2: answer: Field required"),
    ("gsm8k", [{**GSM8K, "answer": "4"}], "line 1: `answer` has no `####` before its number"),
    ("gsm8k", [{**GSM8K, "question": 4}], "line 1: question: Input should be a valid string"),
    ("gsm8k", [{**GSM8K, "question": "a\ud800"}], "line 1: question: holds half a character"),
    ("gsm8k", "\n\n", "holds no items"),
    ("gsm8k", b'{"question": "a", "answer": "#### 1"}\n\xff\n', "line 2: not UTF-8 text"),
    ("humaneval", [HUMANEVAL, HUMANEVAL], "line 2: HumanEval/0 was there before"),
    ("humaneval", [{"prompt": "x"}], "line 1: task_id: Field required"),
    ("mbpp", [MBPP_ROW, {**MBPP_ROW, "task_id": "12"}], "line 2: task_id: Input should be a valid integer"),
    ("mbpp", [{**MBPP_ROW, "test_list": []}], "line 1: test_list: List should have at least 1 item"),
    ("ifeval", [{**IFEVAL, "kwargs": []}], "line 1: 1 instructions, but `kwargs` for 0"),
    ("mmlu", "a,b,c,d,e,0\na,b,c,d,0\n", "line 2: 5 fields, not question, four choices and the answer"),
    ("mmlu", "a,b,c,d,e,E\n", "line 1: the answer is 'E', neither 0 to 3 nor A to D"),
    ("mmlu", 'a,b,c,d,e,0\na,b,c,d,"e,0\n', "line 2: not CSV"),
    ("arc_easy", [ARC, {**ARC, "gold": 4}], "line 2: the answer is number 4 (from 0) of 4 choices"),
    ("arc_easy", [{**ARC, "gold": True}], "line 1: gold: Input should be a valid integer"),
    ("arc_easy", [{"choices": ["a", "b"], "gold": 0}], "line 1: `query` is missing, or no text"),
    ("hellaswag", HELLASWAG + "one\n2\n", "line 8: the file ends within an item of 6 lines"),
    ("hellaswag", HELLASWAG.replace("\n2\n", "\n4\n"), "line 2: '4' is not the number of an ending, 0 to 3"),
    ("triviaqa", [{**TRIVIA, "aliases": []}], "line 1: aliases: List should have at least 1 item"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(SpecError) as raised:
        read(tmp_path, name)
    text = str(raised.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_a_packed_file_that_was_cut(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, "gsm8k", [GSM8K] * 50, suffix=suffix)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SpecError, match=r"cannot be read \(.*\); fetch the file again"):
        read(tmp_path, "gsm8k")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gsm8k/test.jsonl: there is no such file, nor one ending in .gz or .bz2"):
        read(tmp_path, "gsm8k")
    with pytest.raises(SpecError, match=r"there is no data set 'gsm8'; did you mean 'gsm8k'\?"):
        read(tmp_path, "gsm8")
    with pytest.raises(SpecError, match="there is no split of mmlu 'validation'; known: test, dev"):
        read(tmp_path, "mmlu", "validation")


def test_a_file_goes_before_its_packed_form(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k", [{**GSM8K, "question": "packed?"}], suffix=".gz")
    write(tmp_path, "gsm8k")
    assert [item.model_dump()["question"] for item in read(tmp_path, "gsm8k")] == [GSM8K["question"]]
