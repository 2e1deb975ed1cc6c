"""Finds out whether a server's log-probabilities of a given text can be trusted, before any is used.

A server that ignores `echo`, drops a token or moves values answers 200, and a score made of that looks normal. So a
known sequence of token ids is scored in two cuts, and held against what the server itself expects where the first ends:

1. written: what would the server write after P, and with which log-probability?
2. short: P under echo. 3. long: P, a likely token v of 1., and further tokens, under echo.

Then P's values must be the same in 2. and 3. (nothing looks ahead), and v's value in 3. must be that of 1. (no shift).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.engines.echo_logprobs import REMEDY, Spellings, Told, read_told, top_of
from quantcheck.engines.scorer import IntArray, TopLogprobs
from quantcheck.errors import EngineError

__all__ = ["EXTRAS", "TOLERANCE", "probe_echo", "same_in_both_cuts"]

Ask = Callable[[Mapping[str, Any]], tuple[int, Any]]
"""Sends one question; the status, and the answer: JSON where it is 200, else what was said."""

TOLERANCE = 0.5
"""Nats between two computations of one value: 16-bit logits near 20 are 0.125 apart, and two cuts make two batches."""
EXTRAS: Mapping[str, Any] = {"return_tokens_as_token_ids": True, "add_special_tokens": False}
"""Fields beyond OpenAI's: vLLM then spells tokens by their ids."""
TAIL = 3


@dataclass(frozen=True, slots=True)
class _Cut:
    tokens: IntArray
    told: Told


def probe_echo(ask: Ask, tokens: IntArray, k: int, spellings: Spellings, where: str) -> bool:
    """Whether the server takes `EXTRAS`; raises `EngineError`, with the remedy, for one that cannot be trusted.

    `tokens`: P, at least 4 tokens of plain text after BOS, where the model has one; `k` likeliest are asked for.
    """
    extras, answer = _written(ask, tokens, k, where)
    fields = EXTRAS if extras else {}
    said = read_told(answer, where)
    if len(said) != 1 or not said.tops[0]:
        raise EngineError(f"{where} gives no logprobs with what it writes; {REMEDY}")
    likely = [(value, token, spelling) for spelling, value in said.tops[0].items()
              if (token := spellings.token(spelling)) >= 0]
    if not likely:
        raise EngineError(f"{where} spells its likeliest tokens in another way than the tokenizer does: another "
                          "model's tokenizer was given; set `engine.tokenizer:` to this model's folder")
    value, token, spelling = max(likely)
    cuts = []
    for cut in (tokens, np.concatenate([tokens, [token], tokens[-TAIL:][::-1]]).astype(np.int32)):
        status, answer = ask({**question(cut, k), **fields, "echo": True})
        if status != 200:
            raise EngineError(f"{where} answered {status} when asked for echo with logprobs: {answer}; {REMEDY}")
        cuts.append(_Cut(cut, read_told(answer, where)))
    for one in cuts:
        _check_tokens(one.told, one.tokens, spellings, where)
    long = cuts[1]
    _check_place(long.told, len(tokens), spelling, value, where)
    scores = [top_of(one.told, one.tokens, k, spellings, where) for one in cuts]
    same_in_both_cuts(scores[0], scores[1], where)
    return extras


def question(tokens: IntArray, k: int) -> dict[str, Any]:
    """One token is written, because most servers write at least one."""
    return {"prompt": tokens.tolist(), "max_tokens": 1, "temperature": 0.0, "logprobs": k}


def _written(ask: Ask, tokens: IntArray, k: int, where: str) -> tuple[bool, Any]:
    """The answer without echo, and whether it was given with `EXTRAS`."""
    body = question(tokens, k)
    for extras in (True, False):
        status, answer = ask({**body, **(EXTRAS if extras else {})})
        if status == 200:
            return extras, answer
        if status not in (400, 422):
            raise EngineError(f"{where} answered {status} when asked for logprobs: {answer}; {REMEDY}")
    if ask({**body, "prompt": "one two three"})[0] == 200:
        raise EngineError(f"{where} takes no prompts of token ids ({answer}), and a text may be cut into other tokens "
                          "there; score with a server that takes them (vLLM), or leave `quality:` out; speed can be "
                          "measured")
    raise EngineError(f"{where} refuses to give the {k} likeliest tokens ({answer}); lower `engine.top_logprobs:`, or "
                      "leave `quality:` out; speed can be measured")


def _check_tokens(told: Told, tokens: IntArray, spellings: Spellings, where: str) -> None:
    """The tokens that came back are those that were sent, the first without a value, and one that was written."""
    length = len(tokens)

    def found(sent: Sequence[int], first: int = 0) -> bool:
        back = told.spellings[first : first + len(sent)]
        return len(back) == len(sent) and all(map(spellings.fits, back, sent))

    sent = tokens.tolist()
    if len(told) <= 1:
        raise EngineError(f"{where} ignores echo: it gives no values for the prompt, so nothing can be scored; "
                         f"{REMEDY}")
    if (len(told) == length + 2 and found(sent, 1)) or told.counted == length + 1:
        raise EngineError(f"{where} puts a token of its own before the prompt (BOS, doubled where the prompt has one): "
                          f"every value would be another text's; turn that off there, or {REMEDY}")
    if len(told) == length and found(sent[1:]) and not found(sent):
        raise EngineError(f"{where} leaves out the first token of the prompt (BOS): the values do not belong to the "
                          f"tokens that were sent; {REMEDY}")
    if len(told) <= length:
        raise EngineError(f"{where} gives {len(told)} values for {length} tokens and one that it writes: the last is "
                          f"missing, as with llama_cpp.server; {REMEDY}")
    if len(told) > length + 1:
        raise EngineError(f"{where} gives {len(told)} values for {length} tokens and one that it writes; {REMEDY}")
    if not found(sent):
        place = next(place for place in range(length) if not spellings.fits(told.spellings[place], sent[place]))
        raise EngineError(f"{where} scores other tokens than were sent, from token {place} on: it has another "
                          f"tokenizer than `engine.tokenizer:`, or cuts the prompt again; {REMEDY}")
    if told.values[0] is not None:
        raise EngineError(f"{where} gives the first token a value, which nothing stands before: it puts a token of its "
                          f"own there (BOS), or its values are shifted; {REMEDY}")


def _check_place(told: Told, place: int, spelling: str, value: float, where: str) -> None:
    """The value at `place` is the one that the server gave when it would have written that token there.

    So it is in the list of the likeliest, too: a value of another place may be near by chance, a list is not.
    """

    def near(found: float | None) -> bool:
        return found is not None and abs(found - value) <= TOLERANCE

    values = told.values
    if near(values[place]) and near(told.tops[place].get(spelling)):
        return
    for other in (place - 1, place + 1):
        if near(values[other]):
            raise EngineError(f"{where} shifts its values by one: that of token {place} stands at token {other}; "
                              f"{REMEDY}")
    found = values[place]
    raise EngineError(f"{where} gives a token {'no value' if found is None else f'{found:.3f}'} when it is scored, and "
                      f"{value:.3f} when it is written at the same place: one of them is of another distribution; "
                      f"{REMEDY}")


def same_in_both_cuts(
    short: TopLogprobs, long: TopLogprobs, where: str, *, tolerance: float = TOLERANCE, remedy: str = REMEDY
) -> None:
    """Raises `EngineError` unless the values of the tokens that both have are the same: none may look ahead."""
    both = min(len(short.own), len(long.own))
    moved = np.abs(short.own[:both] - long.own[:both])
    if both and float(moved.max()) > tolerance:
        place = int(moved.argmax())
        raise EngineError(f"{where} gives token {place + 1} another value ({long.own[place]:.3f}, before "
                          f"{short.own[place]:.3f}) when tokens follow it: its values look ahead, or are of "
                          f"another text; {remedy}")
