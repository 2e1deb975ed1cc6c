"""The probe finds every way in which a server's log-probabilities can be wrong, and says what to do."""

import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from quantcheck import reference
from quantcheck.engines.base import Endpoint
from quantcheck.engines.endpoint_scorer import EndpointScorer
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.llamacpp import LlamaCppServer
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import IntArray, Seeded
from quantcheck.errors import EngineError, SpecError
from quantcheck.spec.experiment import LlamaCppEngine, Variant
from quantcheck.variants.make import prepare
from tests.engines.endpoints import EndpointServer
from tests.harness.byte_model import EOT, ByteModel, ByteTokens

CONTEXT, TOP = 64, 5
MODEL = ByteModel()


class Words(ByteTokens):
    """BOS comes first; bytes above 127 alone are no character: they share a spelling."""

    vocab_size = 257

    def __init__(self) -> None:
        super().__init__(bos=True)

    def spellings(self) -> list[str]:
        return [*(bytes([byte]).decode("utf-8", "replace") for byte in range(256)), "<|end|>"]


WORDS = Words()


def rows(tokens: Sequence[int]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = MODEL.logprobs[list(tokens)]
    return found


def serve(fault: str = "", **options: Any) -> EndpointServer:
    return EndpointServer(rows, WORDS.spellings(), fault=fault, **options)


def scorer(server: EndpointServer, **options: Any) -> EndpointScorer:
    return EndpointScorer(Endpoint(server.url, "m", "completions"), WORDS, CONTEXT, **{"top_k": TOP, **options})


@pytest.mark.parametrize(("fault", "message"), [
    ("ignores echo", "ignores echo"),
    ("drops the last", r"gives 12 values for 12 tokens and one that it writes: the last is missing.*llama_cpp\.server"),
    ("shifted early", "shifts its values by one: that of token 12 stands at token 11"),
    ("shifted late", "shifts its values by one: that of token 12 stands at token 13"),
    ("values alone shifted", "shifts its values by one"),
    ("double bos", r"puts a token of its own before the prompt \(BOS, doubled"),
    ("hidden bos", "gives the first token a value"),
    ("missing bos", r"leaves out the first token of the prompt \(BOS\)"),
    ("wrong tokens", "scores other tokens than were sent, from token 2 on"),
    ("looks ahead", r"gives token \d another value \(.*its values look ahead"),
    ("temperature", "one of them is of another distribution"),
    ("nan", r"above 0 or not a number \(nan\)"),
    ("null", "gives no value for token 3"),
    ("zero", "one of them is of another distribution|every token the probability 1"),
    ("first value", "gives the first token a value"),
    ("no top", "gives no logprobs with what it writes"),
    ("no ids", r"takes no prompts of token ids \(.*prompt must be a string.*speed can be measured"),
    ("few logprobs", r"refuses to give the 5 likeliest tokens .*lower `engine\.top_logprobs:`"),
    ("error event", "answered with an error: out of memory"),
])
@pytest.mark.parametrize("ids", [True, False], ids=["by id", "by text"])
def test_a_server_that_cannot_be_trusted_is_refused_with_the_remedy(fault: str, message: str, ids: bool) -> None:
    with serve(fault, ids=ids) as server, pytest.raises(EngineError, match=message) as caught:
        scorer(server)
    assert "\n" not in str(caught.value)
    assert len(server.bodies) <= 4


@pytest.mark.parametrize("options", [{}, {"ids": False}, {"fault": "strict", "ids": False}],
                         ids=["ids", "text", "strict"])
def test_an_honest_server_is_taken_at_its_word(options: dict[str, Any]) -> None:
    asked = [WORDS.encode(text, bos=True) for text in ("hello there", "the end of it all", "a\nb")]
    with serve(**options) as server:
        found = list(scorer(server).prompt_logprobs(asked))
    for tokens, one in zip(asked, found, strict=True):
        exact = MODEL.logprobs[tokens[:-1]]
        np.testing.assert_allclose(one.own, exact[np.arange(len(exact)), tokens[1:]], rtol=1e-12)
        known = one.ids >= 0
        best = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
        assert (one.logprobs[known] == np.take_along_axis(exact, np.where(known, one.ids, 0), axis=1)[known]).all()
        if options:  # the bytes that are no character alone are not told apart
            assert (one.ids[known] < 128).sum() + (one.ids[known] == EOT).sum() == known.sum()
            shared = (best >= 128) & (best != EOT)
            assert not known[shared[:, :1].nonzero()[0], 0].any()
        else:
            np.testing.assert_array_equal(one.ids, best)


def test_likelihoods_are_the_models_own() -> None:
    pairs = [(WORDS.encode("abc", bos=True), WORDS.encode(text, bos=False)) for text in ("de", "x y z")]
    best: IntArray = np.array([MODEL.next(ord("c"))], dtype=np.int32)
    pairs.append((pairs[0][0], best))
    with serve() as server:
        found = scorer(server, concurrency=2).loglikelihoods(pairs)
    for one, exact in zip(found, MODEL.loglikelihoods(pairs), strict=True):
        assert one.logprob == pytest.approx(exact.logprob, abs=1e-9)
        assert one.is_greedy == exact.is_greedy
    assert found[2].is_greedy


class Letters(ByteModel):
    """Writes a fixed text after whatever it is asked, and then its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.logprobs = np.full((257, 257), -12.0)
        order = [ord("s"), *text.encode(), EOT]
        for before, after in pairwise(order):
            self.logprobs[before, after] = -1e-4
        for token in set(range(257)) - set(order[:-1]):
            self.logprobs[token, ord("q")] = -1e-4


@pytest.mark.parametrize("ids", [True, False], ids=["by id", "by text"])
@pytest.mark.parametrize("writes", ["", "writes the end"])
def test_answers_are_cut_at_the_stop_token(ids: bool, writes: str) -> None:
    model = Letters("wxyz\nuv")

    def of(tokens: Sequence[int]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = model.logprobs[list(tokens)]
        return found

    prompt = WORDS.encode("does", bos=True)
    with EndpointServer(of, WORDS.spellings(), ids=ids, end=EOT, fault=writes) as server:
        asked = scorer(server)

        def write(most: int, stop: Sequence[int]) -> str:
            (found,) = asked.generate([prompt], most, stop)
            return bytes(found.tolist()).decode()

        assert write(20, [EOT]) == "wxyz\nuv"
        assert write(20, [EOT, ord("\n")]) == "wxyz"
        assert write(3, [EOT]) == "wxy"
        assert asked.generate([prompt, prompt], 3, [ord("x")])[1].tolist() == [ord("w")]


def test_each_drawn_answer_has_its_own_seed() -> None:
    with serve() as server:
        prompts = [WORDS.encode(text, bos=True) for text in ("ab", "cd")]
        scorer(server).generate(prompts, 1, [EOT], Seeded(0.7, 0.9, [2**64 - 1, 5]))
    drawn = sorted((body["seed"], body["temperature"], body["top_p"]) for body in server.bodies if "seed" in body)
    assert drawn == [(5, 0.7, 0.9), (2**63 - 1, 0.7, 0.9)]


def test_a_fault_after_the_probe_is_found_too() -> None:
    tokens = [WORDS.encode("hello there", bos=True)]
    with serve() as server:
        honest = scorer(server)
        for fault, message in (("ignores echo", "answers 1 values"), ("double bos", "answers 14 values"),
                               ("wrong tokens", "scores another token"),
                               ("values alone shifted", "its list of the likeliest contradicts")):
            server.fault = fault
            with pytest.raises(EngineError, match=message):
                list(honest.prompt_logprobs(tokens))


def test_the_key_goes_with_every_question_and_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        with pytest.raises(SpecError, match="the environment variable THE_KEY is not set"):
            scorer(server, key_variable="THE_KEY")
        monkeypatch.setenv("THE_KEY", "s3cret")
        scorer(server, key_variable="THE_KEY")
    assert server.keys == {"Bearer s3cret"}


def test_another_tokenizer_is_found() -> None:
    class Other(Words):
        def spellings(self) -> list[str]:
            return [f"<{token}>" for token in range(257)]

    with serve(ids=False) as server, pytest.raises(EngineError, match="another model's tokenizer was given"):
        EndpointScorer(Endpoint(server.url, "m", "completions"), Other(), CONTEXT, top_k=TOP)


REFERENCE = FolderTokenizer(reference.model_dir())


@pytest.fixture(scope="module")
def f16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("reference", {"F16": Variant(scheme="gguf/F16")}, cache=tmp_path_factory.mktemp("cache"))["F16"].path


def test_llamacpps_own_server_ignores_echo(f16: Path, tmp_path: Path) -> None:
    settings = LlamaCppEngine(threads=1)
    with (LlamaCppServer(settings, f16, name="m", slots=1, tokens=64, log=tmp_path / "server.log") as server,
          pytest.raises(EngineError, match=r"ignores echo.*leave `quality:` out; speed can be measured")):
        EndpointScorer(Endpoint(server.endpoint.base_url, "m", "completions"), REFERENCE, 64, top_k=TOP)


@pytest.mark.parametrize("ids", [True, False], ids=["by id", "by text"])
def test_the_reference_model_through_an_endpoint_is_scored_as_it_is_directly(f16: Path, ids: bool) -> None:
    """The server computes with our own scorer, so that all that may differ is the way over HTTP."""
    texts = ["Once there was a small house near the river.", "12 + 7 = 19", "caf\u00e9 \u2713 \u2713", "A" * 40]
    asked = [REFERENCE.encode(text, bos=True) for text in texts]
    pairs = [(tokens[:4], tokens[4:9]) for tokens in asked]
    with LlamaCppScorer(f16, threads=1) as direct, _one_at_a_time(direct, ids) as server:
        through = EndpointScorer(Endpoint(server.url, "m", "completions"), REFERENCE, 128, top_k=TOP)
        # One at a time, as the server does: another batch would move llama.cpp's figures by some 1e-3.
        rows_of = {tuple(tokens.tolist()): server.rows(tokens.tolist())[:-1] for tokens in asked}
        for tokens, one in zip(asked, through.prompt_logprobs(asked), strict=True):
            exact = rows_of[tuple(tokens.tolist())]
            np.testing.assert_allclose(one.own, exact[np.arange(len(exact)), tokens[1:]], atol=1e-4)
            known = one.ids >= 0
            assert known.mean() == 1 if ids else known[:, 0].any()  # parts of characters share a spelling
            np.testing.assert_allclose(
                one.logprobs[known], np.take_along_axis(exact, np.maximum(one.ids, 0), axis=1)[known], atol=1e-4)
        for over, (context, continuation) in zip(through.loglikelihoods(pairs), pairs, strict=True):
            last = server.rows([*context.tolist(), *continuation.tolist()])[len(context) - 1 : -1]
            own = last[np.arange(len(continuation)), continuation]
            assert over.logprob == pytest.approx(own.sum(), abs=1e-4)
            assert over.is_greedy == bool((own >= last.max(axis=1)).all())
        ends = REFERENCE.line_ends()
        for tokens, written, exact_text in zip(asked, through.generate(asked, 8, ends),
                                               direct.generate(asked, 8, ends), strict=True):
            assert REFERENCE.decode(written) == REFERENCE.decode(exact_text), REFERENCE.decode(tokens)


def _one_at_a_time(direct: LlamaCppScorer, ids: bool) -> EndpointServer:
    gate = threading.Lock()

    def rows_of(tokens: Sequence[int]) -> NDArray[np.float64]:
        with gate:
            (logits,) = direct.logits([np.array(tokens, dtype=np.int32)])
        found: NDArray[np.float64] = log_softmax(logits.astype(np.float64), axis=1)
        return found

    return EndpointServer(rows_of, REFERENCE.spellings(), ids=ids, text=REFERENCE.decode)
