"""Greedy continuations of prompts: nothing is judged here; the report holds them against the baseline's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import Answerer, IntArray
from quantcheck.quality.suite import Continued
from quantcheck.quality.tasks import CHUNK, Tokenizer

__all__ = ["continue_prompts"]


def continue_prompts(
    scorer: Answerer, tokenizer: Tokenizer, suite: Continued, prompts: Sequence[IntArray],
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What is known of the suite before it is counted, and its table: a row per prompt, its continuation as text and
    as token ids.

    Token ids are told apart from texts, since unlike tokens may spell the same text: ids in decimal, by spaces.
    Broken UTF-8 in a text is replaced.
    """
    stop = _ends(tokenizer)
    written: list[IntArray] = []
    for start in range(0, len(prompts), CHUNK):
        written += scorer.generate(prompts[start : start + CHUNK], suite.max_tokens, stop)
        progress(len(written))
    return {"kind": "continuations", "max_tokens": suite.max_tokens}, {
        "id": np.array([item.id for item in suite.items]),
        "group": np.array([item.group for item in suite.items]),
        "prompt": np.array([item.prompt for item in suite.items]),
        "prompt_tokens": np.array([len(prompt) for prompt in prompts], dtype=np.int32),
        "output": np.array([tokenizer.decode(tokens) for tokens in written]),
        "tokens": np.array([" ".join(map(str, tokens.tolist())) for tokens in written]),
    }


def _ends(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end a text: of those that end a line the ones that stand for no text."""
    return frozenset(token for token in tokenizer.line_ends() if not tokenizer.decode(np.array([token])))
