"""Twenty real items of each task through the reference model on llama.cpp, and lm-eval's own examples for MBPP."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.harness import NAMED, FolderTokens, answer, questions
from quantcheck.spec.experiment import Variant
from quantcheck.tasks import read
from quantcheck.variants.make import prepare
from tests.conftest import real_data

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

import lm_eval.tasks

pytestmark = pytest.mark.realdata

ITEMS, CONTEXT = 20, 512


@pytest.fixture(scope="module")
def real() -> Path:
    return real_data("mmlu").parent


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppScorer]:
    cache = tmp_path_factory.mktemp("harness")
    made = prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=cache, threads=2)
    with LlamaCppScorer(made["F16"].path, threads=2, context=CONTEXT) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmlu", "arc_easy", "arc_challenge", "hellaswag", "gsm8k", "triviaqa"])
def test_real_items_are_answered(name: str, real: Path, scorer: LlamaCppScorer) -> None:
    tokens = FolderTokens(reference.model_dir())
    (result,) = answer(scorer, tokens, [name], context=CONTEXT, data=real, limit=ITEMS)
    assert result.why_not is None
    assert len(result.records) == len({record.id for record in result.records}) == ITEMS
    assert all(record.right in (0, 1) for record in result.records)
    written = name in ("gsm8k", "triviaqa")
    assert all(record.logprobs == () if written else max(record.logprobs) < 0 for record in result.records)
    if name == "mmlu":
        assert len({record.group for record in result.records}) == ITEMS
    if name == "arc_easy":
        # One item by the scorer alone: nothing of lm-eval takes part.
        item = read(real, name)[0]
        context = tokens.encode(f"Question: {item.question}\nAnswer:", bos=True)
        alone = scorer.loglikelihoods([(context, tokens.encode(f" {text}", bos=False)) for text in item.choices])
        assert result.records[0].logprobs == pytest.approx([found.logprob for found in alone], abs=0.02)


@pytest.mark.parametrize("name", sorted(NAMED.keys() - {"triviaqa"}))  # of which the files hold a part
def test_the_files_have_as_many_items_as_the_hub(name: str, real: Path) -> None:
    assert len(questions(name, real).asked) == NAMED[name].items


def test_mbpp_shows_what_lm_evals_module_holds(real: Path) -> None:
    """The module is not imported: it runs code."""
    path = Path(lm_eval.tasks.__file__).parent / "mbpp/utils.py"
    function = next(node for node in ast.parse(path.read_text(encoding="utf-8")).body
                    if isinstance(node, ast.FunctionDef) and node.name == "list_fewshot_samples")
    assert isinstance(function.body[0], ast.Return)
    assert function.body[0].value is not None
    theirs = ast.literal_eval(function.body[0].value)
    ours = read(real, "mbpp", "prompt")[1:4]
    keys = ("task_id", "text", "code", "test_list")
    assert [{**{key: getattr(item, key) for key in keys}, "is_fewshot": True} for item in ours] == theirs
