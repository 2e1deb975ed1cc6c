"""Prompts: synthetic ones of exact length, seeded, never the same twice unless asked; and the user's own."""

import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from quantcheck.errors import SpecError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "Message",
    "Prompt",
    "PromptSource",
    "TextSource",
    "UserPrompt",
    "load_tokenizer",
    "prompts_sha256",
    "read_prompts",
    "window_seed",
]

Message = dict[str, Any]
Prompt = NDArray[np.int32] | str | list[Message]
"""Token ids, text, or the messages of a chat."""

P = TypeVar("P", NDArray[np.int32], str)

EDGE = 1000
TRIES = 100
FITS, STARTS = 12, 4
"""How often a text is trimmed or extended to reach its length, and how many texts are begun."""
BLOCK = 65_536
PIECES = 8192
FEWEST_PIECES = 64

_WORDS = (
    "able about above across act add after again age ago air all along also always among and animal answer any apple "
    "bird blow blue board boat body bone book both bottom bowl box boy branch bread break bright bring brother brown "
    "city class clean clear climb clock close cloud coat cold color come cook cool copy corn corner cost count country "
    "duck dust each ear early earth east easy eat edge egg eight else end engine enough even ever every eye face fact "
    "flower fly follow food foot forest form four free fresh friend from front fruit full game garden gate gave gift "
    "hear heart heat heavy help here high hill hold hole home hope horse hot hour house how hundred ice idea inside "
    "lead leaf learn leave left leg less letter life light like line lion list little live long look lost lot loud "
    "more morning mother mountain mouth move much music name near neck need nest never new next night nine noise north "
    "pair paper park part party pass past path pay pen people pick picture piece place plan plant play point pond pool "
    "rock roof room root rope round row run safe sail salt same sand save say school sea seat second seed sell send "
    "slow small smile snow soft soil some song soon sound south space spring square stand star start stay step stick "
    "taste teach team tell ten test thank thick thing think third three throw time tiny today together top touch town "
    "warm wash watch water wave way wear week well west wet what wheel when where white wide wild wind window winter"
)
WORDS = tuple(_WORDS.split())


def window_seed(seed: int, *parts: str | int) -> int:
    """A seed for one window, from the experiment's seed and what names the window (workload, concurrency, block).

    The variant is not to be among `parts`: all variants get the same prompts.
    """
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class _Stream:
    """An endless sequence of ids from [low, high), drawn a block at a time; the blocks' size does not change it."""

    def __init__(self, seed: int, low: int, high: int) -> None:
        self._random = np.random.default_rng(seed)
        self._low, self._high = low, high
        self._ids = np.zeros(0, np.int32)
        self._at = 0

    def take(self, count: int) -> NDArray[np.int32]:
        end = self._at + count
        if end > len(self._ids):
            block = self._random.integers(self._low, self._high, size=max(BLOCK, count), dtype=np.int32)
            self._ids = np.concatenate([self._ids[self._at :], block])
            self._at, end = 0, count
        ids = self._ids[self._at : end]
        self._at = end
        return ids


class _Ids:
    """Distinct sequences of ids from [low, high), whose beginnings are those of one shared sequence."""

    def __init__(self, seed: int, low: int, high: int, shared_prefix: float) -> None:
        self.own = _Stream(seed, low, high)
        self._share = shared_prefix
        self._shared_stream = _Stream(window_seed(seed, "shared prefix"), low, high)
        self._shared = np.zeros(0, np.int32)
        self._seen: set[bytes] = set()

    def draw(self, length: int) -> NDArray[np.int32]:
        shared = self._prefix(min(round(self._share * length), length - 1))
        for _ in range(TRIES):
            ids = self.own.take(length - len(shared))
            if len(shared):
                ids = np.concatenate([shared, ids])
            key = ids.tobytes()
            if key not in self._seen:
                self._seen.add(key)
                return ids
        raise SpecError(f"prompt_tokens: {length}: all prompts of that length are used up; take longer prompts"
                        + (" or a smaller `shared_prefix`" if self._share else ""))

    def _prefix(self, length: int) -> NDArray[np.int32]:
        if length > len(self._shared):
            self._shared = np.concatenate([self._shared, self._shared_stream.take(length - len(self._shared))])
        return self._shared[:length]


class _Source(ABC, Generic[P]):
    def __init__(self, repeat: int | None) -> None:
        if repeat is not None and repeat < 1:
            raise SpecError(f"repeat: {repeat} prompts are none; give at least 1, or leave it out")
        self._repeat = repeat
        self._pool: list[P] = []
        self._drawn = 0

    def draw(self, length: int) -> P:
        """The next prompt, of `length` tokens. Raises `SpecError` when no unused one of that length is found.

        With `repeat`, prompts come from a pool, in turns; each has the length that was asked for when it was new.
        """
        if self._repeat is None:
            return self._new(length)
        if len(self._pool) < self._repeat:
            self._pool.append(self._new(length))
        self._drawn += 1
        return self._pool[(self._drawn - 1) % self._repeat]

    @abstractmethod
    def _new(self, length: int) -> P: ...


class PromptSource(_Source[NDArray[np.int32]]):
    """Token ids (int32), drawn uniformly from the middle of a vocabulary of `vocab_size` ids.

    Special tokens lie at either end of a vocabulary (control ids first, reserved and padding ids last): an eighth of
    it, at most 1,000 ids, is left out at each end. `shared_prefix`: the first round(share * length) ids of every
    prompt, but never all of them, are those of one sequence that all prompts of the source have in common.
    `repeat`: so many distinct prompts, in turns; None: never the same twice. Raises `SpecError` for a vocabulary that
    is too small.
    """

    def __init__(self, seed: int, vocab_size: int, *, shared_prefix: float = 0.0, repeat: int | None = None) -> None:
        super().__init__(repeat)
        edge = min(EDGE, vocab_size // 8)
        self.low, self.high = edge, vocab_size - edge
        if self.high - self.low < 2:
            raise SpecError(f"a vocabulary of {vocab_size} tokens is too small to draw prompts from")
        self._ids = _Ids(seed, self.low, self.high, shared_prefix)

    def _new(self, length: int) -> NDArray[np.int32]:
        return self._ids.draw(length)


class TextSource(_Source[str]):
    """Text, for servers that take no token ids.

    With a tokenizer a text of n tokens is one that `tokenizer.encode(text)`, its special tokens included, makes n
    tokens of: random pieces that begin words, decoded, encoded again, and trimmed or extended until it fits. Without
    one, n short English words stand for n tokens, and `exact` is False. `shared_prefix` and `repeat` as in
    `PromptSource`; with a tokenizer that merges across words, a prefix may end a token earlier. `draw` raises
    `SpecError` when no text of the length is found.
    """

    def __init__(
        self, seed: int, tokenizer: "Tokenizer | None" = None, *, shared_prefix: float = 0.0, repeat: int | None = None
    ) -> None:
        super().__init__(repeat)
        self.exact = tokenizer is not None
        self._tokenizer = tokenizer
        self._special = len(tokenizer.encode("").ids) if tokenizer is not None else 0
        self._pieces = _pieces(tokenizer) if tokenizer is not None else np.zeros(0, np.int32)
        self._ids = _Ids(seed, 0, len(self._pieces) if tokenizer is not None else len(WORDS), shared_prefix)
        self._seen: set[str] = set()

    def _new(self, length: int) -> str:
        if self._tokenizer is None:
            return " ".join(WORDS[place] for place in self._ids.draw(length))
        if length <= self._special:
            raise SpecError(f"prompt_tokens: {length}: the tokenizer adds {self._special} of its own; take "
                            f"more (`min: {self._special + 1}` where lengths are drawn)")
        for _ in range(STARTS):
            text = self._fit(self._tokenizer, length)
            if text is not None and text not in self._seen:
                self._seen.add(text)
                return text
        raise SpecError(f"prompt_tokens: {length}: the tokenizer makes exactly so many tokens of no text that was "
                        "tried; take another length, or a server that takes token ids")

    def _fit(self, tokenizer: "Tokenizer", length: int) -> str | None:
        places = self._ids.draw(length - self._special)
        for _ in range(FITS):
            text: str = tokenizer.decode(self._pieces[places].tolist())
            count = len(tokenizer.encode(text).ids)
            if count == length:
                return text
            # In proportion, but by one piece at least. Pieces put in are new ones, so that no two tries are the same.
            step = round(len(places) * (length - count) / max(1, count)) or (1 if length > count else -1)
            places = (places[: max(1, len(places) + step)] if step < 0
                      else np.concatenate([places, self._ids.own.take(step)]))
        return None


def _pieces(tokenizer: "Tokenizer") -> NDArray[np.int32]:
    """Ids that stay themselves when their text is encoded again, of a sample of a large vocabulary.

    Those that begin words, if there are enough; else (bytes, a language without spaces) any; else its middle.
    """
    size = tokenizer.get_vocab_size()
    words: list[int] = []
    others: list[int] = []
    for piece in range(0, size, -(-size // PIECES)):
        text = tokenizer.decode([piece, piece])
        if tokenizer.encode(text, add_special_tokens=False).ids == [piece, piece]:
            bare = text.strip()
            (words if " " in bare and bare.replace(" ", "").isalpha() else others).append(piece)
    for found in (words, words + others):
        if len(found) >= FEWEST_PIECES:
            return np.array(found, np.int32)
    edge = min(EDGE, size // 8)
    return np.arange(edge, size - edge, dtype=np.int32)


def load_tokenizer(path: Path) -> "Tokenizer":
    """The tokenizer of a model's folder (its tokenizer.json) or of that file; `SpecError` where there is none."""
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise SpecError(f"tokenizer {file}: there is no such file; give a model's folder with a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 (the library raises plain Exception)
        raise SpecError(f"tokenizer {file}: cannot be read ({str(error)[:100]}); give another tokenizer.json") from None
    tokenizer.no_truncation()  # a file may carry both; they falsify lengths
    tokenizer.no_padding()
    return tokenizer


@dataclass(frozen=True, slots=True)
class UserPrompt:
    """One line of a prompts file; `output_tokens` is its own answer's length, when it gives one."""

    prompt: str | list[Message]
    output_tokens: int | None = None


def read_prompts(path: Path) -> list[UserPrompt]:
    """Reads JSONL: each line has `prompt`, `text` or `question` (text), or `messages` (a chat); `output_tokens` may be.

    Other keys are let be, and so are empty lines. Raises `SpecError`, with the line, for anything else.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise SpecError(f"prompts {path}: cannot be read ({error.strerror}); give a JSONL file") from None
    prompts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompts.append(_user_prompt(orjson.loads(line)))
        except orjson.JSONDecodeError:
            raise SpecError(f"prompts {path}, line {number}: not JSON; write one object a line") from None
        except ValueError as error:
            raise SpecError(f"prompts {path}, line {number}: {error}") from None
    if not prompts:
        raise SpecError(f"prompts {path}: no prompt in it; give a JSONL file with `prompt` or `messages` on every line")
    return prompts


def _user_prompt(line: Any) -> UserPrompt:
    if not isinstance(line, dict):
        raise ValueError("not a JSON object; write {\"prompt\": \"...\"}")
    output_tokens = line.get("output_tokens")
    if output_tokens is not None and (type(output_tokens) is not int or not 0 < output_tokens < 2**31):
        raise ValueError(f"output_tokens: {output_tokens!r} is not a number of tokens; give a whole number above 0")
    key = next((key for key in ("prompt", "messages", "text", "question") if key in line), None)
    if key is None:
        raise ValueError(f"no `prompt` or `messages` among its keys: {', '.join(line) or 'none'}; add one")
    value = line[key]
    if key != "messages":
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key}: not a text with something in it; give a string")
        return UserPrompt(value, output_tokens)
    if not isinstance(value, list) or not value or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str | list)
        for m in value
    ):
        raise ValueError('messages: not a chat; give a list of {"role": "user", "content": "..."}')
    return UserPrompt(value, output_tokens)


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """One hash over all prompts in order: each one's length and ids, little-endian int32, or its canonical JSON.

    Canonical: UTF-8, keys sorted, no spaces; with its length behind a -1, which no number of ids can be.
    """
    digest = hashlib.sha256()
    for prompt in prompts:
        if isinstance(prompt, np.ndarray):
            digest.update(struct.pack("<i", len(prompt)))
            digest.update(prompt.astype("<i4").tobytes())
        else:
            data = orjson.dumps(prompt, option=orjson.OPT_SORT_KEYS)
            digest.update(struct.pack("<iq", -1, len(data)))
            digest.update(data)
    return digest.hexdigest()
