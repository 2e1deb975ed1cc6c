"""Reads one answer of /v1/completions that was asked for `prompt_logprobs` (vLLM's extension), and trusts nothing.

Such an answer holds one entry a prompt token: null for the first, else {token id: {"logprob": x, "rank": r}} of the k
likeliest tokens and of the prompt's own. A server that does not know the question answers 200 without them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcheck.engines.scorer import IntArray, TopLogprobs
from quantcheck.errors import EngineError

__all__ = ["read_answer", "read_written"]

REMEDY = "score with vLLM's own server, or with an engine that gives logits (llama.cpp)"
SLACK = 1e-4
"""How far above 0 rounding may lift a log-probability, or the sum of probabilities above 1."""


def read_answer(answer: Any, tokens: IntArray, k: int, where: str) -> TopLogprobs:
    """The log-probabilities of `tokens` in the server's `answer`; `where` names the server.

    Raises EngineError when they are missing, are of another number than the tokens, or are about other tokens.
    """
    choice = _choice(answer, where)
    entries = choice.get("prompt_logprobs")
    if entries is None:
        entries = answer.get("prompt_logprobs")
    if not isinstance(entries, list):
        raise EngineError(f"{where} ignores prompt_logprobs: its answer has none, so nothing can be scored; {REMEDY}")
    usage = answer.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    for found in (len(entries), counted if isinstance(counted, int) else len(tokens)):
        if found == len(tokens) + 1:
            raise EngineError(f"{where} puts a token of its own (BOS) before a prompt of {len(tokens)} token ids: "
                              f"every value would be another model's; {REMEDY}")
        if found != len(tokens):
            raise EngineError(f"{where} answers {found} positions for a prompt of {len(tokens)} tokens; {REMEDY}")
    rows = [_row(entry, int(token), k, where) for entry, token in zip(entries[1:], tokens[1:], strict=True)]
    if len(rows) > 1 and all(row[0] == 0.0 for row in rows):
        raise EngineError(f"{where} gives every token the probability 1: it does not compute prompt_logprobs; {REMEDY}")
    return TopLogprobs(
        np.array([row[0] for row in rows], dtype=np.float64),
        np.array([row[1] for row in rows], dtype=np.int32).reshape(len(rows), k),
        np.array([row[2] for row in rows], dtype=np.float64).reshape(len(rows), k),
    )


def read_written(answer: Any, where: str) -> list[int]:
    """The token ids that were written; raises EngineError when the server does not give them."""
    written = _choice(answer, where).get("token_ids")
    if not isinstance(written, list) or not all(isinstance(token, int) for token in written):
        raise EngineError(f"{where} ignores return_token_ids: what it wrote cannot be read back exactly; use vLLM 0.20 "
                          "or newer")
    return written


def _choice(answer: Any, where: str) -> Mapping[str, Any]:
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise EngineError(f"{where} does not answer like /v1/completions: one choice was expected; check its address")
    return choices[0]


def _row(entry: Any, token: int, k: int, where: str) -> tuple[float, list[int], list[float]]:
    """The own token's log-probability, and the k likeliest ids with theirs; a tie goes to the smaller id."""
    try:
        values = {int(name): float(value["logprob"]) for name, value in entry.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{where} gives prompt_logprobs in a form that is not vLLM's; {REMEDY}") from error
    if token not in values:
        raise EngineError(f"{where} leaves out token {token} of the prompt from the log-probabilities at its place: "
                          f"they are about other tokens (shifted); {REMEDY}")
    # vLLM writes -inf as -9999.0.
    if any(math.isnan(value) or value > SLACK for value in values.values()):
        raise EngineError(f"{where} gives a log-probability above 0 or not a number; {REMEDY}")
    if sum(map(math.exp, values.values())) > 1.0 + SLACK:
        raise EngineError(f"{where} gives log-probabilities whose probabilities exceed 1 in sum: they are not of one "
                          f"distribution; {REMEDY}")
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:k]
    if len(ranked) < k:
        raise EngineError(f"{where} lists {len(ranked)} tokens where the {k} likeliest were asked for; start vLLM with "
                          f"--max-logprobs {k}")
    return min(values[token], 0.0), [name for name, _ in ranked], [min(value, 0.0) for _, value in ranked]
