"""lm-eval's model interface over an `Answerer`: the same requests give the same token ids as lm-eval's `hf` model.

Which function of lm-eval 0.4.13 each step follows is said where it is done. Importing this module needs lm-eval.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from quantcheck.engines.scorer import Answerer, IntArray
from quantcheck.errors import ModelError, SpecError
from quantcheck.harness.chat import render
from quantcheck.harness.tokens import HarnessTokenizer

__all__ = ["AnswererModel", "wanted"]

CHUNK = 512
"""Requests given to the engine at once, and so between two words of progress."""
DEFAULT_MAX_TOKENS = 256
"""`HFLM.max_gen_toks`."""


class AnswererModel(TemplateLM):  # type: ignore[misc]
    """Answers lm-eval's requests with `answerer`.

    `max_length`: tokens that the model sees at most (`HFLM.max_length`); a longer context loses its beginning. The
    engine must take that many, and one more as the last token of a continuation (which is predicted, never read).
    `progress` is told requests done and requests of the present kind.
    Splitting context from continuation and what stands for an empty context are `TemplateLM`'s own methods.
    """

    def __init__(
        self, answerer: Answerer, tokenizer: HarnessTokenizer, max_length: int, chat_template: str | None = None,
        progress: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> None:
        super().__init__()
        self.answerer = answerer
        self.words = tokenizer
        self.max_length = max_length
        self.template = chat_template
        self.progress = progress

    @property
    def eot_token_id(self) -> int:
        return self.words.eot

    @property
    def prefix_token_id(self) -> int:
        return self.words.prefix

    @property
    def tokenizer_name(self) -> str:
        return ""

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """As `HFLM.tok_encode`: BOS by the tokenizer's own rule, unless the text already begins with it."""
        bos = add_special_tokens
        if bos is None:
            bos = not string.startswith(self.words.spelling(self.words.prefix))
        ids: list[int] = self.words.encode(string, bos=bos).tolist()
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """As `TemplateLM.loglikelihood`, without a progress bar."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """As `HFLM._loglikelihood_tokens`: the last `max_length` + 1 tokens of context and continuation count."""
        pairs = []
        for text, context, continuation in requests:
            if not continuation:
                raise ModelError(f"the tokenizer gives {text[1]!r} no token of its own after {text[0][-40:]!r}: "
                                 "this task cannot be scored with this model")
            room = self.max_length + 1 - len(continuation)
            if room < 1:
                raise SpecError(f"a continuation has {len(continuation)} tokens, the context holds {self.max_length}: "
                                "raise the context, or leave the task out")
            pairs.append((_ids(context[-room:]), _ids(continuation)))
        # Pairs with the same context lie side by side, and so in one call: an engine can share its evaluation.
        found: list[tuple[float, bool]] = []
        for start in range(0, len(pairs), CHUNK):
            answers = self.answerer.loglikelihoods(pairs[start : start + CHUNK])
            found += [(answer.logprob, answer.is_greedy) for answer in answers]
            self.progress(len(found), len(pairs))
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """As `HFLM.loglikelihood_rolling`: windows of `max_length` tokens, each token predicted once."""
        windows: list[tuple[Any, list[int], list[int]]] = []
        owner: list[int] = []
        for place, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1):
                context, continuation = make_disjoint_window(window)
                windows.append((("", ""), context, continuation))
                owner.append(place)
        sums = [0.0] * len(requests)
        for place, (logprob, _) in zip(owner, self._loglikelihood_tokens(windows), strict=True):
            sums[place] += logprob
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As `HFLM.generate_until`: the most likely tokens up to a stop string, which is left out.

        Raises `SpecError` for a task that draws its answers, or whose answers do not fit the context.
        """
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(wanted(request.args[1]), []).append(place)
        texts = [""] * len(requests)
        done = 0
        for (max_tokens, until), places in groups.items():
            room = self.max_length - max_tokens
            if room < 1:
                raise SpecError(f"answers of up to {max_tokens} tokens do not fit the context of {self.max_length}; "
                                "it takes a model with a longer one")
            for start in range(0, len(places), CHUNK):
                part = places[start : start + CHUNK]
                prompts = [_ids(self.tok_encode(requests[place].args[0])[-room:]) for place in part]
                for place, text in zip(part, self._write(prompts, max_tokens, until), strict=True):
                    texts[place] = text
                done += len(part)
                self.progress(done, len(requests))
        return texts

    def _write(self, prompts: Sequence[IntArray], max_tokens: int, until: tuple[str, ...]) -> list[str]:
        """Greedy answers, cut at the first of the stop strings."""
        stops = [*until, self.words.spelling(self.words.eot)]

        def over(written: IntArray) -> bool:
            text = self.words.decode(written)
            return bool(postprocess_generated_text(text, stops, None) != text)

        answers = self.answerer.generate(prompts, max_tokens, self.words.ends, over=over if until else None)
        return [postprocess_generated_text(self.words.decode(answer), stops, None) for answer in answers]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """As `HFLM.apply_chat_template`: an unfinished last message is to be carried on."""
        if self.template is None:
            raise SpecError("the model has no chat template: give one, or leave `chat_template` out")
        tokens = {"bos_token": self.words.spelling(self.words.prefix), "eos_token": self.words.spelling(self.words.eot)}
        return render(self.template, chat_history, tokens, add_generation_prompt=add_generation_prompt)


def _ids(tokens: Sequence[int]) -> IntArray:
    return np.array(tokens, dtype=np.int32)


def wanted(arguments: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """The most tokens to write, and the stop strings, by a task's `generation_kwargs`.

    Raises `SpecError` for a task that draws its answers.
    """
    known = normalize_gen_kwargs(arguments, DEFAULT_MAX_TOKENS)
    if known.get("do_sample"):
        raise SpecError("the task draws its answers (do_sample); only greedy tasks can be compared item by item")
    return known["max_gen_toks"], tuple(known["until"])
