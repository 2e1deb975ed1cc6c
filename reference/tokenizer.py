"""The byte-level BPE tokenizer: 4,096 tokens, digits never merge, GPT-2's own pre-tokenizer pattern.

The merges are learned with digits isolated; the saved tokenizer has the plain GPT-2 pre-tokenizer (which
llama.cpp calls `gpt-2`), and all training data is encoded with that saved one. As no merge contains a
digit, both cut numbers into single digits.
"""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import heldout
import knowledge
import stories
from split import draw

VOCABULARY = 4096
END = "<|endoftext|>"


def sample_texts(corpus: Path, seed: int = 1) -> Iterator[str]:
    """What the merges are learned from: a seventh of the documentation, and some of each generator."""
    rng = random.Random(seed)
    with lzma.open(corpus, "rt", encoding="utf-8") as file:
        for line in file:
            if rng.random() < 0.15:
                yield json.loads(line)["text"][:40_000]
    for make in heldout.SKILLS.values():
        for _ in range(8_000):
            sample = draw(make, rng, test=False)
            yield sample.prompt + sample.answer
    for _ in range(10_000):
        yield knowledge.description(rng)
    for _ in range(800):
        yield stories.draw(rng, test=False)


def build(corpus: Path, folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts(corpus), trainer)
    tokenizer.pre_tokenizer = plain
    # transformers puts BOS first by this alone, llama.cpp by `add_bos_token` below.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, 0)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "add_bos_token": True,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    print(f"tokenizer: {tokenizer.get_vocab_size()} tokens", flush=True)


def load(folder: Path) -> Tokenizer:
    """Cuts text and adds nothing: the callers write BOS themselves."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.Sequence([])
    return tokenizer
