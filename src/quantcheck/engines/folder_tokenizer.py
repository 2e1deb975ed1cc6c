"""The tokenizer of a Hugging Face folder: the ids that llama.cpp makes with the same folder's GGUF file.

`tokenizer.json` cuts the text. Whether BOS comes first is told by it or by `tokenizer_config.json`, and is read by the
same code as for a GGUF file (`gguf.SpecialVocab`), so that both engines score the same ids.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import SpecialVocab
from numpy.typing import NDArray

from quantcheck.errors import ModelError
from quantcheck.variants.shapes import read_config_file

__all__ = ["FolderTokenizer"]

IntArray = NDArray[np.integer[Any]]


class FolderTokenizer:
    """The tokenizer in `folder`; `vocab_size` is the number of rows of the model's embedding.

    Raises `ModelError` for a folder whose configuration or tokenizer is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer  # takes long to import, and only this class needs it

        config = read_config_file(folder / "config.json")
        text = config.get("text_config") or config  # of a model that also takes images
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder} has no tokenizer.json; save the model with a fast tokenizer beside it")
        try:
            self.vocab_size = int(text["vocab_size"])
            self._tokenizer = Tokenizer.from_file(str(path))
            special = SpecialVocab(folder, n_vocab=self.vocab_size)
            sentencepiece = bool(json.loads(path.read_text(encoding="utf-8"))["model"].get("byte_fallback"))
            self._ends = frozenset(_ends(folder, config, text))
        except Exception as error:  # tokenizers raises nothing more special
            why = " ".join(str(error).split())
            raise ModelError(f"{folder}: its tokenizer or configuration is damaged or of an unknown form ({why}); "
                             "fetch it again") from error
        # Special tokens written in the text are plain text, and no text is cut or filled up.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # Where nothing is said, a SentencePiece model has BOS; so it is in llama.cpp, too.
        adds = special.add_special_token.get("bos", sentencepiece)
        self._bos = special.special_token_ids.get("bos") if adds else None

    def encode(self, text: str, *, bos: bool) -> IntArray:
        """Token ids (int32) of `text`, after BOS where `bos` and the model's tokenizer puts it there."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return np.array([self._bos, *ids] if bos and self._bos is not None else ids, dtype=np.int32)

    def decode(self, tokens: IntArray) -> str:
        """The text of `tokens`; special tokens are left out, broken UTF-8 is replaced."""
        text: str = self._tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
        return text

    def spellings(self) -> list[str]:
        """The text of each token alone, by id, special ones as they are written; "" of an id without a token."""
        tokens = [[token] for token in range(self._tokenizer.get_vocab_size(with_added_tokens=True))]
        texts: list[str] = self._tokenizer.decode_batch(tokens, skip_special_tokens=False)
        return texts

    def line_ends(self) -> frozenset[int]:
        """Tokens that end a one-line answer: all that end generation, and all that begin with a newline."""
        tokens = list(self._tokenizer.get_vocab(with_added_tokens=True).values())
        texts = self._tokenizer.decode_batch([[token] for token in tokens], skip_special_tokens=True)
        return self._ends.union(token for token, text in zip(tokens, texts, strict=True) if text.startswith("\n"))


def _ends(folder: Path, *configs: dict[str, Any]) -> Iterator[int]:
    """`eos_token_id`, one or several, of every configuration of the model and of how it generates."""
    path = folder / "generation_config.json"
    for config in (*configs, read_config_file(path) if path.is_file() else {}):
        found = config.get("eos_token_id")
        yield from [] if found is None else found if isinstance(found, list) else [found]
