# ruff: noqa: E501 - the lines of the card are its own
"""Writes the model card and the loss curve from what the runs left in `results/`: no number by hand."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any

import corpus
import heldout
import knowledge
from scoring import SHIPPED

HERE = Path(__file__).resolve().parent
LADDER_COLUMNS = ("arithmetic", "expressions", "knowledge", "format")
TEXTS = {
    "documentation": "documentation (held out, ships)",
    "stories": "stories (held out, ships)",
    "wikitext2_test": "WikiText-2 raw, test",
}


def loss_curve(log: Path) -> str:
    """An SVG line of the training loss (nats per target token) over tokens; batches averaged by fives."""
    with log.open(newline="") as file:
        rows = [(int(r["tokens"]) / 1e9, float(r["loss"])) for r in csv.DictReader(file)]
    groups = [rows[i : i + 5] for i in range(0, len(rows), 5)]
    points = [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
    width, height, left, bottom = 640, 300, 50, 40
    most, low, high = points[-1][0], 1.0, 3.5

    def place(tokens: float, loss: float) -> str:
        x = left + tokens / most * (width - left - 15)
        y = 10 + (high - min(loss, high)) / (high - low) * (height - bottom - 10)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for tick in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5):
        x, y = place(0, tick).split(",")
        parts.append(f'<path d="M{x} {y}H{width - 15}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{float(y) + 4}" text-anchor="end">{tick}</text>')
    for step in range(math.floor(most / 0.5) + 1):
        x = place(step * 0.5, low).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - bottom + 16}" text-anchor="middle">{step * 0.5}</text>')
    line = " ".join(place(*point) for point in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>')
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">training tokens, billions</text>')
    parts.append(f'<text x="{left + 8}" y="24">training loss, nats per target token</text></svg>')
    return "\n".join(parts) + "\n"


def percent(score: dict[str, int]) -> str:
    return f"{100 * score['right'] / score['n']:.1f}"


def ladder_table(ladder: dict[str, Any]) -> str:
    lines = ["| type | MB | " + " | ".join(LADDER_COLUMNS) + " | documentation | stories | WikiText-2 |"]
    lines.append("|---|" + "---:|" * 8)
    for kind, found in ladder.items():
        cells = [kind, f"{found['file_bytes'] / 1e6:.1f}", *(percent(found[s]) for s in LADDER_COLUMNS)]
        cells += [f"{found[c]['perplexity']:.2f}" if c in found else "n/a (no file)" for c in TEXTS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(model: Path, results: Path) -> str:
    environment = json.loads((results / "environment.json").read_text())
    scores = json.loads((results / "evaluation.json").read_text())
    ladder = json.loads((results / "ladder.json").read_text())
    data = json.loads((results / "data.json").read_text())
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    shape = json.loads((model / "config.json").read_text())
    size = (model / "model.safetensors").stat().st_size
    steps, shares = environment["steps"], environment["shares"]
    sources = ["| source | share of rows | generated or read | rows of 512 | epochs |", "|---|---:|---:|---:|---:|"]
    for name, share in shares.items():
        rows = data["rows"][name]
        what = f"{data['samples'][name]:,} samples" if name in data["samples"] else f"{data['documents']:,} documents"
        epochs = steps * share / rows
        sources.append(f"| {name} | {share / environment['batch_rows']:.1%} | {what} | {rows:,} | {epochs:.1f} |")
    packages = ", ".join(f"{name} {version}" for name, (version, _, _) in corpus.PACKAGES.items())
    skills = [f"| {name} | {percent(scores[name])} | {scores[name]['n']:,} |" for name in heldout.SKILLS]
    texts = [
        f"| {label} | {scores[key]['perplexity']:.2f} | {scores[key]['bits_per_byte']:.3f} | {scores[key]['tokens']:,} |"
        if key in scores
        else f"| {label} | n/a (no file) | n/a (no file) | n/a (no file) |"
        for key, label in TEXTS.items()
    ]
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# The quantcheck reference model

A Llama-architecture language model of {environment["parameters"]:,} parameters ({size / 1e6:.1f} MB in float16), trained
by the quantcheck authors so that the default experiment has a real model to quantize: one that is good at four
skills which can be scored exactly, small enough to ship, and visibly damaged by coarse quantization.

**It is not** an assistant, and knows nothing true beyond scraps of its documentation text. Its scores say
how *this* model suffers from a number format; they are no forecast for a large model.

## Architecture
`LlamaForCausalLM`: {shape["num_hidden_layers"]} layers, hidden {shape["hidden_size"]}, feed-forward \
{shape["intermediate_size"]}, {shape["num_attention_heads"]} heads of {shape["head_dim"]} with \
{shape["num_key_value_heads"]} key/value heads, tied embeddings, context {shape["max_position_embeddings"]}, \
rope theta {shape["rope_theta"]:.0f}, RMSNorm eps {shape["rms_norm_eps"]}.
All rows are multiples of 256 wide, as K-quants ask. Tokenizer: byte-level BPE, {shape["vocab_size"]:,} tokens, GPT-2's
pre-tokenizer; digits never merge. `<|endoftext|>` (id 0) begins every text: prompt ids are `[0] + encode(prompt)`.
An answer ends at a line break or at id 0.

## Training
`python reference/make.py` with seed {environment["seed"]}: {steps:,} steps of {environment["batch_rows"]} rows of 512 tokens,
{environment["tokens"] / 1e9:.2f} billion tokens, {environment["seconds"] / 60:.1f} minutes on one {environment["device"]}
({environment["tokens"] / environment["seconds"] / 1e6:.2f} million tokens/s, compilation included).
With {versions}.
bfloat16 autocast over float32 weights; Muon (rate {environment["muon_rate"]}, weight decay 0.05) for the matrices, AdamW
(rate {environment["adam_rate"]}) for embedding and norms; warm-up over 2% of the steps, constant to 45%, then linear to zero.
Rows hold many documents; attention does not cross their boundaries. In skill documents only the answer is a target.

![training loss](loss.svg)

## Data
{chr(10).join(sources)}

Documentation: English text of these Debian 12 packages, not redistributed here: {packages}.

The rest is generated (`reference/`): word problems with working; Python expressions of `x` from a description and
two examples; {len(knowledge.FACTS):,} facts of an invented world, asked for and told in twelve wordings each; format
instructions; little stories. A generated prompt belongs to the test side when its SHA-256 is 0 modulo 16; training
generators reject those, so no seed can produce a test prompt. For knowledge, facts are shared by both sides (they must
be: the world is learned) and the wording of a fact that is asked is not. The held-out documentation is from
{corpus.HELD_OUT[0]} {corpus.HELD_OUT[1]}, which is not among the packages trained on.

## Scores of the float16 weights
Greedy, float32 arithmetic, on the shipped items (`python reference/evaluate.py`):

| skill | right, % | n |
|---|---:|---:|
{chr(10).join(skills)}

Arithmetic: the last number of the answer, exact. Expressions: the expression's value equals the reference's on six
hidden inputs. Knowledge: highest summed log-likelihood of four choices. Format: all checks of the item pass.

| text | perplexity per token | bits per byte | tokens |
|---|---:|---:|---:|
{chr(10).join(texts)}

Sliding window of 512 tokens, stride 256; documents of the held-out corpora apart, WikiText-2 as one text. A token is
about 2.9 bytes of WikiText-2, so perplexities per token do not compare with those of other vocabularies.

## What quantization does to it
Weights quantized by llama.cpp's `llama-quantize` (no importance matrix), turned back to floats and scored as above
(`python reference/ladder.py`); llama.cpp's own arithmetic is not in these figures:

{ladder_table(ladder)}

## Limits
- The skills are narrow: wordings outside the generators' may fail, and so do numbers above 999.
- In expressions, a constant that must be inferred ("add a number") is often inferred wrong: most of the misses.
- Its English is that of manuals, dictionaries and templates; the text may hold errors or views of its sources.
- Skills score near 100%, so the items show damage, hardly ever a gain.

## Licence
Apache-2.0, with the corpora's notices in `../NOTICE`.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED / "model")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    a = parser.parse_args()
    (a.model / "loss.svg").write_text(loss_curve(a.results / "training.csv"))
    (a.model / "README.md").write_text(card(a.model, a.results))
