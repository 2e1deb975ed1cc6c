"""Continuation of many prompts at once in one context, with continuous batching.

Every prompt in flight has a slot: a sequence with a cache of its own. Each step computes one more token for all of
them; a finished one frees its slot, and when enough slots are free the next prompts are read into them.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from quantcheck.engines.packing import fill
from quantcheck.engines.sampling import Chooser, Greedy
from quantcheck.engines.scorer import IntArray, Over, is_over
from quantcheck.ggml.model import Context

__all__ = ["Prompt", "continue_prompts"]


@dataclass
class Prompt:
    """A prompt, its `place` in the request, and what the model wrote so far."""

    place: int
    tokens: IntArray
    written: list[int] = field(default_factory=list)


def continue_prompts(
    context: Context, prompts: Sequence[Prompt], max_tokens: int, stop: Collection[int],
    chooser: Chooser | None = None, over: Over | None = None,
) -> list[Prompt]:
    """Writes up to `max_tokens` tokens after each prompt, ends before one of `stop` or once it is `over`; returns
    `prompts`.

    `chooser` picks each token; none: greedily. Which prompts share a step depends on `prompts`, on when they end and
    on the context's shape only.
    """
    chooser = chooser or Greedy()
    context.clear()
    waiting = deque(prompts)
    active: dict[int, Prompt] = {}
    free = list(range(context.sequences - 1, -1, -1))
    # Reading a prompt or two at a time costs a step as a whole: wait until it is worth it.
    worthwhile = max(1, context.sequences // 8)

    def take(slot: int, prompt: Prompt, token: int) -> None:
        """Files the next token of a slot; the slot is freed when that was the end."""
        if token not in stop:
            prompt.written.append(token)
            if len(prompt.written) < max_tokens and not is_over(prompt.written, over):
                return
        context.remove(slot)
        del active[slot]
        free.append(slot)

    while waiting or active:
        if waiting and (len(free) >= worthwhile or not active):
            entering = [(free.pop(), waiting.popleft()) for _ in range(min(len(free), len(waiting)))]
            active |= dict(entering)
            for group in fill([((s, p), len(p.tokens), 1) for s, p in entering], context.batch, len(entering)):
                for (slot, prompt), token in zip(group, _read(context, group, chooser), strict=True):
                    take(slot, prompt, token)
        if active:
            slots = np.fromiter(active, dtype=np.int32)
            last = np.array([prompt.written[-1] for prompt in active.values()], dtype=np.int32)
            ends = np.array([len(p.tokens) + len(p.written) - 1 for p in active.values()], dtype=np.int32)
            logits = context.decode(last, ends, slots, np.ones(len(slots), dtype=np.bool_))
            places, steps = [p.place for p in active.values()], [len(p.written) for p in active.values()]
            chosen = chooser.choose(logits, places, steps)
            for (slot, prompt), token in zip(list(active.items()), chosen, strict=True):
                take(slot, prompt, token)
    return list(prompts)


def _read(context: Context, group: Sequence[tuple[int, Prompt]], chooser: Chooser) -> list[int]:
    """Evaluates whole prompts in their slots: the first token that the model writes after each."""
    lengths = [len(prompt.tokens) for _, prompt in group]
    tokens = np.concatenate([prompt.tokens for _, prompt in group]).astype(np.int32)
    positions = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    slots = np.repeat(np.array([slot for slot, _ in group], dtype=np.int32), lengths)
    wanted = np.zeros(len(tokens), dtype=np.bool_)
    wanted[np.cumsum(lengths) - 1] = True
    places = iter([prompt.place for _, prompt in group])
    first: list[int] = []
    for start in range(0, len(tokens), context.batch):
        part = slice(start, start + context.batch)
        logits = context.decode(tokens[part], positions[part], slots[part], wanted[part])
        ended = [next(places) for _ in range(len(logits))]
        first += chooser.choose(logits, ended, [0] * len(ended)) if ended else []
    return first
