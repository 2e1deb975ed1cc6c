"""From a workload to the schedule of one window: who is sent what, in which order, and when.

The prompts' sequence is measured, warm-up, tail, whatever the order of sending: more warm-up or another kind of load
leaves the measured prompts as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.base import Endpoint
from quantcheck.errors import SpecError
from quantcheck.load import arrivals, lengths
from quantcheck.load.bodies import request_body
from quantcheck.load.prompts import (
    Prompt,
    PromptSource,
    TextSource,
    UserPrompt,
    load_tokenizer,
    prompts_sha256,
    read_prompts,
    window_seed,
)
from quantcheck.load.schedule import MEASURED, TAIL, WARMUP, Schedule
from quantcheck.load.sending import PromptForm
from quantcheck.load.traces import Trace, read_trace
from quantcheck.spec.load import Arrival, Workload

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["POISSON", "build_schedule"]

POISSON = Arrival()
LEAST_TAIL = 8


def build_schedule(
    endpoint: Endpoint,
    workload: Workload,
    *,
    seed: int,
    requests: int,
    warmup_requests: int,
    concurrency: int | None = None,
    rate: float | None = None,
    arrival: Arrival = POISSON,
    vocab_size: int | None = None,
    tokenizer: Path | None = None,
    prompt_form: PromptForm = "ids",
    repeat: int | None = None,
    stream: bool = True,
    sampling: Mapping[str, Any] | None = None,
    plain: bool = False,
) -> Schedule:
    """Makes the schedule of one window; the same arguments give the same one, whatever the variant.

    `requests` are measured (of a trace, its first rows, at most all). The load is one of three:
    - `concurrency` N, a closed loop: `warmup_requests` for each stream, stream by stream; the tail is
      max(2 N, requests/2) more. The first warm-up answer of stream k has (k+1)/N of its length, so that the streams are
      spread evenly over an answer's course when they are measured; started together they may stay in step for ever.
    - `rate` (requests/s), an open loop: `warmup_requests` arrivals, then the measured ones, then max(8, requests/2)
      of tail, all of them one sequence of `arrival`'s process.
    - neither, with a trace: its rows at their own times; before them `warmup_requests` at its mean gap; no tail.
    Under the first two a trace gives the lengths alone, row by row; warm-up and tail go on where the measured rows end.

    Synthetic prompts are token ids, for which `vocab_size` is needed or taken from `tokenizer` (a model's folder or a
    tokenizer.json), or text (`TextSource`; `prompt_tokens` is 0, not known, without a tokenizer, and in a chat, where
    the server's template adds more). The user's prompts come in a seeded order. No prompt comes twice, in any phase,
    unless `repeat` gives a number of prompts to take in turns. `sha256` covers the measured prompts alone. `stream`,
    `sampling` and `plain` are `request_body`'s.

    Raises `SpecError` for what does not fit together, files that cannot be read, and prompts that run out.
    """
    trace = read_trace(Path(workload.trace), workload.time_scale) if workload.trace is not None else None
    measured = requests if trace is None else min(requests, len(trace))
    _check(endpoint, workload, measured, concurrency, rate, vocab_size, tokenizer, prompt_form, repeat)
    if concurrency is not None:
        warmup, tail = warmup_requests * concurrency, max(2 * concurrency, -(-measured // 2))
    else:
        warmup, tail = warmup_requests, max(LEAST_TAIL, -(-measured // 2)) if rate is not None else 0
    count = measured + warmup + tail
    loaded = load_tokenizer(tokenizer) if tokenizer is not None else None

    if workload.prompts is not None:
        asked = _users(endpoint, workload, read_prompts(Path(workload.prompts)), count, seed, repeat, loaded)
    else:
        asked = _synthetic(endpoint, workload, trace, count, seed, repeat, loaded,
                           vocab_size if prompt_form == "ids" else None, prompt_form)
    sent = np.concatenate([np.arange(measured, measured + warmup), np.arange(measured), np.arange(count - tail, count)])
    streams = np.full(count, -1, np.int32)
    output_tokens = asked.output_tokens[sent]
    if concurrency is not None and warmup_requests:
        streams[:warmup] = np.repeat(np.arange(concurrency), warmup_requests)
        first = slice(0, warmup, warmup_requests)
        part = output_tokens[first] * (streams[first].astype(np.int64) + 1) / concurrency
        output_tokens[first] = np.maximum(1, np.rint(part))

    due = None
    if rate is not None:
        due = arrivals.due_ns(arrival, rate, count, window_seed(seed, "arrivals"))
    elif concurrency is None and trace is not None:
        due = _replayed(trace, measured, warmup)
    forced = not workload.free
    return Schedule(
        phase=np.repeat(np.array([WARMUP, MEASURED, TAIL], np.int8), [warmup, measured, tail]),
        due_ns=due,
        stream=streams,
        prompt_tokens=asked.prompt_tokens[sent],
        output_tokens=output_tokens,
        forced=forced,
        bodies=[request_body(endpoint, asked.prompts[place], wanted,
                             forced=forced, stream=stream, sampling=sampling, plain=plain)
                for place, wanted in zip(sent.tolist(), output_tokens.tolist(), strict=True)],
        sha256=prompts_sha256(asked.prompts[:measured]),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, in the prompts' own order: measured, warm-up, tail."""

    prompts: Sequence[Prompt]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]


def _check(
    endpoint: Endpoint, workload: Workload, measured: int, concurrency: int | None, rate: float | None,
    vocab_size: int | None, tokenizer: Path | None, prompt_form: PromptForm, repeat: int | None,
) -> None:
    if measured < 1:
        raise SpecError(f"requests: {measured} cannot be measured; give at least 1")
    if concurrency is not None and rate is not None:
        raise SpecError(f"concurrency: {concurrency} and rate: {rate:g} exclude each other; give one of them")
    if concurrency is None and rate is None and workload.trace is None:
        raise SpecError("no load: give a concurrency (streams) or a rate (requests/s); only a trace brings its own")
    if concurrency is not None and measured < concurrency:
        raise SpecError(f"requests: {measured} is below the concurrency of {concurrency}; give at least as many")
    if repeat is not None and repeat < 1:
        raise SpecError(f"repeat: {repeat} prompts are none; give at least 1, or leave it out")
    if workload.prompts is None and prompt_form == "ids":
        if endpoint.dialect == "chat":
            raise SpecError("a chat endpoint takes no token ids; ask for text prompts, or use /v1/completions")
        if vocab_size is None and tokenizer is None:
            raise SpecError("prompts of token ids need the size of the vocabulary; give a tokenizer, or ask for text")


def _synthetic(
    endpoint: Endpoint, workload: Workload, trace: Trace | None, count: int, seed: int, repeat: int | None,
    tokenizer: "Tokenizer | None", vocab_size: int | None, prompt_form: PromptForm,
) -> _Asked:
    if trace is not None:
        rows = np.arange(count) % len(trace)
        wanted, output_tokens = trace.prompt_tokens[rows], trace.output_tokens[rows]
    else:
        assert workload.prompt_tokens is not None
        assert workload.output_tokens is not None
        wanted, output_tokens = (
            lengths.draw(length, count, np.random.default_rng(window_seed(seed, name)))
            for name, length in (("prompt lengths", workload.prompt_tokens), ("output lengths", workload.output_tokens))
        )
    if repeat is not None:
        wanted = wanted[np.arange(count) % repeat]  # a prompt that comes again has its length
    if prompt_form == "text":
        source = TextSource(seed, tokenizer, shared_prefix=workload.shared_prefix, repeat=repeat)
        known = source.exact and endpoint.dialect != "chat"
        return _Asked([source.draw(length) for length in wanted.tolist()],
                      wanted if known else np.zeros(count, np.int32), output_tokens)
    if vocab_size is None:
        assert tokenizer is not None
        vocab_size = tokenizer.get_vocab_size()
    ids = PromptSource(seed, vocab_size, shared_prefix=workload.shared_prefix, repeat=repeat)
    return _Asked([ids.draw(length) for length in wanted.tolist()], wanted, output_tokens)


def _users(
    endpoint: Endpoint, workload: Workload, lines: list[UserPrompt], count: int, seed: int, repeat: int | None,
    tokenizer: "Tokenizer | None",
) -> _Asked:
    needed = count if repeat is None else min(count, repeat)
    if needed > len(lines):
        raise SpecError(f"prompts {workload.prompts}: {len(lines)} prompts, and {needed} are needed, each once "
                        "(warm-up, measured, tail); add some, take fewer requests, or let prompts repeat")
    if endpoint.dialect != "chat" and any(not isinstance(line.prompt, str) for line in lines):
        raise SpecError(f"prompts {workload.prompts}: `messages` need a chat endpoint; use one, or give `prompt`")
    order = np.random.default_rng(window_seed(seed, "order of prompts")).permutation(len(lines))
    chosen = [lines[place] for place in order[np.arange(count) % needed]]
    assert workload.output_tokens is not None
    drawn = lengths.draw(workload.output_tokens, count, np.random.default_rng(window_seed(seed, "output lengths")))
    known = {}
    if tokenizer is not None and endpoint.dialect != "chat":
        known = {text: len(tokenizer.encode(text).ids) for line in chosen if isinstance(text := line.prompt, str)}
    return _Asked(
        [line.prompt for line in chosen],
        np.array([known.get(line.prompt, 0) if isinstance(line.prompt, str) else 0 for line in chosen], np.int32),
        np.array([line.output_tokens or length for line, length in zip(chosen, drawn.tolist(), strict=True)], np.int32),
    )


def _replayed(trace: Trace, measured: int, warmup: int) -> NDArray[np.int64]:
    gap = int(trace.due_ns[-1]) // max(1, len(trace) - 1)
    return np.concatenate([np.arange(warmup, dtype=np.int64) * gap, trace.due_ns[:measured] + warmup * gap])
