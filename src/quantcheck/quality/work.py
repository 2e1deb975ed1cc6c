"""About how much work a suite is, before anything of it was measured."""

from quantcheck.harness import NAMED
from quantcheck.quality.suite import Continued, Corpus, NamedTask, Suite

__all__ = ["suite_tokens"]

ITEM_TOKENS = 64
NAMED_ITEM_TOKENS, UNKNOWN_ITEMS = 512, 1000
"""Of lm-eval's tasks: examples and long questions; how many items one that is not in `NAMED` has, is seen at the hub.
"""
TOKEN_CHARACTERS = 4


def suite_tokens(suite: Suite) -> float:
    """Tokens that are read and written to answer `suite`, roughly."""
    if isinstance(suite, Corpus):
        text = sum(map(len, suite.documents)) / TOKEN_CHARACTERS
        return min(text, suite.tokens or text)
    if isinstance(suite, NamedTask):
        return float(_asked(suite) * NAMED_ITEM_TOKENS)
    return float(len(suite.items) * (suite.max_tokens if isinstance(suite, Continued) else ITEM_TOKENS))


def _asked(suite: NamedTask) -> int:
    """How many items are asked, as far as that is known before the hub's data are there."""
    if suite.items:
        return len(suite.items)
    if suite.ask not in NAMED:
        return suite.limit or UNKNOWN_ITEMS
    most = NAMED[suite.ask].items
    return min(suite.limit or most, most)
