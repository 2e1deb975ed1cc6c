"""Quality through a server, as the runner starts it: the interpreter is a stand-in, all else is as with vLLM."""

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import quantcheck
from quantcheck import EngineError, Experiment, SpecError
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.scorer import TopLogprobs
from quantcheck.quality.divergence import kl_lower_bound
from quantcheck.quality.job import encode
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.runner import scoring
from quantcheck.runner.serving import scoring_depends
from quantcheck.spec.experiment import Quality
from quantcheck.store import Cell, Store
from quantcheck.variants.artifact import Artifact
from tests.engines.completions import rows_of

ROOT = Path(__file__).parents[2]
CORPUS, TASK, CHOICE = "reference/stories", "reference/format", "reference/knowledge"
QUALITY = {"suites": [CORPUS, TASK, CHOICE], "items": 4, "tokens": 150, "context": 64, "stride": 32}


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """The reference model as it is, and served by a stand-in that damages all but bfloat16."""
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nif [ \"$1\" = -c ]; then echo '{json.dumps({'vllm': '0.32.0'})}'; exit; fi\n"
                      f"exec {sys.executable} -m tests.engines.completions \"$@\"\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def make(fault: str = "", args: dict[str, Any] | None = None, **changes: Any) -> Experiment:
        return Experiment.model_validate({
            "name": "exp", "model": "reference", "baseline": "a", "noise_floor": False, "quality": QUALITY,
            "variants": {"a": {"scheme": "bf16"}, "b": {"scheme": "fp16"}},
            "engine": {"kind": "vllm", "python": str(python), "args": args or {},
                       "environment": {"STAND_IN_FAULTS": fault} if fault else {}},
            **changes,
        })

    return make


def cells(out: Path) -> dict[tuple[str, str], Cell]:
    return {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}


def said(out: Path, entry: str) -> str:
    """The options that a server was started with."""
    return (out / "logs" / f"score-{entry}-server.log").read_text()


def nothing_runs() -> bool:
    return not any(child.status() != psutil.STATUS_ZOMBIE and
                   {"quantcheck.quality.job", "tests.engines.completions"} & set(child.cmdline())
                   for child in psutil.Process().children(recursive=True))


def test_all_kinds_of_quality_come_through_the_server(tmp_path: Path, experiment: Callable[..., Experiment]) -> None:
    out = tmp_path / "out"
    outcome = quantcheck.run(experiment(noise_floor=True, args={"max-num-seqs": 8}), out)
    assert (outcome.measured, outcome.problems) == (9, [])
    assert nothing_runs()
    found = {key: cell.record["result"] for key, cell in cells(out).items()}

    quality = Quality.model_validate(QUALITY)
    corpus = load_suites(quality)[0]
    assert isinstance(corpus, Corpus)
    work = encode(corpus, FolderTokenizer(quantcheck.reference.model_dir()), quality)
    before = np.concatenate([window.tokens[-window.scored - 1 : -1] for window in work.windows])
    targets = np.concatenate([window.tokens[-window.scored :] for window in work.windows])

    def top(damage: float) -> tuple[float, TopLogprobs]:
        """Mean negative log-likelihood of the targets, and the 64 likeliest tokens at each place."""
        rows = np.stack([rows_of(4096, damage)(int(token)) for token in before])
        ids = np.argsort(-rows, axis=1)[:, :64].astype(np.int32)
        own = rows[np.arange(len(targets)), targets]
        return float(-own.mean()), TopLogprobs(own, ids, np.take_along_axis(rows, ids, axis=1))

    (nll, p), (other, q) = top(0.0), top(0.5)
    assert found["a", CORPUS]["nll_mean"] == pytest.approx(nll, rel=1e-6)
    assert found["b", CORPUS]["nll_mean"] == pytest.approx(other, rel=1e-6)
    bound, agree = kl_lower_bound(p, q, 4096)
    result = found["b", CORPUS]
    assert result["kl_divergence"] == pytest.approx(bound.mean(), abs=3e-5)
    assert result["top1_agreement"] == agree.mean()
    assert (result["kl_kind"], result["kl_top"]) == ("top-k lower bound", 64)
    assert found["a", CORPUS]["kl_divergence"] is None
    assert all(result["prompts_sha256"] == work.sha256 for (_, subject), result in found.items() if subject == CORPUS)
    assert [found[name, TASK]["n"] for name in ("a", "b", "a@again")] == [4, 4, 4]
    # The stand-in batches nothing, so that the twin is the baseline itself: a floor of zero.
    assert abs(found["a@again", CORPUS]["kl_divergence"]) < 1e-5
    assert found["a@again", CORPUS]["nll_mean"] == found["a", CORPUS]["nll_mean"]

    facts = cells(out)["b", CORPUS].record["engine"]
    assert (facts["kind"], facts["version"], facts["top_k"], facts["concurrency"]) == ("vllm", "0.32.0", 64, 16)
    for entry in ("a", "a@again", "b"):
        assert "--max-logprobs 64" in said(out, entry)
        assert "--max-model-len 87" in said(out, entry)
        assert "--max-num-seqs 8" in said(out, entry)
        assert f"--served-model-name {entry} " in said(out, entry)
        assert ("--max-num-batched-tokens 512" in said(out, entry)) == (entry == "a@again")
    assert not list(out.glob("work/*"))
    assert "KL (lower bound, top 64)" in (out / "comparison.md").read_text()


def test_servers_that_fail_amid_scoring_cost_their_variants_only(
    tmp_path: Path, experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ANSWER_S", 3.0)
    out = tmp_path / "out"
    quality = {**QUALITY, "suites": [CORPUS, TASK]}
    variants = {name: {"scheme": "bf16"} for name in ("a", "dies", "hangs", "b")}
    # After the probe and the corpus's windows.
    outcome = quantcheck.run(experiment("dies:die:5 hangs:hang:5", quality=quality, variants=variants), out)
    reasons = {problem["variant"]: problem["reason"] for problem in outcome.problems}
    assert set(reasons) == {"dies", "hangs"}
    for name, reason in reasons.items():
        assert f"score-{name}-server.log" in reason
        assert "\n" not in reason
        assert (name, TASK) not in cells(out)
    assert "did not answer within 3 s" in reasons["hangs"]
    assert ("b", TASK) in cells(out)
    assert nothing_runs()


def test_a_baseline_whose_server_fails_ends_the_run(tmp_path: Path, experiment: Callable[..., Experiment]) -> None:
    with pytest.raises(EngineError, match=r"score-a-server\.log"):
        quantcheck.run(experiment("a:500:3"), tmp_path / "out")
    assert nothing_runs()


@pytest.mark.parametrize(("changes", "message"), [
    ({"quality": {"suites": ["reference/documentation"]}}, r"quality\.context: 512 is too large.*511"),
    ({"quality": {"suites": ["reference/documentation"], "context": 100, "stride": 50}, "args": {"max-model-len": 80}},
     r"quality\.context: 100 .*79"),
    ({"quality": {"suites": [TASK]}, "args": {"max-model-len": 80}}, r"reference/format needs .* leave the suite out"),
])
def test_what_does_not_fit_is_refused_before_anything_is_started(
    tmp_path: Path, experiment: Callable[..., Experiment], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        quantcheck.run(experiment(**changes), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("logs/*"))


def depends(experiment: Experiment, engine_args: dict[str, Any] | None = None, *, again: bool = False) -> Any:
    artifact = Artifact("b", Path(), {"engine_args": engine_args or {}})
    return scoring_depends(experiment, "b", artifact, again=again)


def test_figures_depend_on_all_options(experiment: Callable[..., Experiment]) -> None:
    own = {"a": {"scheme": "bf16"}, "b": {"scheme": "fp16", "args": {"kv-cache-dtype": "fp8"}}}
    found = [
        depends(experiment()), depends(experiment(args={"max-num-seqs": 4})), depends(experiment("b:die:900")),
        depends(experiment(variants=own)), depends(experiment(), {"dtype": "float16"}),
        depends(experiment(), again=True),
    ]
    assert len({json.dumps(one, sort_keys=True) for one in found}) == len(found)
    # What is only room for the sequences is not one of them.
    assert found[0] == depends(experiment(quality={**QUALITY, "context": 128}))
    assert depends(experiment(engine={"kind": "llama.cpp"})) == "llama.cpp"


@pytest.mark.parametrize(("given", "again", "options"), [
    ({}, False, {"max-logprobs": 64}),
    ({"max-logprobs": 5, "max-model-len": 256}, False, {"max-logprobs": 64, "max-model-len": 256}),
    ({"max-logprobs": 100}, False, {"max-logprobs": 100}),
    ({"max-logprobs": -1}, False, {"max-logprobs": -1}),
    ({}, True, {"max-logprobs": 64, "max-num-batched-tokens": 512}),
    ({"max-num-seqs": 1024}, True, {"max-num-seqs": 1024, "max-num-batched-tokens": 1024}),
    ({"max-num-batched-tokens": 512}, True, {"max-num-batched-tokens": 1024}),
    ({"max-num-batched-tokens": 8192}, True, {"max-num-batched-tokens": 512}),
    ({"enable-chunked-prefill": False}, True, {"enable-chunked-prefill": False}),
])
def test_the_users_options_are_kept_but_for_what_scoring_needs(
    experiment: Callable[..., Experiment], given: dict[str, Any], again: bool, options: dict[str, Any]
) -> None:
    found = depends(experiment(args=given), again=again)
    assert found["args"] == {"max-logprobs": 64, **options}
    assert found["concurrency"] == (5 if again else 16)


def test_continuations_come_through_the_server(tmp_path: Path, experiment: Callable[..., Experiment]) -> None:
    out = tmp_path / "out"
    outcome = quantcheck.run(experiment(quality={"continuations": {"items": 3, "max_tokens": 9}}), out)
    assert (outcome.measured, outcome.problems) == (2, [])
    table = cells(out)["b", "continuations"].table("items")
    words = FolderTokenizer(quantcheck.reference.model_dir())
    for prompt, tokens in zip(table["prompt"].tolist(), table["tokens"].tolist(), strict=True):
        last, expected = int(words.encode(prompt, bos=True)[-1]), []
        for _ in range(9):
            last = int(rows_of(4096, 0.5)(last).argmax())
            expected.append(last)
        assert tokens == " ".join(map(str, expected))
    row = outcome.summary.continuations[0]
    assert (row.variant, row.prompts, row.max_tokens) == ("b", 3, 9)
    assert len(outcome.summary.most_changed) == 3 - round(3 * (row.agreement.value or 0))


def test_a_server_has_no_full_distributions_to_keep(experiment: Callable[..., Experiment]) -> None:
    with pytest.raises(ValueError, match="a vLLM server tells the likeliest tokens only"):
        experiment(quality={**QUALITY, "divergence": "full"})
