"""No training generator can produce a test prompt, whatever its seed; and what ships is all test side."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck import reference

RECIPE = Path(__file__).resolve().parents[2] / "reference"
sys.path.append(str(RECIPE))

import heldout  # noqa: E402
import knowledge  # noqa: E402
import split  # noqa: E402
import stories  # noqa: E402

SKILLS = reference.SKILLS


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def beginnings(text: str) -> set[str]:
    """The text up to each of its spaces, and whole."""
    return {text[:i] for i, char in enumerate(text) if char == " "} | {text}


@pytest.fixture(scope="module")
def test_prompts() -> set[str]:
    return {item["prompt"] for name in SKILLS for item in rows(reference.skill_path(name))}


@pytest.mark.parametrize("name", SKILLS)
def test_shipped_items_are_distinct_and_on_the_test_side(name: str) -> None:
    prompts = [item["prompt"] for item in rows(reference.skill_path(name))]
    assert len(set(prompts)) == len(prompts) >= 600
    assert all(split.is_test(prompt) for prompt in prompts)


@pytest.mark.parametrize("name", SKILLS)
def test_shipped_items_are_what_the_recipe_writes(name: str) -> None:
    assert heldout.skill_items(name, 200) == rows(reference.skill_path(name))[:200]


@pytest.mark.parametrize("name", SKILLS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_no_training_seed_gives_a_test_prompt(name: str, seed: int, test_prompts: set[str]) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        sample = split.draw(heldout.SKILLS[name], rng, test=False)
        assert not split.is_test(sample.prompt)
        assert not beginnings(sample.prompt + sample.answer) & test_prompts


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_training_descriptions_hold_no_test_sentence(seed: int, test_prompts: set[str]) -> None:
    text = knowledge.description(random.Random(seed))
    for sentence in text.rstrip(".").split(". "):
        assert not beginnings(sentence) & test_prompts


def test_held_out_stories_are_on_the_test_side() -> None:
    texts = [row["text"] for row in rows(reference.corpus_path("stories"))]
    assert len(set(texts)) == len(texts)
    assert all(split.is_test(text) for text in texts)
    rng = random.Random(0)
    assert not any(split.is_test(stories.draw(rng, test=False)) for _ in range(50))


def test_the_two_sides_have_the_stated_shares() -> None:
    share = sum(split.is_test(str(i)) for i in range(20_000)) / 20_000
    assert abs(share - 1 / split.RESIDUES) < 0.01
