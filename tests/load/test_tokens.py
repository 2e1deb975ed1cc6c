"""One way of counting for a whole answer, the best that it allows."""

from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from quantcheck import reference
from quantcheck.load.tokens import NOT_TOLD, Part, count_tokens, retokenized


def part(text: str = "x", ids: int = NOT_TOLD, logprobs: int = NOT_TOLD, total: int = NOT_TOLD) -> Part:
    return (0, text, ids, logprobs, total, False)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(Path(reference.__file__).parent / "model" / "tokenizer.json"))


def words() -> Tokenizer:
    """Tokens are words, so that counts are plain."""
    found = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return found


def test_the_order_of_preference() -> None:
    everything = [part("a b ", 2, 3, 4), part("c d ", 2, 3, 8)]
    assert count_tokens(everything, words(), "server count") == ("server count", [4, 4])
    assert count_tokens(everything, words()) == ("token ids", [2, 2])
    assert count_tokens([part("a b ", -1, 3, 4), part("c ", -1, 1, 8)], words()) == ("logprobs", [3, 1])
    assert count_tokens([part("a b ", -1, -1, 4), part("c ", -1, -1, 8)], words()) == ("running usage", [4, 4])
    assert count_tokens([part("a b "), part("c ")], words()) == ("retokenized", [2, 1])
    assert count_tokens([part("a b "), part(""), part("c ")]) == ("one per chunk", [1, 0, 1])
    assert count_tokens([]) == ("one per chunk", [])


def test_a_way_must_hold_for_the_whole_answer() -> None:
    assert count_tokens([part(ids=1), part(), part(ids=1)]) == ("one per chunk", [1, 1, 1])
    assert count_tokens([part(ids=0), part(ids=0)]) == ("one per chunk", [1, 1])
    # Usage in the last chunk alone is no running total, nor is one that falls.
    assert count_tokens([part(), part(total=2)])[0] == "one per chunk"
    assert count_tokens([part(total=3), part(total=2)])[0] == "one per chunk"
    assert count_tokens([part(total=0), part(total=0)])[0] == "one per chunk"


def test_parts_without_text_need_not_tell() -> None:
    assert count_tokens([part(""), part("a", ids=2), part("")]) == ("token ids", [0, 2, 0])
    assert count_tokens([part(""), part("a", total=2), part(""), part("b", total=3)]) == (
        "running usage", [0, 2, 0, 1])
    # Half a character has no text of its own, and ids all the same.
    assert count_tokens([part("", ids=1), part("€", ids=1)]) == ("token ids", [1, 1])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30).filter(any))
def test_running_totals_are_taken_apart(steps: list[int]) -> None:
    parts = [part(total=total) for total in accumulate(steps)]
    assert count_tokens(parts, running="server count") == ("server count", steps)


TEXTS = st.lists(st.sampled_from(["Once", " upon", " a t", "ime", ",", " ", "", "é", "€\n", "😀", "Lily's"]),
                 min_size=1, max_size=20)


@given(texts=TEXTS)
def test_retokenizing_counts_what_the_whole_text_has(tokenizer: Tokenizer, texts: list[str]) -> None:
    counts = retokenized(texts, tokenizer)
    whole = tokenizer.encode("".join(texts), add_special_tokens=False)
    assert len(counts) == len(texts)
    assert sum(counts) == len(whole.ids)
    assert all(not count for text, count in zip(texts, counts, strict=True) if not text)
    # By hand: a token belongs to the piece that holds its first character.
    ends = [0, *np.cumsum([len(text) for text in texts]).tolist()]
    assert counts == [sum(a <= start < b for start, _ in whole.offsets) for a, b in pairwise(ends)]


def test_words_cut_anywhere() -> None:
    assert retokenized(["on", "ce up", "on", " a"], words()) == [1, 1, 0, 1]


def test_truncation_and_special_tokens_do_not_falsify(tokenizer: Tokenizer) -> None:
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(2)
    cutting.enable_padding(length=40)
    text = "Once upon a time there was a little girl"
    assert retokenized([text], cutting) == [len(tokenizer.encode(text, add_special_tokens=False).ids)]


def test_half_surrogates_are_survived() -> None:
    assert retokenized(["a \ud83d", "\ude00 b"], words()) == [2, 1]
