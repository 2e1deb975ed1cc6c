"""Reads one answer of /v1/completions that was asked for `logprobs`, with or without `echo`, and trusts nothing.

Such an answer holds three lists, an entry a token of the prompt (under echo) and then of what was written: `tokens`,
their spellings; `token_logprobs`, null for the first; `top_logprobs`, {spelling: value} of the likeliest. A spelling is
`token_id:N` where the server knows `return_tokens_as_token_ids` (vLLM), else text, which several tokens may share.
"""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.engines.scorer import IntArray, TopLogprobs
from quantcheck.errors import EngineError

__all__ = ["REMEDY", "Spellings", "Told", "read_told", "top_of"]

REMEDY = "score with a server that answers echo with logprobs (vLLM), or leave `quality:` out; speed can be measured"
SLACK = 1e-4
"""How far above 0 rounding may lift a log-probability, or the sum of probabilities above 1."""
SAME = 1e-3
"""Two values of one token in one answer differ by rounding at most."""
BY_ID = "token_id:"
BROKEN = "\N{REPLACEMENT CHARACTER}"


class Spellings:
    """What a server may call the tokens, whose texts are given by id."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [_plain(text) for text in texts]
        counts = Counter(texts)
        self._ids = {text: token for token, text in enumerate(texts) if counts[text] == 1 and BROKEN not in text}

    def token(self, spelling: str) -> int:
        """The id of a token; negative, and the same for the same spelling, where it does not tell which one it is."""
        if spelling.startswith(BY_ID):
            number = spelling.removeprefix(BY_ID)
            return int(number) if number.isascii() and number.isdigit() else -1
        return self._ids.get(spelling, -2 - (zlib.crc32(spelling.encode("utf-8", "replace")) & 0x3FFFFFFF))

    def fits(self, spelling: str, token: int) -> bool:
        """Whether `spelling` may be that of `token`; parts of characters cannot be told apart."""
        if spelling.startswith(BY_ID):
            return self.token(spelling) == token
        text = self._texts[token] if token < len(self._texts) else BROKEN
        found = _plain(spelling)
        return found == text or BROKEN in text + found or spelling.startswith("bytes:")


def _plain(text: str) -> str:
    """Without what servers do to spaces: a tokenizer's own marks for them, or none at the begin."""
    return text.replace("\u0120", " ").replace("\u2581", " ").replace("\u010a", "\n").strip(" ")


@dataclass(frozen=True, slots=True)
class Told:
    """One answer's lists, all of one length; `counted`: the prompt's tokens by `usage`; `ended`: by the model itself.

    `values` may hold None. `text`: all of the choice's text.
    """

    spellings: list[str]
    values: list[float | None]
    tops: list[Mapping[str, float]]
    counted: int | None
    ended: bool
    text: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def by_id(self) -> bool:
        return bool(self.spellings) and all(spelling.startswith(BY_ID) for spelling in self.spellings)


def read_told(answer: Any, where: str) -> Told:
    """Raises `EngineError` for an answer of another form, one that tells of an error, or values that cannot be."""
    if isinstance(answer, Mapping) and answer.get("error"):
        error = answer["error"]
        said = error.get("message", error) if isinstance(error, Mapping) else error
        raise EngineError(f"{where} answered with an error: {' '.join(str(said).split())[:200]}")
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise EngineError(f"{where} does not answer like /v1/completions: one choice was expected; check `url:`")
    choice, usage = choices[0], answer.get("usage")
    given = choice.get("logprobs")
    counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    ended, text = choice.get("finish_reason") != "length", str(choice.get("text") or "")
    counted = counted if isinstance(counted, int) else None
    if isinstance(given, Mapping) and isinstance(given.get("content"), list):
        given = _as_completions(given["content"], where)
    if not isinstance(given, Mapping) or not isinstance(given.get("token_logprobs"), list):
        return Told([], [], [], counted, ended, text)
    try:
        values = [None if value is None else float(value) for value in given["token_logprobs"]]
        spellings = [str(spelling) for spelling in given["tokens"]]
        tops: list[Mapping[str, float]] = [{str(key): float(value) for key, value in (top or {}).items()}
                                           for top in given.get("top_logprobs") or [None] * len(values)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{where} gives logprobs in a form that is not OpenAI's; {REMEDY}") from error
    if not len(values) == len(spellings) == len(tops):
        raise EngineError(f"{where} gives {len(spellings)} tokens, {len(values)} values and {len(tops)} lists of the "
                          f"likeliest: they do not belong together; {REMEDY}")
    for value in [*values, *(value for top in tops for value in top.values())]:
        if value is not None and (math.isnan(value) or value > SLACK):
            raise EngineError(f"{where} gives a log-probability that is above 0 or not a number ({value:g}); {REMEDY}")
    return Told(spellings, values, tops, counted, ended, text)


def _as_completions(content: Sequence[Any], where: str) -> Mapping[str, Any]:
    """The chat's form of logprobs, an object a token, which llama-server gives here, too, with ids."""

    def name(one: Mapping[str, Any]) -> str:
        return f"{BY_ID}{one['id']}" if isinstance(one.get("id"), int) else str(one["token"])

    try:
        return {
            "tokens": [name(one) for one in content],
            "token_logprobs": [one["logprob"] for one in content],
            "top_logprobs": [{name(top): top["logprob"] for top in one["top_logprobs"]} for one in content],
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise EngineError(f"{where} gives logprobs in a form that is not OpenAI's; {REMEDY}") from error


def _agrees(
    value: float, spelling: str, top: Mapping[str, float], ranked: Sequence[tuple[str, float]], k: int,
    spellings: Spellings,
) -> bool:
    """Whether a token's value can be, by the likeliest of its place: its own there, or below the last of all k."""
    if value > ranked[0][1] + SAME:
        return False
    if spellings.token(spelling) < 0:  # another token of that spelling may be meant
        return True
    if spelling in top:
        return abs(top[spelling] - value) <= SAME
    return len(ranked) < k or value <= ranked[-1][1] + SAME


def top_of(told: Told, tokens: IntArray, k: int, spellings: Spellings, where: str) -> TopLogprobs:
    """What the answer says of `tokens`: own values, and the `k` likeliest of each place.

    A place lists fewer where several tokens share a spelling: the rest has id -1 and -inf. An id below 0 is that of a
    spelling, not of a token. Raises `EngineError` when the answer is about other tokens, or one value contradicts
    another.
    """
    length = len(tokens)
    if len(told) not in (length, length + 1):  # a token that ends the text may be left out of what was written
        raise EngineError(f"{where} answers {len(told)} values for a prompt of {length} tokens and one that it writes; "
                          f"{REMEDY}")
    if told.counted is not None and told.counted != length:
        raise EngineError(f"{where} counts {told.counted} tokens in a prompt of {length} token ids; {REMEDY}")
    own = np.empty(length - 1)
    ids, logprobs = np.full((length - 1, k), -1, np.int32), np.full((length - 1, k), -np.inf)
    for place in range(1, length):
        value, token = told.values[place], int(tokens[place])
        if told.by_id and not spellings.fits(told.spellings[place], token):
            raise EngineError(f"{where} scores another token at place {place} than was sent: its values are about "
                              f"other tokens; {REMEDY}")
        if value is None:
            raise EngineError(f"{where} gives no value for token {place} of {length}; {REMEDY}")
        ranked = sorted(told.tops[place].items(), key=lambda item: (-item[1], item[0]))[:k]
        if not ranked:
            raise EngineError(f"{where} lists no likeliest tokens (top_logprobs); {REMEDY}")
        if not _agrees(value, told.spellings[place], told.tops[place], ranked, k, spellings):
            raise EngineError(f"{where} gives token {place} of {length} a value that its list of the likeliest "
                              f"contradicts: the two are not of one place; {REMEDY}")
        if sum(math.exp(value) for _, value in ranked) > 1.0 + SLACK:
            raise EngineError(f"{where} gives log-probabilities whose probabilities exceed 1 in sum; {REMEDY}")
        own[place - 1] = min(value, 0.0)
        ids[place - 1, : len(ranked)] = [spellings.token(spelling) for spelling, _ in ranked]
        logprobs[place - 1, : len(ranked)] = [min(value, 0.0) for _, value in ranked]
    if length > 2 and not own.any():
        raise EngineError(f"{where} gives every token the probability 1: it does not compute logprobs; {REMEDY}")
    return TopLogprobs(own, ids, logprobs)
