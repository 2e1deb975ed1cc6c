"""Tiny Hugging Face folders with random weights and small trained tokenizers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXT = [
    "The quick brown fox jumps over the lazy dog; it isn't tired, and we'll see 1234567 more of them.",
    "  Spaces   and\ttabs\n\nand lines:\r\n  don't matter?  Yes, they DO -- (really) they've mattered since 1999!",
    "Grüße aus Köln: 3,14 € für 12 Äpfel, naïve café, 東京 と 大阪, emoji 🙂🙃, and x = y**2 + 3*z // 4.",
    "def add(a, b):\n    return a + b  # I'M SURE THAT'S RIGHT, YOU'LL SEE\n",
] * 3

SPECIAL = ["<|begin|>", "<|end|>"]


def byte_level(kind: str = "gpt-2", vocabulary: int = 400) -> Tokenizer:
    """A byte-level BPE tokenizer trained on TEXT; `kind` is llama.cpp's name for how it splits."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    split = {"llama-bpe": LLAMA_3, "smaug-bpe": LLAMA_3, "qwen2": QWEN_2, "tekken": TEKKEN}.get(kind)
    steps: list[Any] = [level]
    if split:
        steps = [pre_tokenizers.Split(Regex(split), behavior="isolated"), level]
    elif kind == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), level]
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind in ("llama-bpe", "tekken")))
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def sentencepiece(vocabulary: int = 420) -> Tokenizer:
    """A BPE tokenizer with byte fallback as Llama 2's: unk, bos, eos, 256 bytes, then merges."""
    special = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    trained.normalizer = normalizers.Sequence(spaces)
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special + bytes_, show_progress=False)
    trained.train_from_iterator(TEXT[:2], trainer)
    state = json.loads(trained.to_str())
    # The trainer makes the byte tokens special, and so matched in plain text: only the first three are.
    state["added_tokens"] = [a for a in state["added_tokens"] if a["content"] in special]
    state["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    return Tokenizer.from_str(json.dumps(state))


def config(kind: str = "llama", **changes: Any) -> dict[str, Any]:
    """A config.json of two layers; `changes` replace or add keys, None takes one out."""
    made: dict[str, Any] = {
        "architectures": ["ForCausalLM"],
        "model_type": kind,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 416,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    }
    made.update(changes)
    return {k: v for k, v in made.items() if v is not None}


def tensors(config: dict[str, Any], seed: int = 0, biases: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Random float32 tensors for `config`, by Hugging Face's names; `biases` names linear layers that have one."""
    rng = np.random.default_rng(seed)
    hidden, ffn, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    queries, keys = heads * size, config["num_key_value_heads"] * size

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def vector(length: int, middle: float) -> np.ndarray:
        return (middle + 0.2 * rng.standard_normal(length)).astype(np.float32)

    out = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden) * 8}
    out["model.norm.weight"] = vector(hidden, 1)
    for i in range(config["num_hidden_layers"]):
        shapes = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }
        for name, (rows, columns) in shapes.items():
            out[f"model.layers.{i}.{name}.weight"] = matrix(rows, columns)
            if name.split(".")[1] in biases:
                out[f"model.layers.{i}.{name}.bias"] = vector(rows, 0)
        norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
        if config["model_type"] == "qwen3":
            norms |= {"self_attn.q_norm": size, "self_attn.k_norm": size}
        for name, length in norms.items():
            out[f"model.layers.{i}.{name}.weight"] = vector(length, 1)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = matrix(config["vocab_size"], hidden) * 2
    return out


def save(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, np.ndarray],
    tokenizer: Tokenizer | None = None,
    *,
    stored_as: str = "F32",
    shards: int = 1,
) -> Path:
    """Write the folder as transformers' `save_pretrained` does; `stored_as` is F32, F16 or BF16."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    if stored_as == "BF16":
        _save_bfloat16(folder / "model.safetensors", weights)
        return folder
    stored = {n: v.astype({"F32": np.float32, "F16": np.float16}[stored_as]) for n, v in weights.items()}
    if shards == 1:
        save_file(stored, folder / "model.safetensors")
        return folder
    names = sorted(stored)
    files = {f"model-{i + 1:05}-of-{shards:05}.safetensors": names[i::shards] for i in range(shards)}
    for file, part in files.items():
        save_file({n: stored[n] for n in part}, folder / file)
    index = {"metadata": {}, "weight_map": {n: file for file, part in files.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _save_bfloat16(file: Path, weights: dict[str, np.ndarray]) -> None:
    """numpy has no bfloat16: the upper half of each float32, and the header by hand."""
    header: dict[str, Any] = {}
    data = b""
    for name, values in weights.items():
        bits = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        where = [len(data), len(data) + len(bits)]
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": where}
        data += bits
    table = json.dumps(header).encode()
    file.write_bytes(len(table).to_bytes(8, "little") + table + data)
