"""A GGUF file's tokenizer as chat templates and lm-eval use one: special tokens in a text are those tokens."""

import ctypes
from functools import cache

from quantcheck.errors import ModelError
from quantcheck.ggml.library import load
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary

__all__ = ["SpecialVocabulary"]


@cache
def _declared() -> ctypes.CDLL:
    library = load()
    library.llama_model_chat_template.restype = ctypes.c_char_p
    library.llama_model_chat_template.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library


class SpecialVocabulary(Vocabulary):
    """`eot` ends a text, `prefix` stands before a text without context (BOS where there is one), at each of `ends`
    generation is over; `chat_template` is the file's own, None where it has none.

    Raises `ModelError` for a file that names no token for the end of a text.
    """

    parses_special = True

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        eos = model.eos
        if eos is None:
            raise ModelError(f"{model.path}: names no token that ends a text; convert the model again, with its own "
                             "tokenizer")
        self.eot: int = eos
        self.prefix: int = eos if model.bos is None else model.bos
        self.ends = frozenset({eos, *(token for token in range(self._size)
                                      if self._library.llama_vocab_is_eog(self._vocab, token))})
        template: bytes | None = _declared().llama_model_chat_template(model.handle, None)
        self.chat_template = None if template is None else template.decode("utf-8", "replace")

    def spelling(self, token: int) -> str:
        """How a special token is written in a text."""
        return self.piece(token, special=True).decode("utf-8", "replace")
