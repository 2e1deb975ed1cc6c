"""A Hugging Face `tokenizer.json` in GGUF's terms.

Two kinds are known: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM, Mistral Nemo), where llama.cpp must be told
by name how text is split before merging, and SentencePiece BPE with byte fallback (Llama 2, Mistral 7B). A
splitting rule that llama.cpp has no name for is refused: the ids would silently differ.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, SpecialVocab, TokenType

from quantcheck.errors import ModelError

__all__ = ["describe_tokenizer", "pre_tokenizer_name"]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    f"{_CONTRACTIONS}|{_WORDS}|\\p{{N}}{{1,3}}|{_REST}": "llama-bpe",
    f"{_CONTRACTIONS}|{_WORDS}|\\p{{N}}|{_REST}": "qwen2",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}
"""Regular expressions of `Split` pre-tokenizers, and llama.cpp's names for them."""

# llama.cpp looks whole words up before merging under these names; the same rule without that has another name.
_WHOLE_WORDS = {"llama-bpe": "smaug-bpe", "tekken": None}

_SPACE = "\u2581"
_NO_SCORE = -1e9
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for how this byte-level tokenizer splits text, or None when it has none."""
    rule = tokenizer.get("pre_tokenizer") or {}
    steps = rule.get("pretokenizers", []) if rule.get("type") == "Sequence" else [rule]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    byte_level_splits = steps[-1].get("use_regex", True)
    before = steps[:-1]
    if not before:
        return "gpt-2" if byte_level_splits else None
    if len(before) > 1:
        return None
    first = before[0]
    if first.get("type") == "Digits":
        return "smollm" if first.get("individual_digits") and byte_level_splits else None
    if first.get("type") != "Split" or byte_level_splits or first.get("invert"):
        return None
    name = _SPLITS.get(first.get("pattern", {}).get("Regex", ""))
    if first.get("behavior") != "Isolated" or name is None:
        return None
    if name in _WHOLE_WORDS and not tokenizer["model"].get("ignore_merges"):
        return _WHOLE_WORDS[name]
    return name


def describe_tokenizer(writer: GGUFWriter, folder: Path, vocabulary: int) -> None:
    """Write the `tokenizer.*` keys for a model whose embedding has `vocabulary` rows; ModelError when it cannot be.

    Rows beyond the tokenizer's own ids become unused `[PADn]` tokens.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        model = tokenizer["model"]
        entries = dict(model["vocab"])
        added = list(tokenizer.get("added_tokens") or [])
        highest = max([*entries.values(), *(a["id"] for a in added)])
    except OSError as error:
        raise ModelError(f"{folder} has no tokenizer.json: save it with a fast tokenizer, or give a GGUF") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged or of an unknown form: fetch it again") from error
    if highest >= vocabulary:
        raise ModelError(f"{path} has token id {highest}, but the model's vocabulary has {vocabulary} rows")
    unknown = [k for k in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(k)]
    if model.get("type") != "BPE" or unknown:
        what = f"BPE with {unknown[0]}" if unknown else model.get("type")
        raise ModelError(f"{path}: tokenizer model {what} cannot be converted (only BPE): give a ready GGUF")
    if model.get("byte_fallback"):
        _sentencepiece(writer, path, tokenizer, entries, added, vocabulary)
    else:
        _byte_level(writer, path, tokenizer, entries, added, vocabulary)


def _byte_level(
    writer: GGUFWriter, path: Path, tokenizer: Any, entries: dict[str, int], added: list[Any], vocabulary: int
) -> None:
    name = pre_tokenizer_name(tokenizer)
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    if name is None or normalizer not in (None, "NFC"):
        raise ModelError(
            f"{path}: its pre-tokenizer or normalizer is not one that llama.cpp knows by name: give a ready GGUF"
        )
    tokens, types = _tokens(entries, added, vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _special(writer, path, vocabulary, merges=True)


def _sentencepiece(
    writer: GGUFWriter, path: Path, tokenizer: Any, entries: dict[str, int], added: list[Any], vocabulary: int
) -> None:
    prefix = _space_prefix(tokenizer)
    if prefix is None:
        raise ModelError(f"{path}: its normalizer is not SentencePiece's way with spaces: give a ready GGUF")
    tokens, types = _tokens(entries, added, vocabulary)
    for i, token in enumerate(tokens):
        if _BYTE.fullmatch(token):
            types[i] = TokenType.BYTE
    if (unknown := entries.get(tokenizer["model"].get("unk_token") or "")) is not None:
        types[unknown] = TokenType.UNKNOWN
    # llama.cpp merges the pair whose result has the highest score; tokenizer.json lists merges best first.
    scores = [_NO_SCORE] * vocabulary
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        made = entries.get(left + right)
        if made is not None and scores[made] == _NO_SCORE:
            scores[made] = -float(rank)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_add_space_prefix(prefix)
    _special(writer, path, vocabulary, merges=False)


def _space_prefix(tokenizer: Any) -> bool | None:
    """Whether text gets a space in front; None when spaces are not handled SentencePiece's way."""
    rule = tokenizer.get("normalizer")
    steps = (rule.get("normalizers", []) if rule.get("type") == "Sequence" else [rule]) if rule else []
    split = tokenizer.get("pre_tokenizer")
    if split is not None:
        known = split.get("type") == "Metaspace" and split.get("replacement", _SPACE) == _SPACE
        if steps or not known or split.get("split", True):
            return None
        return bool(split.get("prepend_scheme", "always") != "never")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepend = {"type": "Prepend", "prepend": _SPACE}
    if steps == [replace]:
        return False
    return True if steps == [prepend, replace] else None


def _tokens(entries: dict[str, int], added: list[Any], vocabulary: int) -> tuple[list[str], list[TokenType]]:
    tokens = [f"[PAD{i}]" for i in range(vocabulary)]
    types = [TokenType.UNUSED] * vocabulary
    for token, i in entries.items():
        tokens[i], types[i] = token, TokenType.NORMAL
    for entry in added:
        i, token = entry["id"], entry["content"]
        special = entry.get("special") or (token.startswith("<|") and token.endswith("|>"))
        tokens[i], types[i] = token, TokenType.CONTROL if special else TokenType.USER_DEFINED
    return tokens, types


def _special(writer: GGUFWriter, path: Path, vocabulary: int, merges: bool) -> None:
    try:
        special = SpecialVocab(path.parent, load_merges=merges, n_vocab=vocabulary)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"the tokenizer files beside {path} are damaged: fetch them again") from error
    if merges:
        # Without the key, llama.cpp adds BOS by the pre-tokenizer's name, whatever this tokenizer does.
        special.add_special_token.setdefault("bos", False)
    special.add_to_gguf(writer, quiet=True)
