"""Does quantization do graded damage? Scores the model again with weights from llama.cpp's own quantizer.

Writes an F16 GGUF, runs `llama-quantize` for each type, turns the tensors back into floats with `gguf` and
evaluates those. This is the damage to the weights alone; llama.cpp's own arithmetic is measured by the
package. It is how the difficulty of the items was set, not a result of quantcheck.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray

import evaluate
import tokenizer as bpe
from model import Llama

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
    return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rotate-half order to the adjacent-pair order that llama.cpp's `llama` architecture expects."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def halved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def heads_of(model: Llama, name: str) -> int:
    if "q_proj" in name:
        return model.shape.num_attention_heads
    return model.shape.num_key_value_heads if "k_proj" in name else 0


def write_f16(model: Llama, folder: Path, path: Path) -> None:
    shape = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    data = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(data["vocab"], key=data["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i == 0 else 1 for i in range(len(tokens))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in data["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)
    for name, parameter in model.named_parameters():
        weight = parameter.detach().float().cpu().numpy()
        if heads_of(model, name):
            weight = interleaved(weight, heads_of(model, name))
        writer.add_tensor(gguf_name(name), weight.astype(np.float16) if weight.ndim == 2 else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_into(model: Llama, path: Path) -> None:
    """Replaces the model's weights by the dequantized tensors of a GGUF file."""
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            tensor = tensors[gguf_name(name)]
            weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            weight = weight.reshape(parameter.shape)
            if heads_of(model, name):
                weight = halved(weight, heads_of(model, name))
            parameter.copy_(torch.from_numpy(weight))


def ladder(folder: Path, quantizer: str, types: list[str], wikitext: Path | None) -> dict[str, object]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens = bpe.load(folder)
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "f16.gguf"
        write_f16(evaluate.load(folder, "cpu"), folder, source)
        for kind in types:
            path = source
            if kind != "F16":
                path = Path(scratch) / f"{kind}.gguf"
                subprocess.run([quantizer, source, path, kind], check=True, capture_output=True)
            model = evaluate.load(folder, "cpu")
            read_into(model, path)
            found = evaluate.evaluate(model.to(device), tokens, wikitext)
            results[kind] = {k: v for k, v in found.items() if not k.endswith("_misses")}
            results[kind]["file_bytes"] = path.stat().st_size  # type: ignore[index]
            print(kind, evaluate.brief(found), flips(results["F16"], found), flush=True)
    return results


def flips(base: object, other: object) -> dict[str, list[int]]:
    """For each skill [right before and wrong now, wrong before and right now]."""
    pairs = {s: zip(base["per_item"][s], other["per_item"][s], strict=True) for s in base["per_item"]}  # type: ignore[index]
    changes = {s: list(p) for s, p in pairs.items()}
    return {s: [c.count(("1", "0")), c.count(("0", "1"))] for s, c in changes.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=evaluate.SHIPPED / "model")
    parser.add_argument("--quantizer", default="llama-quantize")
    parser.add_argument("--types", default="F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q4_0,Q3_K_M,Q3_K_S,Q2_K")
    parser.add_argument("--wikitext", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps(ladder(a.model, a.quantizer, a.types.split(","), a.wikitext), indent=1) + "\n")
