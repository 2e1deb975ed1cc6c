"""A Llama's forward pass in numpy float64, written from the architecture's definition: what llama.cpp is held to."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.ggml.tiny import TinyShape

__all__ = ["forward", "log_softmax"]

Float64 = NDArray[np.float64]


def forward(weights: Mapping[str, NDArray[np.float32]], shape: TinyShape, tokens: NDArray[np.int64]) -> Float64:
    """Logits [tokens, vocabulary] of one sequence that starts at position 0."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}
    count, width = len(tokens), shape.head_dim
    x = w["token_embd.weight"][tokens]
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        h = _rms_norm(x, w[block + "attn_norm.weight"], shape.eps)
        q = _rope((h @ w[block + "attn_q.weight"].T).reshape(count, shape.heads, width), shape.theta)
        k = _rope((h @ w[block + "attn_k.weight"].T).reshape(count, shape.kv_heads, width), shape.theta)
        v = (h @ w[block + "attn_v.weight"].T).reshape(count, shape.kv_heads, width)
        share = shape.heads // shape.kv_heads  # grouped queries: neighbouring query heads read one key head
        k, v = np.repeat(k, share, axis=1), np.repeat(v, share, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(width)
        scores[:, np.triu(np.ones((count, count), dtype=bool), 1)] = -np.inf
        probability = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probability /= probability.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", probability, v).reshape(count, -1)
        x = x + mixed @ w[block + "attn_output.weight"].T
        h = _rms_norm(x, w[block + "ffn_norm.weight"], shape.eps)
        gate = h @ w[block + "ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[block + "ffn_up.weight"].T)) @ w[block + "ffn_down.weight"].T
    h = _rms_norm(x, w["output_norm.weight"], shape.eps)
    logits: Float64 = h @ w["token_embd.weight" if shape.tied else "output.weight"].T
    return logits


def log_softmax(logits: NDArray[np.floating]) -> Float64:
    exact = logits.astype(np.float64)
    exact = exact - exact.max(axis=-1, keepdims=True)
    result: Float64 = exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    return result


def _rms_norm(x: Float64, weight: Float64, eps: float) -> Float64:
    normed: Float64 = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight
    return normed


def _rope(x: Float64, theta: float) -> Float64:
    """Rotates adjacent pairs (0,1), (2,3) ... of each head by position x theta^(-2i/width)."""
    count, _, width = x.shape
    angle = np.arange(count)[:, None] * theta ** (-np.arange(0, width, 2) / width)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2], out[..., 1::2] = even * cos - odd * sin, even * sin + odd * cos
    return out
