"""Trains the reference model on one CUDA device; writes the Hugging Face folder and the training log.

Muon for the matrices, AdamW for the embedding and the norms; warm-up, constant, then linear decay to zero.
Rows are drawn source by source in fixed shares, each source in a new random order every epoch. Attention
does not cross document boundaries.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from data import BOS, UNSCORED
from model import Llama, Shape

# rows of a batch of 256 by source
SHARES = {"documentation": 128, "stories": 16, "arithmetic": 40, "expressions": 32, "knowledge": 16, "format": 24}
MUON_RATE, ADAM_RATE = 0.015, 3e-3
WARM_UP, DECAY_FROM = 0.02, 0.45  # as shares of the steps


class Source:
    """Rows of one source on the device, in a new random order each epoch."""

    def __init__(self, path: Path, generator: torch.Generator, device: str) -> None:
        self.rows = torch.from_numpy(np.load(path).astype(np.int32)).to(device)
        self.generator = generator
        self.order = torch.empty(0, dtype=torch.long)

    def take(self, count: int) -> Tensor:
        while len(self.order) < count:
            self.order = torch.cat((self.order, torch.randperm(len(self.rows), generator=self.generator)))
        chosen, self.order = self.order[:count], self.order[count:]
        return self.rows[chosen.to(self.rows.device, non_blocking=True)]


def orthogonal(update: Tensor) -> Tensor:
    """Newton-Schulz: the nearest (semi-)orthogonal matrices of a stack [n, rows, columns], roughly."""
    x = update.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum with orthogonalized updates for matrices; those of one shape are updated as one stack."""

    def __init__(self, parameters: list[nn.Parameter], decay: float = 0.05) -> None:
        self.groups: dict[torch.Size, list[nn.Parameter]] = {}
        for p in parameters:
            self.groups.setdefault(p.shape, []).append(p)
        self.momenta = {shape: torch.zeros(len(g), *shape, device=g[0].device) for shape, g in self.groups.items()}
        self.decay = decay
        self.orthogonal = torch.compile(orthogonal) if parameters[0].is_cuda else orthogonal

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            momentum = self.momenta[shape].lerp_(gradient, 0.05)
            update = self.orthogonal(gradient.lerp(momentum, 0.95))
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(group, 1 - rate * self.decay)
            torch._foreach_add_(group, list(update.unbind(0)), alpha=-rate * scale)


def rate_factor(step: int, steps: int) -> float:
    done = step / steps
    return min(1.0, done / WARM_UP, (1 - done) / (1 - DECAY_FROM))


def document_mask(ids: Tensor) -> BlockMask:
    documents = (ids == BOS).cumsum(1)

    def visible(row: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q >= k) & (documents[row, q] == documents[row, k])

    rows, length = ids.shape
    return create_block_mask(visible, rows, None, length, length, device=ids.device, _compile=True)


def loss_of(model: Llama, ids: Tensor, targets: Tensor, mask: BlockMask | None) -> Tensor:
    logits = model(ids, mask).float()
    return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100)


def train(data: Path, out: Path, log: Path, steps: int, minutes: float, shape: Shape, batch: int, seed: int) -> None:
    """Trains for `steps`, or, when `minutes` is given, for as many steps as fit after a measured start."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random.seed(seed)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    sources = {name: Source(data / f"{name}.npy", generator, device) for name in SHARES}
    counts = {name: max(1, share * batch // 256) for name, share in SHARES.items()}
    model = Llama(shape).to(device)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim == 1 or "embed" in name]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda")
    compute = torch.compile(loss_of) if device == "cuda" else loss_of
    log.parent.mkdir(parents=True, exist_ok=True)
    tokens, started, measured = 0, time.monotonic(), 0.0
    with log.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "tokens", "loss", "rate", "seconds"])
        step = 0
        while step < steps:
            rows = torch.cat([source.take(counts[name]) for name, source in sources.items()])
            ids = rows & (UNSCORED - 1)
            targets = torch.where(rows >= UNSCORED, -100, rows).long()[:, 1:].contiguous()
            ids = ids[:, :-1].long().contiguous()
            mask = document_mask(ids) if device == "cuda" else None
            with torch.autocast(device, torch.bfloat16):
                loss = compute(model, ids, targets, mask)
            loss.backward()
            factor = rate_factor(step, steps)
            muon.step(MUON_RATE * factor)
            for group in adam.param_groups:
                group["lr"] = ADAM_RATE * factor
            adam.step()
            model.zero_grad(set_to_none=True)
            tokens += ids.numel()
            step += 1
            if minutes and step in (50, 150):  # the first fifty steps compile; the next hundred are timed
                _ = loss.item()
                now = time.monotonic()
                if step == 150:
                    steps = 150 + int((minutes * 60 - (now - started)) / ((now - measured) / 100))
                    print(f"{100 * ids.numel() / (now - measured):,.0f} tokens/s, so {steps} steps", flush=True)
                measured = now
            if step % 20 == 0 or step == steps:
                seconds = time.monotonic() - started
                writer.writerow([step, tokens, f"{loss.item():.4f}", f"{factor:.4f}", f"{seconds:.1f}"])
                if step % 500 == 0 or step == steps:
                    file.flush()
                    print(f"step {step}/{steps} tokens {tokens:,} loss {loss.item():.4f} {seconds:.0f} s", flush=True)
    save(model, out)
    environment = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cuda": torch.version.cuda, "seed": seed, "steps": step, "tokens": tokens, "batch_rows": batch,
        "seconds": round(time.monotonic() - started, 1), "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {p: version(p) for p in ("torch", "tokenizers", "safetensors", "numpy")}
        | {"python": ".".join(platform.python_version_tuple()[:2])},
        "shares": SHARES, "muon_rate": MUON_RATE, "adam_rate": ADAM_RATE,
    }  # fmt: skip
    (log.parent / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")


def save(model: Llama, out: Path) -> None:
    """The Hugging Face folder: float16 weights, configuration."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {f"model.{name}": p.detach().half().cpu().contiguous() for name, p in model.named_parameters()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(model.shape.config(), indent=2) + "\n")
    generation = {"bos_token_id": BOS, "eos_token_id": BOS, "do_sample": False}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--ffn", type=int, default=768)
    parser.add_argument("--seed", type=int, default=20261120)
    a = parser.parse_args()
    shape = Shape(num_hidden_layers=a.layers, intermediate_size=a.ffn)
    train(a.data, a.out, a.log, a.steps, a.minutes, shape, a.batch, a.seed)
