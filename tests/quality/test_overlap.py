"""Shared runs of 13 words: found where they are, not where they are not."""

from pathlib import Path
from typing import Any

import pytest

from quantcheck.quality.overlap import calibration_texts, overlap, overlaps
from quantcheck.quality.suites import ChoiceTask, Corpus, GenerationTask, Item, load_suites
from quantcheck.spec.experiment import Quality, Variant

SENTENCE = "the grey heron stands for hours in shallow water and waits until a careless fish swims by"  # 17 words
OTHER = " ".join(f"word{i}" for i in range(60))


def generation(*prompts: str) -> GenerationTask:
    items = tuple(Item(str(i), "", prompt, {}) for i, prompt in enumerate(prompts))
    return GenerationTask("mine/task", items, 8, lambda item, text: True, "d")


def test_an_item_that_shares_13_words_is_found_whatever_its_case_and_punctuation() -> None:
    shown = SENTENCE.upper().replace(" ", ", ")
    task = generation(f"Q: {shown}?", OTHER + " else entirely", "short")
    found = overlap("cal.txt", f"{OTHER} {SENTENCE} {OTHER}", task)
    assert (found.of, found.judged, found.found) == (3, 2, 2)
    clean = overlap("cal.txt", OTHER, generation(f"Q: {SENTENCE}"))
    assert (clean.judged, clean.found, clean.share) == (1, 0, 0.0)


def test_twelve_shared_words_are_not_enough() -> None:
    words = SENTENCE.split()
    task = generation(f"{SENTENCE} and more")
    assert overlap("c", " ".join([*words[:12], "stop"]), task).found == 0
    assert overlap("c", " ".join([*words[:13], "stop"]), task).found == 1


def test_short_items_are_compared_whole_and_the_shortest_not_at_all() -> None:
    task = generation("one two three four five six seven eight", "one two three")
    found = overlap("c", "zero one two three four five six seven eight nine", task)
    assert (found.of, found.judged, found.found) == (2, 1, 1)
    assert overlap("c", "one two three four five six seven and then eight", task).found == 0


def test_a_template_is_no_content() -> None:
    template = "answer the following question with a single number and nothing else at all please now"
    many = generation(*(f"{template} number {i}" for i in range(11)))
    # Each item has runs of its own that reach over its number; the template's own are shared by 11.
    assert overlap("c", template, many).found == 0
    assert overlap("c", template, generation(*(f"{template} number {i}" for i in range(10)))).found == 10
    assert overlap("c", f"{template} number 3", many).found == 1


def test_a_choice_counts_with_its_right_answer() -> None:
    data = {"choices": [" on the red sofa", " on the blue chair"], "gold": 1}
    task = ChoiceTask("mine/choice", (Item("0", "", "where does the old cat sleep", data),), "d")
    assert overlap("c", "Where does the old cat sleep? On the blue chair.", task).found == 1
    assert overlap("c", "Where does the old cat sleep? On the red sofa.", task).found == 0


@pytest.mark.parametrize(("text", "share"), [(SENTENCE, 1.0), (OTHER, 0.0)])
def test_a_corpus_counts_documents_and_the_share_of_runs(text: str, share: float) -> None:
    found = overlap("c", text, Corpus("mine", (SENTENCE, SENTENCE), None, "d"))
    assert (found.unit, found.of, found.found, found.share) == ("documents", 2, 2 * share, share)


def test_what_ships_does_not_overlap_itself_and_a_copy_is_found() -> None:
    suites = load_suites(Quality.model_validate({"suites": ["reference/documentation", "reference/stories"]}))
    documents = suites[0]
    assert isinstance(documents, Corpus)
    rows: list[dict[str, Any]] = overlaps({"copy.txt": "\n".join(documents.documents[:10])}, suites)
    assert [row["suite"] for row in rows] == ["reference/documentation", "reference/stories"]
    assert rows[0]["found"] >= 10
    assert 0.1 < rows[0]["share"] < 0.9
    assert rows[1]["share"] < 0.001


def test_a_calibration_text_counts_as_far_as_it_may_have_been_read(tmp_path: Path) -> None:
    file = tmp_path / "cal.txt"
    file.write_bytes(b"x" * 100 + b"\xff")
    how: list[dict[str, Any]] = [
        {}, {"imatrix": str(file), "imatrix_tokens": 2}, {"imatrix": str(file), "imatrix_tokens": 3},
    ]
    variants = {str(place): Variant.model_validate({"scheme": "gguf/Q4_0", "quantize": quantize})
                for place, quantize in enumerate(how)}
    assert calibration_texts(variants) == {str(file): "x" * 24}
    whole = {"w": Variant.model_validate({"scheme": "gguf/Q4_0", "quantize": {"imatrix": str(file)}})}
    assert calibration_texts(whole)[str(file)] == "x" * 100 + "\N{REPLACEMENT CHARACTER}"
