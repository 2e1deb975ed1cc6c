"""transformers in its own environment: what a batch changes, and whom its figures agree with."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from quantcheck import EngineError, EngineUnavailable, ModelError, SpecError, reference
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.hf.process import Loaded, Worker
from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import LOOK, IntArray, Seeded
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.perplexity import score_windows
from quantcheck.quality.windows import windows
from quantcheck.spec.variant import Variant
from quantcheck.variants.make import prepare
from tests.conftest import needs_environment
from tests.quality.independent import log_probabilities

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FOLDER = reference.model_dir()
ROUNDING = 2e-4
"""Of float32 logits, which reach 30."""


@pytest.fixture(scope="module")
def python() -> Path:
    return needs_environment("transformers")


@pytest.fixture(scope="module")
def scorer(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersScorer]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with TransformersScorer(Loaded(python=python, folder=FOLDER, dtype="float32", threads=1), log=log) as found:
        yield found


@pytest.fixture(scope="module")
def documents() -> list[IntArray]:
    """Of very unlike lengths."""
    tokenizer = FolderTokenizer(FOLDER)
    lines = reference.corpus_path("stories").read_text(encoding="utf-8").splitlines()[:7]
    cuts = [1, 3, 30, 31, 120, 7, 64]
    return [tokenizer.encode(json.loads(line)["text"], bos=True)[:cut] for line, cut in zip(lines, cuts, strict=True)]


def rounding(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max())


def test_no_logit_depends_on_the_batch_beyond_rounding(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    together = list(scorer.logits(documents))
    assert [rows.shape for rows in together] == [(len(tokens), 4096) for tokens in documents]
    scorer.batch_size = 1
    try:
        singly = list(scorer.logits(documents))
    finally:
        scorer.batch_size = 16
    assert max(rounding(a, b) for a, b in zip(together, singly, strict=True)) < ROUNDING
    again = list(scorer.logits(documents))
    assert all(np.array_equal(a, b) for a, b in zip(together, again, strict=True))


def test_rows_that_nobody_asks_for_are_left_out(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    skip = [len(tokens) // (2 + number % 3) for number, tokens in enumerate(documents)]
    found = list(scorer.logits(documents, skip))
    whole = list(scorer.logits(documents))
    assert max(rounding(a, b[less:]) for a, b, less in zip(found, whole, skip, strict=True)) < ROUNDING


def test_padding_left_and_right_give_the_same(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    right = np.stack([rows[-1] for rows in scorer.logits(documents)])
    arrays = {"ids": np.concatenate(documents), "lengths": np.array([len(tokens) for tokens in documents])}
    _, left = scorer._worker.ask("begin", {"greedy": False}, arrays)
    assert rounding(left["logits"], right) < ROUNDING
    # Once more after a step that three of them leave.
    keep, token = np.array([1, 3, 4, 6]), 17
    _, left = scorer._worker.ask("step", arrays={"tokens": np.full(4, token, np.int32), "keep": keep})
    longer = [np.append(documents[place], token).astype(np.int32) for place in keep]
    right = np.stack([rows[-1] for rows in scorer.logits(longer)])
    assert rounding(left["logits"], right) < ROUNDING


def test_loglikelihoods_are_those_of_the_logits(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    whole = [tokens for tokens in documents if len(tokens) > 2]
    pairs = [(tokens[:cut], tokens[cut:]) for tokens in whole for cut in (1, 2, len(tokens) - 1)]
    # Of one context and another last token, which share a pass.
    pairs += [(pairs[-1][0], np.array([token], np.int32)) for token in (5, 600, 4095)]
    found = scorer.loglikelihoods(pairs)
    for (context, continuation), told in zip(pairs, found, strict=True):
        rows = log_probabilities(next(scorer.logits([np.concatenate([context, continuation])])))
        at = np.arange(len(context) - 1, len(context) + len(continuation) - 1)
        assert told.logprob == pytest.approx(rows[at, continuation].sum(), abs=1e-4 * len(continuation))
        assert told.is_greedy == bool((rows[at].argmax(axis=1) == continuation).all())
    assert found == scorer.loglikelihoods(pairs)


def test_what_is_written_is_the_likeliest_token_each_time(
    scorer: TransformersScorer, documents: list[IntArray]
) -> None:
    prompts, stop = documents[1:], {199, 28}
    written = scorer.generate(prompts, 12, stop)
    for prompt, answer in zip(prompts, written, strict=True):
        rows = next(scorer.logits([np.concatenate([prompt, answer]).astype(np.int32)]))[len(prompt) - 1 :]
        assert rows[: len(answer)].argmax(axis=1).tolist() == answer.tolist()
        assert not stop & set(answer.tolist())
        if len(answer) < 12:
            assert int(rows[-1].argmax()) in stop
    assert 0 < sum(len(answer) == 12 for answer in written) < len(written), "stops and full lengths must both occur"


def test_one_alone_is_written_as_in_a_batch(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    how = Seeded(0.8, 0.9, list(range(len(documents))))
    for sampling in (None, how):
        together = scorer.generate(documents, 8, {0}, sampling)
        singly = [scorer.generate([prompt], 8, {0}, sampling and Seeded(0.8, 0.9, [seed]))[0]
                  for seed, prompt in enumerate(documents)]
        assert [answer.tolist() for answer in together] == [answer.tolist() for answer in singly]


def test_an_answer_that_is_over_ends_at_the_next_look(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    whole = scorer.generate(documents, 2 * LOOK + 5, set())
    end = int(whole[1][3])
    found = scorer.generate(documents, 2 * LOOK + 5, set(), over=lambda written: end in written.tolist())
    for answer, same in zip(found, whole, strict=True):
        place = same.tolist().index(end) + 1 if end in same.tolist() else len(same)
        assert answer.tolist() == same[: -(-place // LOOK) * LOOK].tolist()
    assert len(found[1]) == LOOK


PLAIN = """
import json, sys, torch
from transformers import AutoModelForCausalLM
asked = json.load(open(sys.argv[1]))
model = AutoModelForCausalLM.from_pretrained(asked["folder"], dtype=getattr(torch, asked["dtype"])).eval()
with torch.inference_mode():
    rows = [model(torch.tensor([ids])).logits[0].double().log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])
            [:, 0].tolist() for ids in asked["sequences"]]
json.dump(rows, open(sys.argv[2], "w"))
"""


def plain(python: Path, folder: Path, sequences: list[IntArray], dtype: str) -> list[NDArray[np.float64]]:
    """Log-probabilities of every token but the first, one plain forward pass a sequence, in a process of its own."""
    (folder / "asked.json").write_text(json.dumps({
        "folder": str(FOLDER), "dtype": dtype, "sequences": [tokens.tolist() for tokens in sequences]}))
    subprocess.run([str(python), "-c", PLAIN, str(folder / "asked.json"), str(folder / "rows.json")], check=True,
                   capture_output=True, timeout=300)
    return [np.array(row) for row in json.loads((folder / "rows.json").read_text())]


def own(logits: NDArray[np.float32], tokens: IntArray) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = log_probabilities(logits)[np.arange(len(tokens) - 1), tokens[1:]]
    return rows


def float32_gguf(source: Path, target: Path) -> None:
    """The same weights and words with every tensor in float32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_token_by_token_it_agrees_with_a_plain_pass_and_with_llama_cpp(
    scorer: TransformersScorer, python: Path, documents: list[IntArray], tmp_path: Path
) -> None:
    longer = [tokens for tokens in documents if len(tokens) > 1]
    ours = [own(rows, tokens) for rows, tokens in zip(scorer.logits(longer), longer, strict=True)]
    theirs = plain(python, tmp_path, longer, "float32")
    assert max(rounding(a, b) for a, b in zip(ours, theirs, strict=True)) < 1e-4

    f16 = prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=tmp_path / "cache")["F16"].path
    float32_gguf(f16, tmp_path / "f32.gguf")
    with LlamaCppScorer(tmp_path / "f32.gguf", 1, 512) as llama:
        words = Vocabulary(llama.model)
        text = "Once upon a time, there was a caf\u00e9.\nThe end"
        assert words.encode(text, bos=True).tolist() == FolderTokenizer(FOLDER).encode(text, bos=True).tolist()
        there = [own(rows, tokens) for rows, tokens in zip(llama.logits(longer), longer, strict=True)]
    gaps = np.concatenate([np.abs(a - b) for a, b in zip(ours, there, strict=True)])
    assert gaps.mean() < 1e-4
    assert gaps.max() < LLAMA_CPP


LLAMA_CPP = 2e-3
"""The most that a token may differ: llama.cpp keeps its keys and values in float16."""


def test_perplexity_is_that_of_float64(scorer: TransformersScorer, python: Path, tmp_path: Path) -> None:
    context, stride, most = 512, 256, 1200
    tokenizer = FolderTokenizer(FOLDER)
    lines = reference.corpus_path("documentation").read_text(encoding="utf-8").splitlines()
    texts = [tokenizer.encode(json.loads(line)["text"], bos=True) for line in lines]
    texts = sorted(texts, key=len)[-2:]
    assert len(texts[0]) > 600, "several windows a document"
    scorer.context = 512
    found = score_windows(scorer, list(windows(texts, context, stride, most)))

    # Every token once, with at least context - stride tokens before it, where the document has them.
    asked: list[IntArray] = []
    scored: list[int] = []
    for tokens in texts:
        end = min(context, len(tokens))
        asked.append(tokens[:end])
        scored.append(end - 1)
        while end < len(tokens):
            step = min(stride, len(tokens) - end)
            end += step
            asked.append(tokens[end - context : end])
            scored.append(step)
    rows = plain(python, tmp_path, asked, "float64")
    expected = np.concatenate([row[-count:] for row, count in zip(rows, scored, strict=True)])[:most]
    assert len(found.nll) == len(expected) == most
    assert found.perplexity == pytest.approx(np.exp(-expected.mean()), rel=1e-4)
    assert rounding(found.nll, -expected) < 1e-3


def test_wrong_questions_are_refused(scorer: TransformersScorer) -> None:
    with pytest.raises(SpecError, match="sequence 1 is empty"):
        scorer.logits([np.array([1]), np.array([], np.int32)])
    with pytest.raises(SpecError, match="has 513 tokens, the context of 512 has room for 512"):
        scorer.logits([np.ones(513, np.int32)])
    with pytest.raises(ModelError, match="outside the vocabulary of 4096"):
        scorer.loglikelihoods([(np.array([1]), np.array([4096]))])
    with pytest.raises(SpecError, match="at least one token must be asked for"):
        scorer.generate([np.array([1])], 0, set())


def test_a_batch_takes_as_long_as_its_tokens(scorer: TransformersScorer, documents: list[IntArray]) -> None:
    arrays = {"ids": np.concatenate(documents), "lengths": np.array([len(tokens) for tokens in documents])}
    greedy = scorer.generate(documents, 6, set())
    for cache, tokens in (("dynamic", 120 + 5), ("static", 120 + 6)):
        told, found = scorer._worker.ask("time", {"output_tokens": 6, "cache": cache}, arrays)
        assert found["tokens"].tolist() == [answer.tolist() for answer in greedy]
        assert found["stamps_ns"].shape == (6,)
        assert (np.diff(found["stamps_ns"], prepend=0) > 0).all()
        # Keys and values, 8 layers of 4 heads of 32 float32 numbers.
        assert told["kv_bytes"] == 2 * 8 * 4 * 32 * 4 * tokens * len(documents)
        assert told["clock"] == "monotonic clock"


def test_an_interpreter_without_it_is_named(tmp_path: Path) -> None:
    for python in (Path(sys.executable), tmp_path / "none"):
        with pytest.raises(EngineUnavailable, match="engines install transformers") as caught:
            Worker(Loaded(python=python, folder=FOLDER), name="x", log=tmp_path / "log").start()
        assert "\n" not in str(caught.value)


def test_a_worker_that_is_killed_and_weights_that_are_missing(python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in FOLDER.iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="cannot load it") as caught:
        Worker(Loaded(python=python, folder=folder), name="x", log=tmp_path / "log").start()
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    with pytest.raises(ModelError, match=r"9 weights of the model are not in its files.*layers\.8"):
        Worker(Loaded(python=python, folder=folder), name="x", log=tmp_path / "log").start()
    with Worker(Loaded(python=python, folder=FOLDER), name="x", log=tmp_path / "log") as worker:
        for process in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
            process.send_signal(signal.SIGKILL)
        with pytest.raises(EngineError, match=r"transformers worker of x is gone .*SIGKILL"):
            worker.ask("logits", arrays={"ids": np.ones(3, np.int32), "lengths": np.array([3])})
