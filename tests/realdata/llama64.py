"""A Llama once more, in plain float64 numpy: one sequence at a time, no cache, no batch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.variants.shapes import read_config_file
from quantcheck.variants.weights import Weights

__all__ = ["Llama64"]

Float64 = NDArray[np.float64]
ROWS = 128


class Llama64:
    """The model of a Hugging Face folder; `half`: its matrices rounded to float16 first, as a GGUF file has them."""

    def __init__(self, folder: Path, *, half: bool = False) -> None:
        self._config = read_config_file(folder / "config.json")
        weights = Weights(folder)
        self._weights: dict[str, Float64] = {}
        for name in weights.names:
            values: NDArray[Any] = weights.float32(name)
            if half and values.ndim > 1:
                values = values.astype(np.float16)
            self._weights[name] = values.astype(np.float64)

    def nll(self, tokens: NDArray[Any], scored: int) -> Float64:
        """-log p in nats of the last `scored` tokens, each from those before it."""
        last = self._hidden(tokens)[-scored - 1 : -1]
        head = self._weights.get("lm_head.weight", self._weights["model.embed_tokens.weight"])
        found = []
        for row, target in zip(last, tokens[-scored:].tolist(), strict=True):
            logits = head @ row
            top = logits.max()
            found.append(top + np.log(np.exp(logits - top).sum()) - logits[target])
        return np.array(found)

    def _hidden(self, tokens: NDArray[Any]) -> Float64:
        config, get = self._config, self._weights.__getitem__
        heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
        hidden = get("model.embed_tokens.weight")[tokens]
        size = config["hidden_size"] // heads
        theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        angles = np.outer(np.arange(len(tokens)), theta ** (-np.arange(0, size, 2) / size))
        later = np.triu(np.ones((len(tokens), len(tokens)), dtype=bool), 1)
        for layer in range(config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            x = self._norm(hidden, f"{at}.input_layernorm.weight")
            q, k, v = (x @ get(f"{at}.self_attn.{name}_proj.weight").T for name in "qkv")
            out = np.empty((len(tokens), heads * size))
            for head in range(heads):
                mine, theirs = slice(head * size, (head + 1) * size), head * shared // heads
                other = slice(theirs * size, (theirs + 1) * size)
                queries, keys = _rotated(q[:, mine], angles), _rotated(k[:, other], angles)
                for first in range(0, len(tokens), ROWS):  # a whole square of scores is more than the caches hold
                    rows, seen = slice(first, first + ROWS), slice(first + ROWS)
                    scores = queries[rows] @ keys[seen].T / np.sqrt(size)
                    scores[later[rows, seen]] = -np.inf
                    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
                    out[rows, mine] = weight / weight.sum(axis=1, keepdims=True) @ v[seen, other]
            hidden = hidden + out @ get(f"{at}.self_attn.o_proj.weight").T
            x = self._norm(hidden, f"{at}.post_attention_layernorm.weight")
            gate, up = (x @ get(f"{at}.mlp.{name}_proj.weight").T for name in ("gate", "up"))
            hidden = hidden + (gate / (1 + np.exp(-gate)) * up) @ get(f"{at}.mlp.down_proj.weight").T
        return self._norm(hidden, "model.norm.weight")

    def _norm(self, x: Float64, name: str) -> Float64:
        scale = np.sqrt((x * x).mean(axis=1, keepdims=True) + self._config["rms_norm_eps"])
        return x / scale * self._weights[name]


def _rotated(x: Float64, angles: Float64) -> Float64:
    first, second = np.split(x, 2, axis=1)
    return np.concatenate([first * np.cos(angles) - second * np.sin(angles),
                           second * np.cos(angles) + first * np.sin(angles)], axis=1)
