"""The real files: how many items they hold, and that the answers which come with them are right in the sandbox."""

from collections import Counter
from pathlib import Path

import pytest

from quantcheck.sandbox import Outcome, Program, run, run_all, why_no_sandbox
from quantcheck.tasks import MBPP, HumanEval, MultipleChoice, read
from tests.conftest import real_data

pytestmark = pytest.mark.realdata

COUNTS = {
    ("gsm8k", "test"): 1319,
    ("humaneval", "test"): 164,
    ("mbpp", "test"): 500,
    ("mbpp", "prompt"): 10,
    ("ifeval", "test"): 541,
    ("mmlu", "test"): 14042,
    ("mmlu", "dev"): 285,
    ("arc_easy", "test"): 2376,
    ("arc_challenge", "test"): 1172,
    ("hellaswag", "validation"): 10042,
    ("triviaqa", "validation"): 3000,
}


@pytest.fixture(scope="module")
def data() -> Path:
    return real_data("humaneval").parent


@pytest.fixture
def sandbox() -> None:
    reason = why_no_sandbox()
    if reason:
        pytest.skip(f"no sandbox: {reason}")


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_all_items_are_read(data: Path, name: str, split: str) -> None:
    items = read(data, name, split)
    assert len(items) == COUNTS[name, split]
    if isinstance(items[0], MultipleChoice):
        assert {len(item.choices) for item in items if isinstance(item, MultipleChoice)} == {4}


def test_mmlu_has_its_subjects_with_five_examples_each(data: Path) -> None:
    tested, shown = (
        Counter(item.id.partition("/")[0] for item in read(data, "mmlu", split)) for split in ("test", "dev"))
    assert tested.keys() == shown.keys()
    assert len(shown) == 57
    assert set(shown.values()) == {5}


def not_passed(names: list[str], outcomes: list[Outcome]) -> dict[str, str]:
    return {name: outcome.detail for name, outcome in zip(names, outcomes, strict=True) if outcome.ending != "passed"}


def test_humaneval_s_own_solutions_pass(data: Path, sandbox: None) -> None:
    items = [item for item in read(data, "humaneval") if isinstance(item, HumanEval)]
    outcomes = run_all([Program(item.program(item.canonical_solution), name="candidate") for item in items])
    assert not_passed([item.id for item in items], outcomes) == {}


def test_humaneval_without_an_answer_fails(data: Path, sandbox: None) -> None:
    items = [item for item in read(data, "humaneval")[:20] if isinstance(item, HumanEval)]
    outcomes = run_all([Program(item.program("    return None\n"), name="candidate") for item in items])
    assert {outcome.ending for outcome in outcomes} == {"failed"}


@pytest.mark.slow
def test_mbpp_s_own_solutions_pass_but_for_one(data: Path, sandbox: None) -> None:
    items = [item for item in read(data, "mbpp") if isinstance(item, MBPP)]
    outcomes = run_all([Program(item.program(item.code), name="candidate") for item in items])
    failed = not_passed([item.id for item in items], outcomes)
    assert failed == {"367": "NameError: name 'root' is not defined"}, "only the one item whose tests need a setup"
    tree = next(item for item in items if item.id == "367")
    whole = f"{tree.code}\n{tree.program(tree.test_setup_code)}"
    assert run(Program(whole, name="candidate")).ending == "passed"
