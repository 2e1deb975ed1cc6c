"""Scores a model folder in PyTorch: the four skills on the shipped items, perplexity on the corpora.

Greedy answers, fp32 arithmetic on the float16 weights. The prompt's ids are the end token and the encoded
prompt; an answer ends at a line break or the end token. Perplexity slides a window of 512 tokens by 256
and counts each token once, with as much context as its window gives.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

import tokenizer as bpe
from data import BOS
from heldout import SKILLS
from model import Llama, Shape
from scoring import SHIPPED, answers, expressions

Item = dict[str, object]
WINDOW, STRIDE, NEW_TOKENS = 512, 256, 56


def load(folder: Path, device: str) -> Llama:
    config = json.loads((folder / "config.json").read_text())
    model = Llama(Shape(**{name: config[name] for name in Shape.__dataclass_fields__}))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): w.float() for name, w in weights.items()})
    return model.to(device).eval()


def items(skill: str) -> list[Item]:
    lines = (SHIPPED / "skills" / f"{skill}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@torch.no_grad()
def generate(model: Llama, tokens: Tokenizer, prompts: list[str]) -> list[str]:
    """Greedy answers. Rows are padded on the right, which causal attention never sees."""
    device = model.cos.device
    encoded = [[BOS, *tokens.encode(p).ids] for p in prompts]
    longest = max(map(len, encoded))
    ids = torch.zeros(len(prompts), longest + NEW_TOKENS, dtype=torch.long, device=device)
    for row, prompt in enumerate(encoded):
        ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
    ends = torch.tensor([len(p) for p in encoded], device=device)
    starts = ends.clone()
    newline = tokens.encode("\n").ids[0]
    open_rows = torch.ones(len(prompts), dtype=torch.bool, device=device)
    every = torch.arange(len(prompts), device=device)
    for _ in range(NEW_TOKENS):
        hidden = model.hidden(ids[:, : int(ends.max())])[every, ends - 1]
        choice = functional.linear(hidden, model.embed_tokens.weight).argmax(-1)
        ids[every[open_rows], ends[open_rows]] = choice[open_rows]
        ends += open_rows
        open_rows &= (choice != newline) & (choice != BOS)
        if not open_rows.any():
            break
    spans = zip(ids.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return [tokens.decode([t for t in row[a:b] if t != BOS]) for row, a, b in spans]


@torch.no_grad()
def choose(model: Llama, tokens: Tokenizer, rows: list[Item]) -> list[int]:
    """The choice with the highest summed log-likelihood, for each item."""
    device = model.cos.device
    best = []
    for item in rows:
        prompt = [BOS, *tokens.encode(str(item["prompt"])).ids]
        choices = [tokens.encode(c).ids for c in item["choices"]]  # type: ignore[attr-defined]
        length = len(prompt) + max(map(len, choices))
        ids = torch.zeros(len(choices), length, dtype=torch.long)
        for row, choice in enumerate(choices):
            ids[row, : len(prompt) + len(choice)] = torch.tensor(prompt + choice)
        logs = model(ids.to(device)).log_softmax(-1)[:, len(prompt) - 1 : -1].cpu()
        sums = [float(logs[row, range(len(c)), c].sum()) for row, c in enumerate(choices)]
        best.append(max(range(len(sums)), key=sums.__getitem__))
    return best


def right(skill: str, item: Item, answer: str) -> bool:
    """Whether a generated answer counts."""
    if skill == "arithmetic":
        return bool(answers.final_number(answer) == item["answer"])
    if skill == "expressions":
        return bool(expressions.agrees(answers.first_line(answer), item["reference"], item["inputs"]))
    return all(answers.check_format(answer, item["checks"]))


def perplexity(model: Llama, tokens: Tokenizer, texts: list[str]) -> dict[str, float]:
    nats, scored, size = 0.0, 0, 0
    for text in texts:
        ids = torch.tensor([BOS, *tokens.encode(text).ids], device=model.cos.device)
        total, count = slide(model, ids)
        nats, scored, size = nats + total, scored + count, size + len(text.encode())
    return {"perplexity": math.exp(nats / scored), "bits_per_byte": nats / math.log(2) / size, "tokens": scored}


@torch.no_grad()
def slide(model: Llama, ids: Tensor) -> tuple[float, int]:
    """Summed negative log-likelihood (nats) of all tokens but the first, and their number."""
    last = max(0, -(-(len(ids) - WINDOW) // STRIDE))
    starts = [i * STRIDE for i in range(last + 1)]
    nats = 0.0
    for i in range(0, len(starts), 32):
        windows = [ids[start : start + WINDOW] for start in starts[i : i + 32]]
        padded = torch.nn.utils.rnn.pad_sequence(windows, batch_first=True)
        targets = padded[:, 1:].clone()
        for row, (start, window) in enumerate(zip(starts[i:], windows, strict=False)):
            targets[row, len(window) - 1 :] = -100
            if start:  # what the window before has scored is context here
                targets[row, : WINDOW - STRIDE - 1] = -100
        logits = model(padded[:, :-1])
        nats += float(functional.cross_entropy(logits.transpose(1, 2), targets, reduction="sum").double())
    return nats, len(ids) - 1


def evaluate(model: Llama, tokens: Tokenizer, wikitext: Path | None, limit: int = 1000) -> dict[str, object]:
    """Everything that the model card states; `per_item` holds one 0 or 1 for each item, in file order."""
    result: dict[str, object] = {}
    per_item: dict[str, str] = {}
    for skill in SKILLS:
        rows = items(skill)[:limit]
        if skill == "knowledge":
            marks = [c == item["gold"] for c, item in zip(choose(model, tokens, rows), rows, strict=True)]
        else:
            texts = generate(model, tokens, [str(item["prompt"]) for item in rows])
            marks = [right(skill, item, text) for item, text in zip(rows, texts, strict=True)]
            result[f"{skill}_misses"] = [[i["prompt"], t] for i, t, m in zip(rows, texts, marks, strict=True) if not m][
                :12
            ]
        result[skill] = {"n": len(marks), "right": sum(marks)}
        per_item[skill] = "".join("1" if m else "0" for m in marks)
    for name in ("documentation", "stories"):
        lines = (SHIPPED / "corpora" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        result[name] = perplexity(model, tokens, [json.loads(line)["text"] for line in lines])
    if wikitext is not None and wikitext.exists():
        result["wikitext2_test"] = perplexity(model, tokens, [wikitext.read_text(encoding="utf-8")])
    result["per_item"] = per_item
    return result


def brief(result: dict[str, object]) -> str:
    shown = {s: result[s]["right"] for s in SKILLS}  # type: ignore[index]
    shown |= {c: round(v["perplexity"], 3) for c, v in result.items() if isinstance(v, dict) and "perplexity" in v}
    return json.dumps(shown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED / "model")
    parser.add_argument("--wikitext", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, default=1000)
    a = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = evaluate(load(a.model, device), bpe.load(a.model), a.wikitext, a.limit)
    print(brief(found), flush=True)
    if a.out:
        a.out.write_text(json.dumps(found, indent=1) + "\n")
