"""Every token but a document's first is scored exactly once, with the context that was promised."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.quality.windows import windows

lengths = st.lists(st.integers(0, 60), min_size=1, max_size=5)


@given(lengths, st.integers(2, 20), st.data())
def test_every_token_once_with_its_context(sizes: list[int], context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context - 1))
    documents = [np.arange(size) + 1000 * number for number, size in enumerate(sizes)]
    scored: list[int] = []
    for window in windows(documents, context, stride):
        assert len(window.tokens) <= context
        assert 0 < window.scored < len(window.tokens)
        first = len(window.tokens) - window.scored
        start = int(window.tokens[0]) % 1000
        # Whatever is scored has context - stride tokens before it, or all that the document has.
        assert start == 0 or first >= context - stride
        scored += window.tokens[first:].tolist()
    assert scored == [token for document in documents for token in document[1:].tolist()]


@given(lengths, st.integers(2, 20), st.integers(0, 100))
def test_a_limit_is_met_exactly(sizes: list[int], context: int, limit: int) -> None:
    documents = [np.arange(size) for size in sizes]
    stride = max(1, context // 2)
    total = sum(max(0, size - 1) for size in sizes)
    assert sum(window.scored for window in windows(documents, context, stride, limit)) == min(limit, total)


def test_the_windows_of_one_document_by_hand() -> None:
    found = [(w.tokens.tolist(), w.scored) for w in windows([np.arange(10)], context=6, stride=3)]
    assert found == [([0, 1, 2, 3, 4, 5], 5), ([3, 4, 5, 6, 7, 8], 3), ([4, 5, 6, 7, 8, 9], 1)]
