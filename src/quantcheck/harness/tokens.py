"""The tokenizer of a Hugging Face folder as lm-eval's `hf` model uses it.

Other than in the project's own suites, special tokens that are written in a text are those tokens: chat templates
write them, and lm-eval's `hf` model reads them.
"""

import json
from pathlib import Path
from typing import Any, Protocol

from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.scorer import IntArray
from quantcheck.errors import ModelError

__all__ = ["FolderTokens", "HarnessTokenizer"]


class HarnessTokenizer(Protocol):
    """A model's tokenizer as lm-eval asks with it; special tokens written in a text are read as such.

    `eot` ends a text, `prefix` stands before a text without context, at each of `ends` generation is over.
    """

    @property
    def eot(self) -> int: ...

    @property
    def prefix(self) -> int: ...

    @property
    def ends(self) -> frozenset[int]: ...

    def encode(self, text: str, *, bos: bool) -> IntArray:
        """Token ids of `text`, after the model's BOS token where `bos` and the tokenizer puts it there."""
        ...

    def decode(self, tokens: IntArray) -> str:
        """The text of `tokens` without special tokens."""
        ...

    def spelling(self, token: int) -> str:
        """How a special token is written in a text."""
        ...


class FolderTokens(FolderTokenizer):
    """`eot`: the token that ends a text. `prefix`: what stands before a text without context, BOS where there is one.

    `ends`: all tokens at which the model's own configuration ends generation, `eot` among them.
    `chat_template`: the folder's own, None where it has none.
    `add_bos`: lm-eval's `add_bos_token`, whether BOS comes first; None: as `tokenizer.json` itself has it, which is
    what transformers does. (`FolderTokenizer` and llama.cpp go by `tokenizer_config.json`, which may say otherwise.)
    Raises `ModelError` for a folder whose tokenizer is damaged or names no token for the end of a text.
    """

    def __init__(self, folder: Path, add_bos: bool | None = None) -> None:
        super().__init__(folder)
        self._tokenizer.encode_special_tokens = False
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        eot = self._id(config.get("eos_token"))
        if eot is None:
            raise ModelError(f"{path}: names no `eos_token` of the vocabulary; fetch the model's own tokenizer files")
        self.eot: int = eot
        bos = self._id(config.get("bos_token"))
        self.prefix: int = eot if bos is None else bos
        if add_bos is None:
            first = self._tokenizer.encode("", add_special_tokens=True).ids
            add_bos = bos is not None and first[:1] == [bos]
        self._bos = bos if add_bos else None
        self.ends = self._ends | {eot}
        template = folder / "chat_template.jinja"
        self.chat_template: str | None = (
            template.read_text(encoding="utf-8") if template.is_file() else config.get("chat_template")
        )

    def spelling(self, token: int) -> str:
        """How a special token is written in a text."""
        text: str = self._tokenizer.decode([token], skip_special_tokens=False)
        return text

    def _id(self, token: Any) -> int | None:
        """The id of a token that `tokenizer_config.json` names by its text, or by an object that holds the text."""
        text = token.get("content") if isinstance(token, dict) else token
        found: int | None = None if text is None else self._tokenizer.token_to_id(text)
        return found
