"""A model small enough to compute by hand: a token is a byte, and the next byte depends on the last one alone."""

from collections.abc import Collection, Sequence

import numpy as np

from quantcheck.engines.scorer import LOOK, IntArray, LogLikelihood, Over, Seeded

EOT = 256
MARK = "<|end|>"


class ByteTokens:
    """Bytes, and one special token, which is written `<|end|>`; `bos` puts it first."""

    eot = prefix = EOT
    ends = frozenset({EOT})

    def __init__(self, bos: bool = False) -> None:
        self.bos = bos

    def encode(self, text: str, *, bos: bool) -> IntArray:
        ids = [EOT] if bos and self.bos else []
        for place, part in enumerate(text.split(MARK)):
            ids += ([EOT] if place else []) + list(part.encode())
        return np.array(ids, dtype=np.int32)

    def decode(self, tokens: IntArray) -> str:
        return bytes(token for token in tokens.tolist() if token != EOT).decode("utf-8", "replace")

    def spelling(self, token: int) -> str:
        return MARK


class ByteModel:
    """`asked` remembers the token ids of every call."""

    vocab_size = 257

    def __init__(self, seed: int = 0) -> None:
        letters = np.zeros(257)
        letters[list(b" \n.,abcdefgh0123456789#")] = 4  # so that it writes text
        logits = np.random.default_rng(seed).normal(size=(257, 257)) + letters
        self.logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        self.asked: list[list[int]] = []

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        found = []
        for context, continuation in pairs:
            assert len(context)
            assert len(continuation)
            self.asked.append([*context.tolist(), *continuation.tolist()])
            before = [int(context[-1]), *continuation[:-1].tolist()]
            rows = self.logprobs[before]
            own = rows[np.arange(len(continuation)), continuation]
            found.append(LogLikelihood(float(own.sum()), bool((rows.argmax(axis=1) == continuation).all())))
        return found

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        found = []
        for prompt in prompts:
            self.asked.append(prompt.tolist())
            written: list[int] = []
            token = self.next(int(prompt[-1]))
            while len(written) < max_tokens and token not in stop:
                written.append(token)
                if over and len(written) % LOOK == 0 and over(np.array(written, dtype=np.int32)):
                    break
                token = self.next(token)
            found.append(np.array(written, dtype=np.int32))
        return found

    def next(self, token: int) -> int:
        return int(self.logprobs[token].argmax())

    def close(self) -> None:
        """Nothing is held."""


class Scripted(ByteModel):
    """Writes `texts`, one after another, whatever it is asked."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.texts = list(texts)

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        return [np.array(list(self.texts.pop(0).encode()), dtype=np.int32) for _ in prompts]
