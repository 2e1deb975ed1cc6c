"""A folder of plain files, a few items of each data set."""

import json
from pathlib import Path
from typing import Any

import pytest

PLAIN: dict[str, list[dict[str, Any]] | str] = {
    "gsm8k/test.jsonl": [
        {"question": f"{n} and {n}?", "answer": f"It is {n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}.\n#### {2 * n}"}
        for n in range(1, 8)],
    "gsm8k/train.jsonl": [
        {"question": f"{n} less {n}?", "answer": f"Nothing is left.\n#### {n - n}"} for n in range(1, 7)],
    "humaneval/HumanEval.jsonl": [
        {"task_id": "HumanEval/0", "prompt": "def add(a, b):\n", "entry_point": "add",
         "canonical_solution": "    return a + b\n", "test": "def check(f):\n    assert f(1, 2) == 3\n"},
        {"task_id": "HumanEval/1", "prompt": "def one():\n", "entry_point": "one",
         "canonical_solution": "    return 1\n", "test": "def check(f):\n    assert f() == 1\n"}],
    "mbpp/mbpp.jsonl": [
        {"text": f"Write f{n}, which adds {n}.", "code": f"def f{n}(a):\r\n  return a + {n}", "task_id": n,
         "test_setup_code": "", "test_list": [f"assert f{n}({a}) == {a + n}" for a in range(3)],
         "challenge_test_list": []} for n in (*range(1, 11), 11, 12)],
    "ifeval/input_data.jsonl": [
        {"key": 1000, "prompt": "Write without commas.", "instruction_id_list": ["punctuation:no_comma"],
         "kwargs": [{}]},
        {"key": 1001, "prompt": "Write 3 words.", "instruction_id_list": ["length_constraints:number_words"],
         "kwargs": [{"relation": "at least", "num_words": 3}]}],
    "arc/arc_easy.jsonl": [
        {"query": "Question: Which is hot?", "choices": ["ice", "fire", "snow", "rain"], "gold": 1},
        {"query": "Question: Which is wet? ", "choices": ["fire", "sand", "rain"], "gold": 2}],
    "arc/arc_challenge.jsonl": [
        {"query": "Question: Which is \"cold\"?", "choices": ["it's ice", "fire", "sun", "a 'lamp'"], "gold": 0}],
    "hellaswag/hellaswag_val_full.txt":
        "Roof shingle removal: A man is sitting on a roof. he\n3\nis using wrap to wrap a pair of skis.\n"
        "is ripping level tiles off.\nis holding a rubik's cube.\nstarts pulling up roofing on a roof.\n"
        "Travel: How to pack. Roll your clothes.\n0\nThey take less room.\nThey sing.\nThey fly.\nThey melt.\n",
    "triviaqa/triviaqa_sm_sub.jsonl": [
        {"context": "Question: Which vegetable makes you cry?\nAnswer:", "answer": "Onion",
         "aliases": ["Onion", "The \"onion\""]}],
    "mmlu/test/anatomy_test.csv":
        "Where is the heart?,head,chest,foot,hand,1\nWhat is  bone? ,a,b,c,d,3\nThird?,a,b,c,d,0\n",
    "mmlu/test/high_school_geography_test.csv": "Which is north?,up,down,left,right,0\n",
    "mmlu/dev/anatomy_dev.csv": "An eye?,sees,hears,runs,eats,0\nAn ear?,sees,hears,runs,eats,1\n",
    "mmlu/dev/high_school_geography_dev.csv": "A sea?,wet,dry,hot,red,0\nA hill?,low,high,hot,red,1\n",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_plain(tmp_path / "data")


def write_plain(folder: Path) -> Path:
    for name, content in PLAIN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(text, encoding="utf-8")
    return folder
