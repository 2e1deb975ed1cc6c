"""The scoring process as the runner starts it: a folder with job.json in, events and arrays out."""

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.errors import ModelError
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.job import Encoded, Job, encode
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.spec.experiment import Quality, TextSuite
from quantcheck.variants.artifact import Artifact
from tests.ggml.tiny import TinyModel, TinyShape, write_tiny
from tests.quality.independent import divergences, log_probabilities, read_logits, targets_of, token_nll, write_logits

AGREES = 1e-4
TEXT = "A short text\nof two lines, and then some more of it. " * 3


def start(folder: Path, model: Path, quality: Quality, *, role: str = "baseline", **changes: Any) -> tuple[int, str]:
    """Run the job in a process of its own; its exit status and what it said on its error output."""
    folder.mkdir(exist_ok=True)
    job = Job.model_validate({
        "model": model, "quality": quality, "suites": [*quality.suites, *quality.texts], "role": role,
        "logits": {}, "threads": 1, "batch_tokens": 512, **changes,
    })
    (folder / "job.json").write_text(job.model_dump_json(by_alias=True), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "quantcheck.quality.job", str(folder)], capture_output=True, text=True,
                          timeout=120, check=False)
    return done.returncode, done.stderr


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def results(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, NDArray[Any]]]]:
    """Each finished suite's result and arrays."""
    found = {}
    for number, event in enumerate(event for event in events(folder) if "result" in event):
        with np.load(folder / f"{number}.npz", allow_pickle=False) as arrays:
            found[event["suite"]] = event["result"], dict(arrays)
    return found


def own_text(tmp_path: Path, **changes: Any) -> Quality:
    (tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in (TEXT, "Another one.", TEXT[::-1])))
    return Quality(texts={"mine": TextSuite(text=str(tmp_path / "mine.jsonl"))}, context=32, stride=16, **changes)


def test_perplexity_and_divergence_equal_numpy_over_the_logits_file(
    tmp_path: Path, tiny: Mapping[str, TinyModel]
) -> None:
    quality = own_text(tmp_path)
    saved = {name: tmp_path / f"{name}.f32" for name in tiny}
    for name, model in tiny.items():  # both as a baseline, so that both leave their logits
        assert start(tmp_path / f"b-{name}", model.path, quality, logits={"mine": saved[name]}) == (0, "")
    compared = tmp_path / "variant"
    assert start(compared, tiny["Q4_0"].path, quality, role="variant", logits={"mine": saved["F32"]}) == (0, "")
    result, arrays = results(compared)["mine"]

    corpus = load_suites(quality)[0]
    assert isinstance(corpus, Corpus)
    with Model(tiny["F32"].path) as opened:
        words = Vocabulary(opened)
        documents = [words.encode(document, bos=True) for document in corpus.documents]
    targets = targets_of(documents)
    p, q = (read_logits(saved[name], 272) for name in ("F32", "Q4_0"))
    assert len(p) == len(q) == len(targets) == result["tokens"]
    assert result["perplexity"] == pytest.approx(float(np.exp(token_nll(q, targets).mean())), rel=AGREES)
    assert result["nll_mean"] == pytest.approx(float(token_nll(q, targets).mean()), rel=AGREES)
    assert result["kl_divergence"] == pytest.approx(divergences(p, q).mean(), rel=AGREES)
    assert result["top1_agreement"] == pytest.approx((p.argmax(axis=1) == q.argmax(axis=1)).mean())
    assert result["kl_divergence"] > 0
    assert (result["documents"], result["context"], result["stride"]) == (3, 32, 16)
    assert sorted(arrays) == ["confidence", "document", "kl", "nll", "top1"]
    assert arrays["document"].tolist() == [n for n, document in enumerate(documents) for _ in document[1:]]
    np.testing.assert_allclose(arrays["nll"], token_nll(q, targets), rtol=AGREES)
    np.testing.assert_allclose(arrays["kl"], divergences(p, q), rtol=AGREES, atol=1e-9)
    np.testing.assert_allclose(arrays["confidence"], np.exp(log_probabilities(q)).max(axis=1), rtol=AGREES)
    worst = result["worst_tokens"]
    assert len(worst) == min(20, len(targets))
    assert [token["kl_divergence"] for token in worst] == pytest.approx(np.sort(divergences(p, q))[::-1][:20].tolist(),
                                                                       rel=AGREES)
    first = int(divergences(p, q).argmax())
    assert (worst[0]["document"], worst[0]["position"]) == where_of(documents)[first]
    assert worst[0]["baseline_p"] == pytest.approx(np.exp(log_probabilities(p))[first, targets[first]], rel=AGREES)
    assert worst[0]["variant_p"] == pytest.approx(np.exp(log_probabilities(q))[first, targets[first]], rel=AGREES)
    assert worst[0]["baseline_likeliest_p"] == pytest.approx(np.exp(log_probabilities(p))[first].max(), rel=AGREES)

    baseline, table = results(tmp_path / "b-F32")["mine"]
    assert baseline["kl_divergence"] is baseline["top1_agreement"] is None
    assert "worst_tokens" not in baseline
    assert sorted(table) == ["confidence", "document", "nll"]
    assert baseline["perplexity"] == pytest.approx(float(np.exp(token_nll(p, targets).mean())), rel=AGREES)
    assert baseline["prompts_sha256"] == result["prompts_sha256"]
    assert list(tmp_path.glob("*.part")) == []


def where_of(documents: list[NDArray[Any]]) -> list[tuple[int, int]]:
    """(document, position) of every scored token."""
    return [(number, position) for number, tokens in enumerate(documents) for position in range(1, len(tokens))]


SUITES = ["reference/stories", "reference/arithmetic", "reference/knowledge", "reference/expressions",
          "reference/format"]


@pytest.fixture(scope="module")
def shipped(ladder: Mapping[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of finished jobs on the reference model, F16 and Q2_K."""
    folder = tmp_path_factory.mktemp("jobs")
    quality = Quality(suites=SUITES, items=5, tokens=300)
    for name, role in (("F16", "baseline"), ("Q2_K", "variant")):
        status = start(folder / name, ladder[name].path, quality, role=role,
                       logits={"reference/stories": folder / "stories.f32"})
        assert status == (0, "")
    return {name: folder / name for name in ladder}


def test_suites_are_told_in_order_with_progress_to_the_end(shipped: Mapping[str, Path]) -> None:
    heard = events(shipped["F16"])
    assert [event["suite"] for event in heard if "result" in event] == SUITES
    for name in SUITES:
        mine = [event for event in heard if event["suite"] == name]
        assert "result" in mine[-1]
        assert mine[-1]["result"]["seconds"] > 0
        done = [event["done"] for event in mine[:-1]]
        assert done == sorted(done)
        assert done[-1] == mine[-2]["of"] == (300 if name == "reference/stories" else 5)


def test_task_tables_hold_every_item(shipped: Mapping[str, Path]) -> None:
    for name, (result, arrays) in results(shipped["F16"]).items():
        if result["kind"] != "task":
            continue
        task = load_suites(Quality(suites=[name], items=5))[0]
        assert not isinstance(task, Corpus)
        assert result["n"] == 5
        assert arrays["id"].tolist() == [item.id for item in task.items]
        assert arrays["group"].tolist() == [item.group for item in task.items]
        assert result["accuracy"] == pytest.approx(arrays["right"].mean())
        assert arrays["right"].mean() >= 0.6
        assert all(text and "\n" not in text for text in arrays["output"].tolist())


def test_the_same_ids_for_every_variant(shipped: Mapping[str, Path]) -> None:
    first, second = results(shipped["F16"]), results(shipped["Q2_K"])
    for name in SUITES:
        for key in ("prompts_sha256", "suite_sha256"):
            assert first[name][0][key] == second[name][0][key]
    assert len({first[name][0]["prompts_sha256"] for name in SUITES}) == len(SUITES)


def test_q2_k_is_damaged_as_the_logits_say(shipped: Mapping[str, Path], ladder: Mapping[str, Artifact]) -> None:
    """KL over the whole vocabulary of 300 tokens, again from llama.cpp's logits of both files."""
    quality = Quality(suites=["reference/stories"], tokens=300)
    corpus = load_suites(quality)[0]
    assert isinstance(corpus, Corpus)
    with Model(ladder["F16"].path) as model:
        work = encode(corpus, Vocabulary(model), quality)
    rows = {}
    for name, artifact in ladder.items():
        with LlamaCppScorer(artifact.path, threads=1, context=512) as scorer:
            rows[name] = np.concatenate([logits[-window.scored - 1 : -1] for window, logits in
                                         zip(work.windows, scorer.logits(work.sequences), strict=True)])
    result, _ = results(shipped["Q2_K"])["reference/stories"]
    targets = np.concatenate([window.tokens[-window.scored:] for window in work.windows])
    assert result["kl_divergence"] == pytest.approx(divergences(rows["F16"], rows["Q2_K"]).mean(), rel=1e-3)
    assert result["perplexity"] == pytest.approx(float(np.exp(token_nll(rows["Q2_K"], targets).mean())), rel=1e-3)
    assert result["kl_divergence"] > 0.1
    assert result["prompts_sha256"] == work.sha256


def test_a_hash_of_prompts_depends_on_ids_order_and_borders() -> None:
    suite = Corpus("c", ("x",), None, "d")

    def sha256(*sequences: list[int], kind: type = np.int32) -> str:
        return Encoded(suite, [np.array(ids, dtype=kind) for ids in sequences], []).sha256

    assert sha256([1, 2], [3]) == sha256([1, 2], [3], kind=np.int64)
    assert len({sha256([1, 2], [3]), sha256([1], [2, 3]), sha256([3], [1, 2]), sha256([1, 2, 3])}) == 4
    # Stored hashes must stay comparable between versions: lengths and ids as little-endian 32-bit integers.
    assert sha256([1, 2], [3]) == hashlib.sha256(struct.pack("<5i", 2, 1, 2, 1, 3)).hexdigest()


def failure(folder: Path, status: tuple[int, str], code: int) -> tuple[str, str]:
    """The error event of a job that failed: last, one line, with the exit status, and no traceback."""
    assert status[0] == code, status
    assert "Traceback" not in status[1]
    last = events(folder)[-1]
    assert "\n" not in last["message"]
    return last["error"], last["message"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
def test_a_damaged_gguf_is_an_error_event(tmp_path: Path, tiny: Mapping[str, TinyModel], damage: str) -> None:
    whole = tiny["F32"].path.read_bytes()
    bad = tmp_path / "bad.gguf"
    if damage != "missing":
        contents = {"truncated": whole[: len(whole) // 2], "garbage": b"GGUF" + bytes(range(256)), "empty": b""}
        bad.write_bytes(contents[damage])
    kind, message = failure(tmp_path / "job", start(tmp_path / "job", bad, own_text(tmp_path)), 2)
    assert kind == "ModelError"
    assert "bad.gguf" in message


def test_another_tokenizers_logits_are_refused(tmp_path: Path, tiny: Mapping[str, TinyModel]) -> None:
    quality = own_text(tmp_path)
    write_logits(tmp_path / "l.f32", 272, rows=7)
    status = start(tmp_path / "job", tiny["F32"].path, quality, role="variant", logits={"mine": tmp_path / "l.f32"})
    kind, message = failure(tmp_path / "job", status, 2)
    assert kind == "ModelError"
    assert "the baseline into 7" in message


def test_logits_of_another_vocabulary_are_refused(tmp_path: Path, tiny: Mapping[str, TinyModel]) -> None:
    """A variant with other rows than the baseline's: as many numbers need not mean as many tokens."""
    write_logits(tmp_path / "l.f32", 271, rows=1)
    status = start(tmp_path / "job", tiny["F32"].path, own_text(tmp_path), role="variant",
                   logits={"mine": tmp_path / "l.f32"})
    assert failure(tmp_path / "job", status, 2)[0] in ("ModelError", "StoreError")


def test_a_text_longer_than_the_model_reads_is_refused(tmp_path: Path) -> None:
    small = write_tiny(tmp_path / "small.gguf", TinyShape(context=16))
    kind, message = failure(tmp_path / "job", start(tmp_path / "job", small.path, own_text(tmp_path)), 2)
    assert kind == "SpecError"
    assert "16" in message


def test_texts_too_short_to_score_are_refused(tmp_path: Path, tiny: Mapping[str, TinyModel]) -> None:
    quality = own_text(tmp_path)
    suite = Corpus("c", ("",), None, "d")
    with Model(tiny["F32"].path) as model, pytest.raises(ModelError, match="too short to score"):
        encode(suite, Vocabulary(model), quality)


def test_an_unknown_suite_is_an_error_event(tmp_path: Path, tiny: Mapping[str, TinyModel]) -> None:
    quality = Quality(suites=["reference/storeis"])
    kind, message = failure(tmp_path / "job", start(tmp_path / "job", tiny["F32"].path, quality), 2)
    assert kind == "SpecError"
    assert "did you mean 'reference/stories'?" in message
