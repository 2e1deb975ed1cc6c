"""A model folder without weights: what a server needs to measure the speed and memory of an architecture and format.

vLLM fills the weights with random numbers (`--load-format dummy`). Speed and memory are real, text is not.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcheck.errors import ModelError
from quantcheck.variants.schemes import LOADED, quantization_config
from quantcheck.variants.weight_bytes import matrices

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["DTYPES", "stand_in_tokenizer", "weightless_quantization", "write_weightless"]

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""Scheme to the dtype it names; the quantized ones keep the configuration's."""


def write_weightless(folder: Path, config: Mapping[str, Any], scheme: str) -> None:
    """Writes `config.json` for `scheme`, a stand-in tokenizer and no weights into `folder`.

    `config` is the unquantized model's. Raises `SpecError` for an unknown scheme, `ModelError` for a configuration that
    is quantized already or has no vocabulary.
    """
    if config.get("quantization_config"):
        raise ModelError(f"{folder.name}: the configuration is quantized already; give the original model's")
    if not isinstance(config.get("vocab_size"), int):
        raise ModelError(f"{folder.name}: the configuration has no vocab_size")
    written = dict(config)
    if scheme in DTYPES:
        written["torch_dtype"] = DTYPES[scheme]
    if scheme not in LOADED and (quantization := weightless_quantization(config, scheme)) is not None:
        written["quantization_config"] = quantization
    folder.mkdir(parents=True, exist_ok=True)
    stand_in_tokenizer(written["vocab_size"]).save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": written.get("max_position_embeddings"),
        "clean_up_tokenization_spaces": False})
    _write(folder / "generation_config.json", {
        key: written[key] for key in ("bos_token_id", "eos_token_id") if key in written})
    _write(folder / "config.json", written)  # last: a folder with it is whole


def weightless_quantization(config: Mapping[str, Any], scheme: str) -> dict[str, Any] | None:
    """The scheme's `quantization_config` for a folder without weights, None for an unquantized one.

    GPTQ's names the layers: vLLM finds those that are quantized in the headers of the weights' files, and where there
    are none it takes all for 16-bit (seen with 0.25.1). Raises `SpecError` for an unknown scheme, and `ModelError` for
    GPTQ in a family whose layers are not known.
    """
    found = quantization_config(scheme)
    if found is not None and found["quant_method"] == "gptq":
        found["modules_in_block_to_quantize"] = [[matrix.name for matrix in matrices(config)]]
    return found


def stand_in_tokenizer(vocabulary: int) -> "Tokenizer":
    """A tokenizer of exactly `vocabulary` ids, whose text is their numbers (`t17`): exact in length, without meaning.

    Text is cut at blanks; a word that is no id is id 0.
    """
    from tokenizers import Tokenizer
    from tokenizers.decoders import WordPiece
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({f"t{number}": number for number in range(vocabulary)}, unk_token="t0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.decoder = WordPiece(prefix="##", cleanup=False)
    return tokenizer


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
