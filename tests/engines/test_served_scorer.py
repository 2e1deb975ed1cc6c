"""The scorer over HTTP against a small server that answers like vLLM from known logits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from quantcheck.engines.base import Endpoint
from quantcheck.engines.scorer import Seeded
from quantcheck.engines.served_scorer import ServedScorer
from quantcheck.errors import EngineError, ModelError, SpecError
from tests.engines.completions import Server

VOCABULARY, CONTEXT, END = 50, 32, 7
BIGRAMS = np.random.default_rng(0).normal(0, 2, (VOCABULARY, VOCABULARY))
"""The model: logits of the next token, by the token before it."""
LOGPROBS = log_softmax(BIGRAMS, axis=1)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(LOGPROBS.__getitem__) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def scorer(server: Server, **options: Any) -> ServedScorer:
    return ServedScorer(Endpoint(server.url, "m", "completions"), VOCABULARY, CONTEXT, **{"top_k": 8, **options})


def sequences(count: int, length: int = 12) -> list[np.ndarray]:
    return [np.random.default_rng(i).integers(0, VOCABULARY, length).astype(np.int32) for i in range(count)]


def test_gives_own_and_top_logprobs_in_order(server: Server) -> None:
    asked = sequences(30)
    found = list(scorer(server, concurrency=3).prompt_logprobs(asked))
    assert len(found) == 30
    for tokens, row in zip(asked, found, strict=True):
        exact = LOGPROBS[tokens[:-1]]
        np.testing.assert_allclose(row.own, exact[np.arange(11), tokens[1:]], rtol=1e-12)
        np.testing.assert_array_equal(row.ids, np.argsort(-exact, axis=1)[:, :8])
        np.testing.assert_allclose(row.logprobs, -np.sort(-exact, axis=1)[:, :8], rtol=1e-12)
    assert server.busiest <= 3
    assert all(body["model"] == "m" for body in server.bodies)


def test_loglikelihoods_sum_the_continuation_only(server: Server) -> None:
    best = [int(LOGPROBS[3].argmax())]
    best.append(int(LOGPROBS[best[0]].argmax()))
    pairs = [(np.array([1, 3]), np.array(best)), (np.array([3]), np.array([best[0], (best[1] + 1) % VOCABULARY]))]
    first, second = scorer(server).loglikelihoods(pairs)
    assert first.logprob == pytest.approx(LOGPROBS[3, best[0]] + LOGPROBS[best[0], best[1]])
    assert first.is_greedy
    assert second.logprob == pytest.approx(LOGPROBS[3, best[0]] + LOGPROBS[best[0], pairs[1][1][1]])
    assert not second.is_greedy


def test_generate_is_greedy_and_leaves_the_stop_out(server: Server) -> None:
    whole, = scorer(server).generate([np.array([3])], 6, [])
    assert len(whole) == 6
    assert whole[0] == LOGPROBS[3].argmax()
    cut, = scorer(server).generate([np.array([3])], 6, [int(whole[2])])
    first = whole.tolist().index(whole[2])
    assert cut.tolist() == whole[:first].tolist()


def test_what_may_be_over_is_written_in_rounds(server: Server) -> None:
    roomy = ServedScorer(Endpoint(server.url, "m", "completions"), VOCABULARY, 64, top_k=8)
    whole, = roomy.generate([np.array([3])], 40, [])
    seen: list[int] = []
    found, = roomy.generate([np.array([3])], 40, [], over=lambda written: bool(seen.append(len(written))))
    assert found.tolist() == whole.tolist()
    assert seen == [32, 40]
    cut, = roomy.generate([np.array([3])], 40, [], over=lambda written: True)
    assert cut.tolist() == whole[:32].tolist()


def test_each_drawn_answer_has_its_own_seed(server: Server) -> None:
    scorer(server).generate(sequences(2), 2, [END], Seeded(0.7, 0.9, [2**64 - 1, 5]))
    drawn = sorted((body["seed"], body["temperature"], body["top_p"]) for body in server.bodies if "seed" in body)
    assert drawn == [(5, 0.7, 0.9), (2**63 - 1, 0.7, 0.9)]


@pytest.mark.parametrize(("fault", "message"), [
    ("ignores", "ignores prompt_logprobs"),
    ("bos", "a token of its own .BOS."),
    ("short", "7 positions for a prompt of 8 tokens"),
    ("shifted", "shifted"),
    ("looks ahead", r"when tokens follow it: its values look ahead.*vLLM's own server"),
    ("zero", "every token the probability 1"),
    ("few", "--max-logprobs 8"),
    ("positive", "above 0"),
    ("raw logits", "exceed 1 in sum"),
    ("500", "answered 500 when asked to score: EngineCore died"),
    ("text", "not JSON"),
])  # fmt: skip
def test_a_server_that_cannot_be_trusted_is_refused_by_the_probe(server: Server, fault: str, message: str) -> None:
    server.fault = fault
    with pytest.raises(EngineError, match=message):
        scorer(server)
    assert len(server.bodies) == (2 if fault == "looks ahead" else 1)


def test_a_fault_after_the_probe_is_found_too(server: Server) -> None:
    honest = scorer(server)
    server.fault = "short"
    with pytest.raises(EngineError, match="11 positions"):
        list(honest.prompt_logprobs(sequences(1)))
    server.fault = "no ids"
    with pytest.raises(EngineError, match="return_token_ids"):
        honest.generate(sequences(1), 2, [])


def test_a_hang_ends_at_the_deadline(server: Server) -> None:
    server.fault = "hang"
    with pytest.raises(EngineError, match=r"did not answer within 0\.1 s"):
        scorer(server, timeout_s=0.1)


def test_a_busy_server_is_asked_again_but_not_for_ever(server: Server) -> None:
    server.refusals = 2
    honest = scorer(server)
    assert len(server.bodies) == 4
    server.refusals = 9
    with pytest.raises(EngineError, match="answered 503"):
        list(honest.prompt_logprobs(sequences(1)))


def test_nobody_there_is_one_line() -> None:
    with Server(LOGPROBS.__getitem__) as gone:
        url = gone.url
    with pytest.raises(EngineError, match=r"cannot be reached.*see logs/a\.log"):
        ServedScorer(Endpoint(url, "m", "completions"), VOCABULARY, CONTEXT, log=Path("logs/a.log"))


def test_what_does_not_fit_is_never_sent(server: Server) -> None:
    honest = scorer(server)
    for wrong in (sequences(1, 1), sequences(1, CONTEXT)):
        with pytest.raises(SpecError, match="tokens"):
            honest.prompt_logprobs(wrong)
    with pytest.raises(ModelError, match="outside the vocabulary"):
        honest.prompt_logprobs([np.array([1, VOCABULARY])])
    with pytest.raises(SpecError, match="continuation"):
        honest.loglikelihoods([(np.array([1]), np.array([], dtype=np.int32))])
    with pytest.raises(SpecError, match="room for"):
        honest.generate(sequences(1), CONTEXT - 11, [])
    assert len(server.bodies) == 2  # the probe's
