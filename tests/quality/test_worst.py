"""The worst tokens: picked as from all at once, told in words."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.engines.scorer import IntArray, TopLogprobs
from quantcheck.quality.windows import windows
from quantcheck.quality.worst import Likely, WorstToken, WorstTokens, likely_of_logits, likely_of_top, worst_in_words

SAME = Likely(0, -0.5, -0.5)


class Bytes:
    """One byte a token; 0 is special."""

    def encode(self, text: str, *, bos: bool) -> IntArray:
        return np.array(([0] if bos else []) + list(text.encode()), dtype=np.int32)

    def decode(self, tokens: IntArray) -> str:
        return bytes(token for token in tokens.tolist() if token).decode("utf-8", "replace")

    def line_ends(self) -> frozenset[int]:
        return frozenset({0, 10})


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.integers(0, 1000), st.integers(1, 30))
def test_they_are_those_of_all_tokens_together(lengths: list[int], seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    documents = [np.arange(100 * n, 100 * n + length) for n, length in enumerate(lengths)]
    cut = list(windows(documents, 16, 8))
    kl = [rng.choice([0.0, 0.5, 1.0, 2.0, rng.uniform()], window.scored) for window in cut]
    worst = WorstTokens(most)
    for window, values in zip(cut, kl, strict=True):
        worst.offer(window, values, lambda _: (SAME, SAME))
    everything = np.concatenate(kl)
    assert [token.kl for token in worst.found] == sorted(everything[everything > 0].tolist(), reverse=True)[:most]
    by_place = dict(zip([(n, at) for n, ids in enumerate(documents) for at in range(1, len(ids))],
                        everything.tolist(), strict=True))
    for token in worst.found:
        assert by_place[token.document, token.position] == token.kl
        assert token.token == documents[token.document][token.position]
        assert token.before.tolist() == documents[token.document][: token.position][-len(token.before) :].tolist()


def test_only_what_is_kept_is_read() -> None:
    """Reading a row takes a pass over the vocabulary: it must stay rare."""
    read = []
    worst, window = WorstTokens(2), next(windows([np.arange(9)], 16, 8))

    def note(row: int) -> tuple[Likely, Likely]:
        read.append(row)
        return SAME, SAME

    worst.offer(window, np.array([1.0, 5, 2, 4, 0, 0, 0, 0]), note)
    worst.offer(window, np.array([1.0, 2, 3, 4.5, 0, 0, 0, 0]), note)
    assert read == [1, 3, 3]


def test_likeliest_tokens_of_logits_and_of_a_server() -> None:
    row = np.log(np.array([0.1, 0.6, 0.3])).astype(np.float32)
    assert astuple(likely_of_logits(row + 7, 2)) == pytest.approx((1, np.log(0.6), np.log(0.3)))
    ids, logprobs = np.array([[4, 9]], dtype=np.int32), np.log([[0.7, 0.2]])
    unknown, known = (TopLogprobs(np.array([own]), ids, logprobs) for own in (np.nan, -3.0))
    assert astuple(likely_of_top(unknown, 0, 9)) == pytest.approx((4, np.log(0.7), np.log(0.2)))
    assert likely_of_top(unknown, 0, 5).own is None
    assert likely_of_top(known, 0, 5).own == -3.0


def found(before: str | bytes, token: int, likeliest: int = 97) -> WorstToken:
    raw = before.encode() if isinstance(before, str) else before
    return WorstToken(1.5, 2, 7, np.array([0, *raw]), token, Likely(likeliest, -0.1, None), Likely(98, -0.2, -2.0))


def test_in_words() -> None:
    told = worst_in_words([found("once ", 97)], Bytes())[0]
    assert told == {
        "document": 2, "position": 7, "kl_divergence": 1.5, "before": "once ", "token": "a", "baseline_p": None,
        "baseline_likeliest": "a", "baseline_likeliest_p": pytest.approx(np.exp(-0.1)),
        "variant_p": pytest.approx(np.exp(-2.0)), "variant_likeliest": "b",
        "variant_likeliest_p": pytest.approx(np.exp(-0.2)),
    }  # fmt: skip


def test_special_tokens_are_named_broken_characters_replaced_and_long_texts_cut() -> None:
    told = worst_in_words([found(b"\xc3", 0xA9), found("x" * 500, 0, likeliest=0xFF)], Bytes())
    assert told[0]["before"] == "\ufffd"
    assert told[0]["token"] == "\ufffd"  # alone it is half a character
    assert told[1]["token"] == "[token 0]"
    assert told[1]["baseline_likeliest"] == "\ufffd"
    assert told[1]["before"] == "x" * 160
