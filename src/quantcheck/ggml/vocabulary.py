"""A GGUF file's own tokenizer, as llama.cpp runs it: the same ids for every variant of a model."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import ModelError
from quantcheck.ggml.library import load
from quantcheck.ggml.model import Model

__all__ = ["Vocabulary"]

IntArray = NDArray[np.integer[Any]]


@cache
def _declared() -> ctypes.CDLL:
    library = load()
    vocab, token, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    library.llama_tokenize.restype = ctypes.c_int32
    library.llama_tokenize.argtypes = (vocab, text, ctypes.c_int32, ctypes.POINTER(token), ctypes.c_int32,
                                       ctypes.c_bool, ctypes.c_bool)
    library.llama_token_to_piece.restype = ctypes.c_int32
    library.llama_token_to_piece.argtypes = (vocab, token, text, ctypes.c_int32, ctypes.c_int32, ctypes.c_bool)
    library.llama_vocab_is_eog.restype = ctypes.c_bool
    library.llama_vocab_is_eog.argtypes = (vocab, token)
    return library


class Vocabulary:
    """The tokenizer of an open `Model`; it must not outlive it."""

    parses_special = False
    """Whether special tokens that are written in a text are those tokens, and not plain text."""

    def __init__(self, model: Model) -> None:
        self._library = _declared()
        self._vocab = self._library.llama_model_get_vocab(model.handle)
        self._size: int = self._library.llama_vocab_n_tokens(self._vocab)

    def encode(self, text: str, *, bos: bool) -> IntArray:
        """Token ids (int32) of `text`.

        `bos`: put the BOS token first if the model's tokenizer does so. Raises `ModelError` when the text cannot be
        encoded.
        """
        raw = text.encode("utf-8")
        room = len(raw) + 8
        tokens = (ctypes.c_int32 * room)()
        count: int = self._library.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False,
                                                 self.parses_special)
        if count < 0:
            raise ModelError(f"the model's tokenizer cannot encode {text[:40]!r}; its vocabulary is incomplete")
        ids = np.array(tokens[:count], dtype=np.int32)
        if bos and self._library.llama_vocab_get_add_bos(self._vocab):
            return np.concatenate([[np.int32(self._library.llama_vocab_bos(self._vocab))], ids])
        return ids

    def decode(self, tokens: IntArray) -> str:
        """The text of `tokens`; special tokens are left out, broken UTF-8 is replaced."""
        return b"".join(self.piece(int(token)) for token in tokens).decode("utf-8", "replace")

    def line_ends(self) -> frozenset[int]:
        """Tokens that end a one-line answer: all that end generation, and all that begin with a newline."""
        return frozenset(
            token
            for token in range(self._size)
            if self._library.llama_vocab_is_eog(self._vocab, token) or self.piece(token).startswith(b"\n")
        )

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that `token` stands for; of a special token only where they are asked for."""
        length, room = -64, 0
        while length < 0:  # llama.cpp answers with the room it needs, negated
            room = -length
            buffer = ctypes.create_string_buffer(room)
            length = self._library.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
        return buffer.raw[:length]
