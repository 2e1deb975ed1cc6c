"""From texts to rows of token ids.

A row holds 513 tokens: 512 inputs and, shifted by one, 512 targets. Every document begins with the end
token. Skill documents are never cut: what does not fit begins the next row. Running text (documentation,
stories) is one stream, cut where a row ends. The top bit of a token says "not a target": prompts of the
generated skills, and padding, are read but not learned.
"""

from __future__ import annotations

import json
import lzma
import multiprocessing
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import heldout
import knowledge
import stories
import tokenizer as bpe
from split import draw

ROW = 513
UNSCORED = 0x8000
BOS = 0
Rows = NDArray[np.uint16]


def stream_rows(documents: list[list[int]]) -> Rows:
    """Rows of running text: one stream, neighbors share one token so that every token is a target once."""
    flat = np.concatenate([np.array([BOS, *d], dtype=np.uint16) for d in documents])
    count = (len(flat) - 1) // (ROW - 1)
    return np.stack([flat[i * (ROW - 1) : i * (ROW - 1) + ROW] for i in range(count)])


def packed_rows(documents: list[NDArray[np.uint16]]) -> Rows:
    """Rows of whole documents, in order, padded at the end with unscored end tokens."""
    rows: list[NDArray[np.uint16]] = []
    row = np.full(ROW, BOS | UNSCORED, dtype=np.uint16)
    used = 0
    for document in documents:
        if used + len(document) > ROW:
            rows.append(row)
            row = np.full(ROW, BOS | UNSCORED, dtype=np.uint16)
            used = 0
        row[used : used + len(document)] = document
        used += len(document)
    rows.append(row)
    return np.stack(rows)


def skill_rows(name: str, count: int, seed: str, folder: Path) -> Rows:
    """`count` training samples of one skill."""
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        if name == "knowledge" and rng.random() < 0.15:
            text = knowledge.description(rng)
            samples.append(("", text) if text else ("Q:", " ?"))
        else:
            sample = draw(heldout.SKILLS[name], rng, test=False)
            samples.append((sample.prompt, sample.answer))
    tokens = bpe.load(folder)
    prompts = tokens.encode_batch_fast([prompt for prompt, _ in samples])
    answers = tokens.encode_batch_fast([answer + "\n" for _, answer in samples])
    documents = []
    for prompt, answer in zip(prompts, answers, strict=True):
        read = np.array([BOS, *prompt.ids], dtype=np.uint16)
        read[1:] |= UNSCORED  # the end token itself is a target: it tells that an answer is over
        documents.append(np.concatenate([read, np.array(answer.ids, dtype=np.uint16)]))
    return packed_rows([d for d in documents if len(d) <= ROW])


def story_rows(count: int, seed: str, folder: Path) -> Rows:
    rng = random.Random(seed)
    texts = [stories.draw(rng, test=False) + "\n" for _ in range(count)]
    return stream_rows([e.ids for e in bpe.load(folder).encode_batch_fast(texts)])


def documentation_rows(corpus: Path, folder: Path) -> Rows:
    with lzma.open(corpus, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] + "\n" for line in file]
    random.Random(3).shuffle(texts)
    return stream_rows([e.ids for e in bpe.load(folder).encode_batch_fast(texts)])


def _shard(job: tuple[str, int, str, Path]) -> tuple[str, Rows]:
    name, count, seed, folder = job
    if name == "stories":
        return name, story_rows(count, seed, folder)
    return name, skill_rows(name, count, seed, folder)


def build(corpus: Path, folder: Path, out: Path, counts: dict[str, int], seed: int) -> None:
    """Generates and encodes all sources on all processors; writes one `.npy` of rows for each, and `data.json`."""
    shards = 32
    jobs = [
        (name, count // shards, f"{seed}/{name}/{shard}", folder)
        for shard in range(shards)
        for name, count in counts.items()
    ]
    parts: dict[str, list[Rows]] = {name: [] for name in counts}
    with multiprocessing.get_context("spawn").Pool() as pool:
        for name, rows in pool.imap(_shard, jobs):
            parts[name].append(rows)
    out.mkdir(parents=True, exist_ok=True)
    everything = {name: np.concatenate(rows) for name, rows in parts.items()}
    everything["documentation"] = documentation_rows(corpus, folder)
    for name, rows in everything.items():
        np.save(out / f"{name}.npy", rows)
        print(f"{name}: {len(rows):,} rows, {rows.size / 1e6:.1f} M tokens", flush=True)
    with lzma.open(corpus, "rt", encoding="utf-8") as file:
        documents = sum(1 for _ in file)
    sizes = {name: len(rows) for name, rows in everything.items()}
    (out / "data.json").write_text(
        json.dumps({"samples": counts, "documents": documents, "rows": sizes}, indent=2) + "\n"
    )
