"""llama.cpp's tokenizer as we call it: the ids of the model's own tokenizer.json, and the same text back."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from quantcheck import reference
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.job import encode
from quantcheck.quality.suites import SUITES, load_suites
from quantcheck.spec.experiment import Quality
from quantcheck.variants.artifact import Artifact
from tests.ggml.tiny import END_OF_TEXT, TinyModel

SPECIAL = [token["content"] for token in
           json.loads((reference.model_dir() / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]]

texts = st.text(max_size=80) | st.text(alphabet=" \n\t'\"aTé中🙂\u200b\u0301½٣\r\u00a0", max_size=40)


@pytest.fixture(scope="module")
def words(ladder: Mapping[str, Artifact]) -> Iterator[Vocabulary]:
    with Model(ladder["F16"].path) as model:
        yield Vocabulary(model)


@pytest.fixture(scope="module")
def original() -> Tokenizer:
    return Tokenizer.from_file(str(reference.model_dir() / "tokenizer.json"))


@settings(max_examples=300, deadline=None)
@given(texts)
@example("")
@example(" ")
@example("\x00")
@example("I'll   we've\n\n  12345 naïve\r\n")
def test_ids_are_those_of_tokenizer_json(words: Vocabulary, original: Tokenizer, text: str) -> None:
    assume(not any(special in text for special in SPECIAL))  # tokenizers reads them out of text; we do not, see below
    assert words.encode(text, bos=False).tolist() == original.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def served() -> FolderTokenizer:
    """What a server is asked with."""
    return FolderTokenizer(reference.model_dir())


@settings(max_examples=200, deadline=None)
@given(texts)
@example(f"before {SPECIAL[0]} after")
def test_a_server_is_asked_with_the_same_ids(words: Vocabulary, served: FolderTokenizer, text: str) -> None:
    ids = served.encode(text, bos=True)
    assert ids.tolist() == words.encode(text, bos=True).tolist()
    assert served.decode(ids) == words.decode(ids) == text


@pytest.mark.parametrize("name", SUITES)
def test_both_engines_score_the_same_ids_of_every_suite(
    words: Vocabulary, served: FolderTokenizer, name: str
) -> None:
    quality = Quality(suites=[name])
    suite, = load_suites(quality)
    assert encode(suite, served, quality).sha256 == encode(suite, words, quality).sha256


def test_both_engines_end_answers_at_the_same_tokens(words: Vocabulary, served: FolderTokenizer) -> None:
    assert served.line_ends() == words.line_ends()
    assert served.vocab_size == 4096


@settings(max_examples=200, deadline=None)
@given(texts)
def test_text_comes_back(words: Vocabulary, text: str) -> None:
    assert words.decode(words.encode(text, bos=False)) == text


def test_the_shipped_prompts_have_the_same_ids(words: Vocabulary, original: Tokenizer) -> None:
    for name in reference.SKILLS:
        with reference.skill_path(name).open(encoding="utf-8") as file:
            prompts = [json.loads(line)["prompt"] for line in file][::20]
        for prompt in prompts:
            assert words.encode(prompt, bos=False).tolist() == original.encode(prompt, add_special_tokens=False).ids


def test_bos_comes_first_and_has_no_text(words: Vocabulary) -> None:
    plain, led = (words.encode("A lamp.", bos=bos) for bos in (False, True))
    assert led.dtype == plain.dtype == np.int32
    assert led[1:].tolist() == plain.tolist()
    assert words.piece(int(led[0])) == b""
    assert words.decode(led) == "A lamp."


@pytest.mark.parametrize("special", SPECIAL)
def test_special_tokens_in_text_are_plain_text(words: Vocabulary, original: Tokenizer, special: str) -> None:
    text = f"before {special} after"
    ids = words.encode(text, bos=False)
    assert original.token_to_id(special) not in ids.tolist()
    assert words.decode(ids) == text


def test_line_ends_are_eos_and_every_newline(words: Vocabulary, original: Tokenizer) -> None:
    with_newline = {token for token in range(original.get_vocab_size())
                    if "\n" in original.decode([token], skip_special_tokens=False)}
    assert with_newline
    configured = json.loads((reference.model_dir() / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert words.line_ends() == with_newline | {configured}


def test_every_variant_has_the_same_tokenizer(words: Vocabulary, ladder: Mapping[str, Artifact]) -> None:
    with Model(ladder["Q2_K"].path) as model:
        other = Vocabulary(model)
        assert other.line_ends() == words.line_ends()
        for text in ("The quick brown fox\n", "x.replace('o','l')[::2]", "½ 中文 🙂"):
            assert other.encode(text, bos=True).tolist() == words.encode(text, bos=True).tolist()


def test_bytes_that_are_no_character_are_replaced(tiny: Mapping[str, TinyModel]) -> None:
    with Model(tiny["F32"].path) as model:
        vocabulary = Vocabulary(model)
        assert vocabulary.decode(np.array([65, 255, 66])) == "A\ufffdB"
        assert vocabulary.decode(np.array([65, END_OF_TEXT, 66])) == "AB"
        assert {10, END_OF_TEXT} <= vocabulary.line_ends()


def test_text_before_a_newline_in_a_token_is_not_lost(
    tiny: Mapping[str, TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in vocabularies that merge a full stop and a newline: such a token belongs to the answer."""
    pieces = {70: b".\n", 71: b"\n\n"}
    whole = Vocabulary.piece
    monkeypatch.setattr(Vocabulary, "piece", lambda self, token: pieces.get(token) or whole(self, token))
    with Model(tiny["F32"].path) as model:
        ends = Vocabulary(model).line_ends()
        assert 70 not in ends
        assert 71 in ends
