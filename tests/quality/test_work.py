"""About how much work a suite is."""

import pytest

from quantcheck.quality.suite import Corpus, Item, NamedTask
from quantcheck.quality.work import suite_tokens

QUESTION = 512


@pytest.mark.parametrize(("ask", "limit", "asked"), [
    ("mmlu", None, 14_042), ("mmlu", 1000, 1000), ("ifeval", 1000, 541), ("boolq", 200, 200),
])
def test_items_over_the_hubs_data(ask: str, limit: int | None, asked: int) -> None:
    assert suite_tokens(NamedTask(ask, ask, (), limit, "")) == asked * QUESTION


def test_items_that_are_at_hand_are_counted() -> None:
    items = tuple(Item(str(number), "", "", {}) for number in range(7))
    assert suite_tokens(NamedTask("mmlu", "mmlu", items, None, "")) == 7 * QUESTION


@pytest.mark.parametrize(("most", "tokens"), [(None, 250), (100, 100), (900, 250)])
def test_a_corpus_is_read_as_far_as_is_asked(most: int | None, tokens: int) -> None:
    assert suite_tokens(Corpus("c", ("x" * 400, "y" * 600), most, "")) == tokens
