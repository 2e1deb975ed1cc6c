"""Tokenizers carried into GGUF: llama.cpp must give the very ids that the `tokenizers` library gives."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from quantcheck.errors import ModelError
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.variants.convert import convert
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.tokenizer import pre_tokenizer_name
from tests.variants import folders

BYTE_LEVEL = ["gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "tekken"]
KINDS = [*BYTE_LEVEL, "sentencepiece"]
OTHER_TEXT = [
    "Numbers 12 345 6789 3.14159 and 1,000,000; don't, WE'LL, they'Re o'clock.",
    "Tabs\t\tand  double  spaces \n\n\n newlines\r\n\r\n end   ",
    "Ünïcödé — “quotes”, ¿qué? Привет мир. 日本語テスト ١٢٣ ½ ² 🙂👨‍👩‍👧",
    "camelCase SCREAMING_SNAKE x+=1; // comment /* more */ #!$%^&*()",
    "a",
    " ",
]


def tokenizer_of(kind):
    return folders.sentencepiece() if kind == "sentencepiece" else folders.byte_level(kind)


def make(folder, tokenizer, **files):
    config = folders.config(tie_word_embeddings=True, num_hidden_layers=1, vocab_size=tokenizer.get_vocab_size() + 8)
    folders.save(folder, config, folders.tensors(config), tokenizer)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each kind of tokenizer as (tokenizers' object, llama.cpp's model)."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = tokenizer_of(kind)
        convert(make(folder / "hf", tokenizer), folder / "model.gguf")
        made[kind] = (tokenizer, Model(folder / "model.gguf"))
    yield made
    for _, model in made.values():
        model.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [*folders.TEXT[:4], *OTHER_TEXT])
def test_ids_are_those_of_the_tokenizers_library(models, kind, text):
    tokenizer, model = models[kind]
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    assert Vocabulary(model).encode(text, bos=False).tolist() == expected


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="ascii"), max_size=40).filter(lambda t: "\0" not in t))
@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_any_ascii_text_gets_the_same_ids(models, kind, text):
    tokenizer, model = models[kind]
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    assert Vocabulary(model).encode(text, bos=False).tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_rows_beyond_the_tokenizer_are_unused(models, kind):
    tokenizer, model = models[kind]
    assert model.vocab_size == tokenizer.get_vocab_size() + 8


@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_the_splitting_rule_is_named(kind):
    assert pre_tokenizer_name(json.loads(folders.byte_level(kind).to_str())) == kind


def test_special_tokens_and_the_chat_template_are_carried(tmp_path):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    settings_ = {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "chat_template": template}
    convert(make(tmp_path / "hf", folders.byte_level(), tokenizer_config__json=settings_), tmp_path / "model.gguf")
    file = GgufFile(tmp_path / "model.gguf")
    assert file.value("tokenizer.ggml.bos_token_id") == 0
    assert file.value("tokenizer.ggml.eos_token_id") == 1
    assert file.value("tokenizer.ggml.add_bos_token") is False
    assert file.value("tokenizer.chat_template") == template
    kinds = file.value("tokenizer.ggml.token_type")
    assert kinds[:2] == [3, 3]  # control
    assert set(kinds[-8:]) == {5}  # unused


def test_bos_is_added_when_the_tokenizer_adds_it(tmp_path):
    state = json.loads(folders.byte_level("llama-bpe").to_str())
    state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [0], "tokens": ["<|begin|>"]}},
    }
    tokenizer = Tokenizer.from_str(json.dumps(state))
    convert(make(tmp_path / "hf", tokenizer, tokenizer_config__json={"bos_token": "<|begin|>"}), tmp_path / "m.gguf")
    with Model(tmp_path / "m.gguf") as model:
        assert model.adds_bos
        assert model.bos == 0
        found = Vocabulary(model).encode("quick brown", bos=True)
    assert np.array_equal(found, tokenizer.encode("quick brown").ids)


def changed(kind="gpt-2", **changes):
    state = json.loads(folders.byte_level(kind).to_str())
    for key, value in changes.items():
        if key == "model":
            state["model"] |= value
        else:
            state[key] = value
    return json.dumps(state)


SPLIT = {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
REFUSED = {
    "an unknown split": (
        changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT, LEVEL]}),
        "not one that llama.cpp knows",
    ),
    "a prefix space": (
        changed(pre_tokenizer=LEVEL | {"add_prefix_space": True, "use_regex": True}),
        "not one that llama.cpp knows",
    ),
    "no pre-tokenizer": (changed(pre_tokenizer=None), "not one that llama.cpp knows"),
    "lower-casing": (changed(normalizer={"type": "Lowercase"}), "not one that llama.cpp knows"),
    "word pieces": (changed(model={"type": "WordPiece"}), "tokenizer model WordPiece cannot be converted"),
    "a suffix": (changed(model={"end_of_word_suffix": "</w>"}), "BPE with end_of_word_suffix"),
    "more ids than rows": (changed(model={"vocab": {"a": 0, "b": 5000}}), "token id 5000"),
    "no vocabulary": (changed(model={"vocab": None}), "damaged or of an unknown form"),
    "no JSON": ("{", "damaged or of an unknown form"),
    "bytes but no spaces": (changed(model={"byte_fallback": True}), "SentencePiece's way with spaces"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tokenizers_whose_ids_would_differ_are_refused(tmp_path, case):
    text, message = REFUSED[case]
    folder = make(tmp_path / "hf", folders.byte_level(), tokenizer__json=text)
    with pytest.raises(ModelError) as caught:
        convert(folder, tmp_path / "model.gguf")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folder = make(tmp_path / "hf", folders.byte_level())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        convert(folder, tmp_path / "model.gguf")
