"""Greedy continuations by the reference model, and what ends one."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import IntArray, Over, Seeded
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.continuations import continue_prompts
from quantcheck.quality.parts import Part, figures
from quantcheck.quality.prompts import load_prompts
from quantcheck.quality.suite import Continued, Item
from quantcheck.spec.quality import Continuations
from quantcheck.variants.artifact import Artifact
from tests.quality.test_worst import Bytes


class Scripted:
    """Writes the same bytes after every prompt until it may not."""

    vocab_size = 256

    def __init__(self, script: bytes) -> None:
        self.script = script

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        assert sampling is None
        ends = [at for at, token in enumerate(self.script) if token in stop]
        return [np.array(list(self.script[: min([max_tokens, *ends])]), dtype=np.int32) for _ in prompts]


def suite(*prompts: str, max_tokens: int = 20) -> Continued:
    return Continued("continuations", tuple(Item(str(at), "", text, {}) for at, text in enumerate(prompts)),
                     max_tokens, "d")


def test_a_newline_does_not_end_a_continuation_but_the_end_of_text_does() -> None:
    words = Bytes()
    two = suite("a", "b")
    facts, rows = continue_prompts(
        Scripted(b"one\ntwo\xff\0three"), words, two,  # type: ignore[arg-type]
        [words.encode(item.prompt, bos=True) for item in two.items])
    result, table = figures(Part(0, 2, 2, facts, rows))
    assert table["output"].tolist() == ["one\ntwo\ufffd"] * 2
    assert table["tokens"][0] == " ".join(str(byte) for byte in b"one\ntwo\xff")
    assert (result["kind"], result["n"], result["max_tokens"], result["tokens"]) == ("continuations", 2, 20, 16)


def test_nothing_written_is_an_empty_text() -> None:
    words = Bytes()
    _, table = continue_prompts(Scripted(b"\0"), words, suite("a"), [words.encode("a", bos=True)])  # type: ignore[arg-type]
    assert (table["output"].tolist(), table["tokens"].tolist()) == ([""], [""])


def test_each_token_is_the_likeliest_after_all_before_it(ladder: Mapping[str, Artifact], tmp_path: Path) -> None:
    asked = load_prompts(Continuations(items=3, max_tokens=12))
    with LlamaCppScorer(ladder["F16"].path, threads=1) as scorer:
        words = Vocabulary(scorer.model)
        prompts = [words.encode(item.prompt, bos=True) for item in asked.items]
        done: list[int] = []
        _, table = continue_prompts(scorer, words, asked, prompts, done.append)
        written = [np.array([int(token) for token in text.split()], dtype=np.int32) for text in table["tokens"]]
        whole = [np.concatenate([prompt, ids]) for prompt, ids in zip(prompts, written, strict=True)]
        for prompt, ids, logits in zip(prompts, written, scorer.logits(whole), strict=True):
            assert 0 < len(ids) <= 12
            rows = logits[len(prompt) - 1 : -1]
            # Another batch shape rounds otherwise: near the top is enough.
            assert (rows.max(axis=1) - rows[np.arange(len(ids)), ids] < 0.01).all()
    assert done == [3]
    assert table["prompt_tokens"].tolist() == [len(prompt) for prompt in prompts]
    assert table["prompt"].tolist() == [item.prompt for item in asked.items]
