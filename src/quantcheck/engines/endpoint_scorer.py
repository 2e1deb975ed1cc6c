"""Quality through a server that the user runs: `echo` with `logprobs` on /v1/completions, token ids in.

Nothing beyond OpenAI's protocol is needed; what goes beyond is used where the server takes it. The values are the
server's own, over its full vocabulary; of the distribution only the few likeliest tokens are told.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quantcheck.engines.base import Endpoint
from quantcheck.engines.echo_logprobs import Spellings, read_told, top_of
from quantcheck.engines.endpoint import headers_of, is_here
from quantcheck.engines.probe import EXTRAS, probe_echo, question
from quantcheck.engines.scorer import IntArray, Seeded, TopLogprobs
from quantcheck.engines.served_scorer import ServedScorer
from quantcheck.errors import EngineError, SpecError

__all__ = ["EndpointScorer", "Words"]

PROBE_TEXT = "The old man and the sea are two of the things that we know, and the others are these."
PROBE_TOKENS, LEAST_TOKENS = 12, 4
SPARE = 6
"""Tokens that the probe adds after its text, and that are written."""


class Words(Protocol):
    """The tokenizer that the user gave for the server's model."""

    vocab_size: int

    def encode(self, text: str, *, bos: bool) -> IntArray: ...

    def spellings(self) -> Sequence[str]:
        """The text of each token alone, by id."""
        ...


class EndpointScorer(ServedScorer):
    """A `TopScorer` over one server; a probe of its honesty comes first, see `engines.probe`.

    `words` must be the tokenizer of the server's model; `key_variable`: the environment variable that holds the key.
    The others are `ServedScorer`'s. A token is ranked by its spelling where the server does not tell ids: likeliest
    tokens whose spelling several share have an id below 0, and count for no divergence.

    Raises EngineError when the server does not answer, or answers what cannot be trusted; SpecError for a missing key.
    """

    def __init__(
        self, endpoint: Endpoint, words: Words, context: int, *,
        top_k: int, concurrency: int = 16, timeout_s: float = 300.0, log: Path | None = None,
        key_variable: str | None = None,
    ) -> None:
        self._words = words
        self._spellings = Spellings(words.spellings())
        self._extras: Mapping[str, Any] = {}
        super().__init__(
            endpoint, words.vocab_size, context, top_k=top_k, concurrency=concurrency, timeout_s=timeout_s, log=log,
            headers=headers_of(key_variable), by_proxy=not is_here(endpoint.base_url),
        )

    def _probe(self) -> None:
        tokens = self._words.encode(PROBE_TEXT, bos=True)[: min(PROBE_TOKENS, self.context - SPARE)]
        if len(tokens) < LEAST_TOKENS:
            raise SpecError(f"a context of {self.context} tokens has no room for the {LEAST_TOKENS + SPARE} by which "
                            "the server is probed; raise it")
        if probe_echo(self._ask_one, tokens, self.top_k, self._spellings, self._where):
            self._extras = EXTRAS

    def _ask_one(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        return self._statuses([body])[0]

    def _score(self, sequences: Sequence[IntArray], k: int) -> list[TopLogprobs]:
        bodies = [{**question(tokens, k), **self._extras, "echo": True} for tokens in sequences]
        return [top_of(read_told(answer, self._where), tokens, k, self._spellings, self._where)
                for answer, tokens in zip(self._ask(bodies), sequences, strict=True)]

    def _write(
        self, prompts: Sequence[IntArray], max_tokens: int, ends: frozenset[int], sampling: Seeded | None
    ) -> list[IntArray]:
        """For each prompt: what the server writes, cut at the first token of `ends`, `max_tokens` at most.

        Such a server is told no stop tokens: it writes on, and what follows them is dropped. Where it tells no ids, its
        text is cut into tokens again; if those are fewer than it wrote, it is asked for the rest.
        """
        seeds = sampling.seeds if sampling else [None] * len(prompts)
        written: list[IntArray] = [np.array([], dtype=np.int32) for _ in prompts]
        still = list(range(len(prompts)))
        while still:
            bodies = [self._body(np.concatenate([prompts[at], written[at]]), max_tokens - len(written[at]), ends,
                                 sampling, seeds[at]) for at in still]
            going_on = []
            for at, answer in zip(still, self._ask(bodies), strict=True):
                more, ended = self._read(answer)
                end = next((place for place, token in enumerate(more.tolist()) if token in ends), None)
                written[at] = np.concatenate([written[at], more[:end]])[:max_tokens].astype(np.int32)
                if end is None and not ended and len(more) and len(written[at]) < max_tokens:
                    going_on.append(at)
            still = going_on
        return written

    def _body(
        self, prompt: IntArray, max_tokens: int, ends: frozenset[int], sampling: Seeded | None, seed: int | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"prompt": prompt.tolist(), "max_tokens": max_tokens, "temperature": 0.0, "logprobs": 1}
        if self._extras:  # heeded by some of those that take them; what comes back is cut either way
            body |= {**self._extras, "stop_token_ids": sorted(ends), "ignore_eos": True}
        if sampling and seed is not None:
            body |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed & (2**63 - 1)}
        return body

    def _read(self, answer: Any) -> tuple[IntArray, bool]:
        """The tokens that were written, and whether the model ended there by itself."""
        told = read_told(answer, self._where)
        if told.by_id:
            ids = [self._spellings.token(spelling) for spelling in told.spellings]
            if any(not 0 <= token < self.vocab_size for token in ids):
                raise EngineError(f"{self._where} writes a token outside the vocabulary of {self.vocab_size}: set "
                                  "`engine.tokenizer:` to this model's folder")
            return np.array(ids, dtype=np.int32), told.ended
        return self._words.encode(told.text, bos=False).astype(np.int32), told.ended
