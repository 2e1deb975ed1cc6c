"""Quality over HTTP: a served engine's log-probabilities of given tokens, and what it writes.

Token ids go to /v1/completions; `prompt_logprobs: k` brings the k likeliest tokens of every place and the prompt's own.
The values are exact over the full vocabulary. The server writes one token after every prompt that it scores, because
it writes at least one: a scored sequence may hold one token less than the server's context.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import numpy as np

from quantcheck.engines.base import Endpoint
from quantcheck.engines.probe import same_in_both_cuts
from quantcheck.engines.prompt_logprobs import REMEDY, read_answer, read_written
from quantcheck.engines.rounds import in_rounds
from quantcheck.engines.scorer import TOP_K, IntArray, LogLikelihood, Over, Seeded, TopLogprobs
from quantcheck.engines.vllm_log import vllm_abort
from quantcheck.errors import EngineError, ModelError, SpecError

__all__ = ["ServedScorer"]

PROBE_TOKENS, PROBE_CUT = 8, 5
PROBE_TOLERANCE = 2.0
"""Nats: text without sense has values so small that 16 bits leave little of them; one that looks ahead moves more."""
TRIES = 3
BUSY = frozenset({429, 503})
"""Statuses of a server that did not begin: asking again is safe. Others are answers."""
SHOWN = 200


class ServedScorer:
    """A `TopScorer` over one healthy server; the first question, asked at once, is a probe of its honesty.

    Args:
        endpoint: where it answers; vLLM must have been started with `--max-logprobs` of at least `top_k`.
        vocab_size: tokens of the model.
        context: the server's context (`--max-model-len`), tokens.
        top_k: likeliest tokens of each place; at most the vocabulary.
        concurrency: requests in flight. Another number makes other batches, which moves the figures a little: the
            noise floor of quality.
        timeout_s: the deadline of each request.
        log: the server's, for error messages.
        headers: sent with every question. by_proxy: through that of the environment, where there is one.

    Answers are not the same bit for bit from call to call: vLLM batches what comes together. With `Seeded` each
    request has its own seed; the same seed draws the same text only as far as the same logits come out.
    Raises EngineError when the server does not answer, or answers what cannot be trusted.
    """

    def __init__(
        self, endpoint: Endpoint, vocab_size: int, context: int, *,
        top_k: int = TOP_K, concurrency: int = 16, timeout_s: float = 300.0, log: Path | None = None,
        headers: Mapping[str, str] | None = None, by_proxy: bool = False,
    ) -> None:
        if context < 2 or top_k < 1 or concurrency < 1 or timeout_s <= 0:
            raise SpecError(f"context {context}, top_k {top_k}, concurrency {concurrency}, timeout {timeout_s:g} s: "
                            "the context must be at least 2, top_k and concurrency at least 1, the timeout above 0")
        self.vocab_size = vocab_size
        self.context = context
        self.top_k = min(top_k, vocab_size)
        self._endpoint = endpoint
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._where = f"the server at {endpoint.base_url}"
        self._log = log or "its log"
        self._headers, self._by_proxy = dict(headers or {}), by_proxy
        self._probe()

    def _probe(self) -> None:
        length = min(PROBE_TOKENS, self.context - 1)
        if length >= 2:
            # Spread over the vocabulary: a shifted answer does not hold the right tokens by luck.
            tokens = np.linspace(1, self.vocab_size - 1, length).astype(np.int32)
            (long,) = self._score([tokens], self.top_k)
            if length > PROBE_CUT:
                (short,) = self._score([tokens[:PROBE_CUT]], self.top_k)
                same_in_both_cuts(short, long, self._where, tolerance=PROBE_TOLERANCE, remedy=REMEDY)

    def prompt_logprobs(self, sequences: Sequence[IntArray]) -> Iterator[TopLogprobs]:
        """For each sequence of at least two tokens, in order: own and `top_k` log-probabilities of its tokens."""
        for number, tokens in enumerate(sequences):
            self._check(f"sequence {number}", tokens, 2, self.context - 1)
        return self._stream(sequences)

    def _stream(self, sequences: Sequence[IntArray]) -> Iterator[TopLogprobs]:
        size = 4 * self._concurrency
        for start in range(0, len(sequences), size):
            yield from self._score(sequences[start : start + size], self.top_k)

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        """For each (context, continuation): the continuation's log-likelihood.

        A token that ties with the likeliest counts as greedy.
        """
        whole = []
        for number, (context, continuation) in enumerate(pairs):
            self._check(f"the context of pair {number}", context, 1, self.context - 2)
            self._check(f"the continuation of pair {number}", continuation, 1, self.context - 1 - len(context))
            whole.append(np.concatenate([context, continuation]))
        results = []
        for (context, _), found in zip(pairs, self._score(whole, 1), strict=True):
            own, best = found.own[len(context) - 1 :], found.logprobs[len(context) - 1 :, 0]
            results.append(LogLikelihood(float(own.sum()), bool((own >= best).all())))
        return results

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        """For each prompt: the tokens that the server writes, until one of `stop` (left out) or `max_tokens`."""
        self._check_room(prompts, max_tokens)
        ends = frozenset(stop)
        if over:
            return in_rounds(lambda asked, size: self._write(asked, size, ends, None), prompts, max_tokens, over)
        return self._write(prompts, max_tokens, ends, sampling)

    def _write(
        self, prompts: Sequence[IntArray], max_tokens: int, ends: frozenset[int], sampling: Seeded | None
    ) -> list[IntArray]:
        bodies = [{
            "prompt": prompt.tolist(), "max_tokens": max_tokens, "temperature": 0.0, "return_token_ids": True,
            # Only `stop` ends an answer, as with the other scorers; it holds the end-of-text tokens.
            "ignore_eos": True, "stop_token_ids": sorted(ends),
        } for prompt in prompts]  # fmt: skip
        if sampling:
            for body, seed in zip(bodies, sampling.seeds, strict=True):
                # vLLM's seeds are signed; one bit of 64 is given up.
                body |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed & (2**63 - 1)}
        texts: list[IntArray] = []
        for answer in self._ask(bodies):
            written = read_written(answer, self._where)
            end = next((place for place, token in enumerate(written) if token in ends), len(written))
            texts.append(np.array(written[:end], dtype=np.int32))
        return texts

    def _check_room(self, prompts: Sequence[IntArray], max_tokens: int) -> None:
        if max_tokens < 1:
            raise SpecError(f"max_tokens is {max_tokens}: at least one token must be asked for")
        for number, prompt in enumerate(prompts):
            self._check(f"prompt {number}, with {max_tokens} tokens to write", prompt, 1, self.context - max_tokens)

    def close(self) -> None:
        """Nothing is held between calls."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, what: str, tokens: IntArray, least: int, room: int) -> None:
        if len(tokens) < least:
            raise SpecError(f"{what} has {len(tokens)} tokens: give at least {least}")
        if len(tokens) > room:
            raise SpecError(f"{what} has {len(tokens)} tokens, the server's context of {self.context} has room for "
                            f"{max(room, 0)}: shorten it, or start the server with a larger max-model-len")
        if int(np.min(tokens)) < 0 or int(np.max(tokens)) >= self.vocab_size:
            raise ModelError(f"{what} holds a token outside the vocabulary of {self.vocab_size}: another tokenizer "
                             "made it")

    def _score(self, sequences: Sequence[IntArray], k: int) -> list[TopLogprobs]:
        bodies = [{"prompt": tokens.tolist(), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": k,
                   "add_special_tokens": False} for tokens in sequences]
        return [read_answer(answer, tokens, k, self._where)
                for answer, tokens in zip(self._ask(bodies), sequences, strict=True)]

    def _ask(self, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers, in order; raises `EngineError` for one of another status than 200."""
        return [answer for _, answer in asyncio.run(self._ask_all(bodies, strict=True))]

    def _statuses(self, bodies: Sequence[Mapping[str, Any]]) -> list[tuple[int, Any]]:
        """(status, answer) of each, the answer being JSON for 200, else the begin of what was said."""
        return asyncio.run(self._ask_all(bodies, strict=False))

    async def _ask_all(self, bodies: Sequence[Mapping[str, Any]], *, strict: bool) -> list[tuple[int, Any]]:
        gate = asyncio.Semaphore(self._concurrency)
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        # No proxy of the environment stands between us and a server of our own: trust_env is False.
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0),
                                         headers=self._headers, trust_env=self._by_proxy) as session:

            async def one(body: Mapping[str, Any]) -> tuple[int, Any]:
                async with gate:
                    status, answer = await self._post(session, body)
                if strict and status != 200:
                    raise EngineError(f"{self._where} answered {status} when asked to score: {answer}; {self._see()}")
                return status, answer

            tasks = [asyncio.ensure_future(one(body)) for body in bodies]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _see(self) -> str:
        """Where more is told; and why the server ended, where its log has a cause that is known."""
        there = isinstance(self._log, Path) and self._log.is_file()
        if there and (why := vllm_abort(Path(self._log).read_text("utf-8", "replace"))):
            return f"{why}; see {self._log}"
        return f"see {self._log}"

    async def _post(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> tuple[int, Any]:
        """The status and one answer. Asks again where no work began: the connection was refused, the server busy."""
        url = f"{self._endpoint.base_url}/v1/completions"
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                async with session.post(url, json={"model": self._endpoint.model, **body}) as answer:
                    if answer.status == 200:
                        return 200, await answer.json(content_type=None)
                    if last or answer.status not in BUSY:
                        return answer.status, " ".join((await answer.text(errors="replace")).split())[:SHOWN]
            except TimeoutError as error:
                raise EngineError(f"{self._where} did not answer within {self._timeout_s:g} s; see {self._log}, or "
                                  "score fewer sequences at once") from error
            except aiohttp.ClientConnectorError as error:
                if last:
                    raise EngineError(f"{self._where} cannot be reached ({error}); {self._see()}") from error
            except (aiohttp.ClientError, ValueError) as error:
                raise EngineError(f"{self._where} broke off or sent what is not JSON ({error}); "
                                  f"{self._see()}") from error
            await asyncio.sleep(0.2 * 2**attempt)
        raise AssertionError("the last try returns or raises")
