"""How many bytes a model's weights take in a number format, from its configuration alone.

Counted is what a server loads: matrices of the linear layers in the scheme's format with their scales (and zero
points), embeddings, head, norms and biases in the model's own dtype.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quantcheck.errors import ModelError

__all__ = ["Matrix", "matrices", "read_bytes", "weight_bytes"]

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
SCALE_BYTES = {"torch.float8_e4m3fn": 1, "torch.uint8": 1}


@dataclass(frozen=True, slots=True)
class Matrix:
    """One linear layer, `rows` x `columns` (out x in), that a model holds `count` times."""

    name: str
    rows: int
    columns: int
    count: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.count


def matrices(config: Mapping[str, Any]) -> Iterator[Matrix]:
    """The linear layers of a Llama-like `config.json` but for the head. Raises `ModelError` for another family."""
    if config.get("model_type") not in ("llama", "mistral", "qwen2", "qwen3"):
        raise ModelError(f"model_type {config.get('model_type')!r}: its weights cannot be counted "
                         "(llama, mistral, qwen2 and qwen3 can)")
    hidden, layers, feed_forward = (config[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or hidden // heads
    biased = config["model_type"] == "qwen2" or bool(config.get("attention_bias"))
    yield Matrix("q_proj", heads * head, hidden, layers, biased)
    yield Matrix("k_proj", kv_heads * head, hidden, layers, biased)
    yield Matrix("v_proj", kv_heads * head, hidden, layers, biased)
    yield Matrix("o_proj", hidden, heads * head, layers, bool(config.get("attention_bias")))
    yield Matrix("gate_proj", feed_forward, hidden, layers, bool(config.get("mlp_bias")))
    yield Matrix("up_proj", feed_forward, hidden, layers, bool(config.get("mlp_bias")))
    yield Matrix("down_proj", hidden, feed_forward, layers, bool(config.get("mlp_bias")))


def weight_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of all weights of `config.json`, in the format of its `quantization_config` where it has one."""
    wide = DTYPE_BYTES.get(str(config.get("torch_dtype") or config.get("dtype") or "float32"), 4)
    quantization = config.get("quantization_config")
    total: float = 0.0
    for matrix in matrices(config):
        total += matrix.count * (_matrix_bytes(matrix, quantization, wide) + matrix.bias * matrix.rows * wide)
    hidden, layers, vocabulary = (int(config[key]) for key in ("hidden_size", "num_hidden_layers", "vocab_size"))
    norms: int = (2 * layers + 1) * hidden
    if config["model_type"] == "qwen3":
        norms += 2 * layers * (config.get("head_dim") or hidden // config["num_attention_heads"])
    tables = 1 if config.get("tie_word_embeddings") else 2
    return round(total + wide * (norms + tables * vocabulary * hidden))


def read_bytes(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int], int]:
    """(sizes as `stats.roofline.Shape` reads them, bytes as a recipe's `read_bytes` has them, number of weights).

    With tied weights the one table is the head, and `embedding` is 0. Raises `ModelError` for another family, a format
    whose bytes are not known, and a configuration that cannot be.
    """
    try:
        found = _read_bytes(config)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelError(f"config.json: its weights cannot be counted ({type(error).__name__}: {error})") from error
    if found[2] < 1:
        raise ModelError("config.json: its weights cannot be counted (there are none)")
    return found


def _read_bytes(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int], int]:
    tied = bool(config.get("tie_word_embeddings"))
    wide = DTYPE_BYTES.get(str(config.get("torch_dtype") or config.get("dtype") or "float32"), 4)
    hidden, vocabulary, heads = (int(config[key]) for key in ("hidden_size", "vocab_size", "num_attention_heads"))
    table = wide * vocabulary * hidden
    sizes = {
        "layers": int(config["num_hidden_layers"]), "hidden": hidden, "feed_forward": int(config["intermediate_size"]),
        "heads": heads, "kv_heads": int(config.get("num_key_value_heads") or heads),
        "head_size": int(config.get("head_dim") or hidden // heads), "vocabulary": vocabulary, "tied": tied,
    }
    tables = 1 if tied else 2
    reads = {"layers": weight_bytes(config) - tables * table, "head": table, "embedding": 0 if tied else table}
    return sizes, reads, sum(matrix.parameters for matrix in matrices(config)) + tables * vocabulary * hidden


def _matrix_bytes(matrix: Matrix, quantization: Mapping[str, Any] | None, wide: int) -> float:
    size = matrix.rows * matrix.columns
    if not quantization:
        return size * wide
    if quantization["quant_method"] in ("awq", "gptq"):
        groups = size / quantization["group_size"]
        # Packed zero points are stored even where the format is symmetric.
        return float((size + groups) * quantization["bits"] / 8 + groups * 2)
    if quantization["quant_method"] == "bitsandbytes":
        # A float32 scale for each row; or for each 64 numbers, beside the 16 numbers that four bits stand for.
        return size + 4.0 * matrix.rows if quantization.get("load_in_8bit") else size / 2 + size / 64 * 4 + 16 * 4
    if quantization["quant_method"] == "torchao":
        # A float32 scale and an INT8 zero point for each row, or a scale and a zero point for each group.
        group = quantization.get("group_size")
        return size / 2 + size / group * 2 * wide if group else float(size + matrix.rows * 5)
    scheme = next(iter(quantization["config_groups"].values()))["weights"]
    bits, strategy = scheme["num_bits"], scheme["strategy"]
    if strategy == "channel":
        scales = matrix.rows * (4 if bits == 8 else wide)
    elif strategy == "block":
        high, broad = scheme["block_structure"]
        scales = -(-matrix.rows // high) * -(-matrix.columns // broad) * 4
    else:
        scales = size / scheme["group_size"] * SCALE_BYTES.get(str(scheme.get("scale_dtype")), wide)
    return float(size * bits / 8 + scales)
