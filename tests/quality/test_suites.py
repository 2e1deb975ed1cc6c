"""Suites: what ships is found, what a user names is read, and each mistake is one line that says what to do."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.quality.suites import SUITES, ChoiceTask, Corpus, GenerationTask, load_suites
from quantcheck.spec.experiment import Quality, TextSuite

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def go(content: bytes, name: str = "mine.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return go


def own(path: Path, tokens: int | None = 100) -> Quality:
    return Quality(texts={"mine": TextSuite(text=str(path), tokens=tokens)})


def refusal(quality: Quality) -> str:
    with pytest.raises(SpecError) as caught:
        load_suites(quality)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_that_ship_load_in_order() -> None:
    found = load_suites(Quality(suites=list(SUITES), items=7, tokens=99))
    assert [suite.name for suite in found] == list(SUITES)
    for suite in found:
        if isinstance(suite, Corpus):
            assert suite.tokens == 99
            assert len(suite.documents) > 20
            assert all(document.strip() for document in suite.documents)
        else:
            assert len(suite.items) == 7
            assert all(item.prompt and item.id for item in suite.items)
    kinds = {suite.name.removeprefix("reference/"): type(suite) for suite in found}
    assert kinds["knowledge"] is ChoiceTask
    assert {name for name, kind in kinds.items() if kind is GenerationTask} == set(reference.SKILLS) - {"knowledge"}


def test_without_a_limit_all_600_items_and_more_are_there() -> None:
    for suite in load_suites(Quality(suites=[f"reference/{name}" for name in reference.SKILLS])):
        assert not isinstance(suite, Corpus)
        assert len(suite.items) >= 600
        assert len({item.id for item in suite.items}) == len(suite.items)


def test_the_references_own_answers_are_right() -> None:
    for suite in load_suites(Quality(suites=["reference/arithmetic", "reference/expressions"], items=50)):
        assert isinstance(suite, GenerationTask)
        for item in suite.items:
            answer = item.data["working"] if "working" in item.data else item.data["reference"]
            assert suite.right(item, answer)
            assert not suite.right(item, "")
            assert not suite.right(item, "I do not know")


def test_an_unknown_suite_names_the_nearest() -> None:
    message = refusal(Quality(suites=["reference/aritmetic"]))
    assert "quality.suites" in message
    assert "'reference/aritmetic'; did you mean 'reference/arithmetic'?" in message


def test_an_unknown_suite_with_nothing_near_lists_them() -> None:
    message = refusal(Quality(suites=["zzzz"]))
    assert all(name in message for name in SUITES)


def test_a_plain_text_is_one_document(write: Callable[..., Path]) -> None:
    path = write("Erste Zeile\nzweite: Größe\n".encode())
    found = load_suites(own(path, tokens=None))
    assert found == [Corpus("mine", ("Erste Zeile\nzweite: Größe\n",), None,
                            hashlib.sha256(path.read_bytes()).hexdigest())]


def test_jsonl_is_one_document_a_line_without_the_empty_ones(write: Callable[..., Path]) -> None:
    lines = ['{"text": "one\\ntwo", "id": 1}', "", '{"text": "  "}', '{"text": "three"}']
    found = load_suites(own(write("\n".join(lines).encode(), "mine.jsonl")))[0]
    assert isinstance(found, Corpus)
    assert found.documents == ("one\ntwo", "three")


def test_shipped_come_before_texts(write: Callable[..., Path]) -> None:
    texts = {"mine": TextSuite(text=str(write(b"some words")))}
    found = load_suites(Quality(suites=["reference/stories"], texts=texts))
    assert [suite.name for suite in found] == ["reference/stories", "mine"]


def test_the_digest_follows_the_content(write: Callable[..., Path]) -> None:
    digests = [load_suites(own(write(content)))[0].digest for content in (b"one", b"two", b"one")]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.txt", b"", "holds no text"),
        ("mine.txt", b" \n\t\n", "holds no text"),
        ("mine.txt", "Größe".encode("latin-1"), "not UTF-8"),
        ("mine.jsonl", b"", "holds no text"),
        ("mine.jsonl", b'{"text": ""}\n', "holds no text"),
        ("mine.jsonl", b'{"txet": "a"}\n', "`text`"),
        ("mine.jsonl", b'{"text": "a"}\n{"text": \n', "JSONL"),
        ("mine.jsonl", b"plain words\n", "JSONL"),
        ("mine.jsonl", b'["text"]\n', "`text`"),
        ("mine.jsonl", b'{"text": "\xff"}\n', "UTF-8"),
    ],
)
def test_a_text_that_cannot_be_used(write: Callable[..., Path], name: str, content: bytes, says: str) -> None:
    message = refusal(own(write(content, name)))
    assert message.startswith("quality.texts.mine: ")
    assert name in message
    assert says in message


def test_a_text_that_is_not_a_string(write: Callable[..., Path]) -> None:
    for value in (7, None, ["a"], {"a": 1}):
        path = write(json.dumps({"text": value}).encode() + b"\n", "mine.jsonl")
        assert "mine.jsonl" in refusal(own(path))


def test_half_a_character_cannot_be_scored(write: Callable[..., Path]) -> None:
    """JSON can spell half a surrogate pair, which no tokenizer can encode."""
    assert "mine.jsonl" in refusal(own(write(b'{"text": "a \\ud83d b"}\n', "mine.jsonl")))


def test_a_missing_text_and_a_folder(tmp_path: Path) -> None:
    assert "No such file" in refusal(own(tmp_path / "absent.txt"))
    assert "cannot be read" in refusal(own(tmp_path))
