"""Prompts have their exact length, come again with their seed, and never twice unless asked."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from quantcheck.errors import SpecError
from quantcheck.load.prompts import (
    WORDS,
    PromptSource,
    TextSource,
    UserPrompt,
    load_tokenizer,
    prompts_sha256,
    read_prompts,
    window_seed,
)
from tests.conftest import real_data


def test_same_seed_same_prompts_in_the_same_order() -> None:
    one, two, other = PromptSource(5, 4096), PromptSource(5, 4096), PromptSource(6, 4096)
    lengths = [1, 64, 2048, 64]
    a, b = [one.draw(n) for n in lengths], [two.draw(n) for n in lengths]
    assert [len(ids) for ids in a] == lengths
    assert prompts_sha256(a) == prompts_sha256(b) != prompts_sha256([other.draw(n) for n in lengths])


def test_blocks_do_not_change_the_sequence() -> None:
    """Numbers drawn one prompt at a time are the oracle: results of earlier versions stay comparable."""
    source, random = PromptSource(3, 50_000), np.random.default_rng(3)
    for length in [7, 64, 65_000, 1, 70_001, 300, 65_536, 5]:
        expected = random.integers(source.low, source.high, size=length, dtype=np.int32)
        assert source.draw(length).tolist() == expected.tolist()


def test_both_ends_of_the_vocabulary_are_left_out() -> None:
    small = np.concatenate([PromptSource(0, 272).draw(200) for _ in range(50)])
    assert (small.min(), small.max()) == (34, 237)
    large = PromptSource(0, 128_256)
    assert (large.low, large.high) == (1000, 127_256)


def test_never_the_same_twice() -> None:
    source = PromptSource(0, 16)
    drawn = {tuple(source.draw(1)) for _ in range(12)}
    assert drawn == {(k,) for k in range(2, 14)}
    with pytest.raises(SpecError, match="all prompts of that length are used up"):
        source.draw(1)


def test_a_pool_of_prompts_in_turns() -> None:
    source, fresh = PromptSource(1, 4096, repeat=3), PromptSource(1, 4096)
    drawn = [source.draw(5).tolist() for _ in range(8)]
    pool = [fresh.draw(5).tolist() for _ in range(3)]
    assert drawn == [pool[place % 3] for place in range(8)]
    tiny = PromptSource(0, 16, repeat=12)  # never used up
    assert len({tuple(tiny.draw(1)) for _ in range(100)}) == 12
    with pytest.raises(SpecError, match="repeat: 0"):
        PromptSource(0, 16, repeat=0)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.99), lengths=st.lists(st.integers(1, 300), min_size=2, max_size=20),
       vocab=st.integers(600, 200_000), seed=st.integers(0, 2**64 - 1))
def test_a_shared_prefix_is_shared_and_the_rest_is_not(share: float, lengths: list[int], vocab: int, seed: int) -> None:
    source = PromptSource(seed, vocab, shared_prefix=share)
    prompts = [source.draw(length) for length in lengths]
    assert [len(ids) for ids in prompts] == lengths
    assert len({ids.tobytes() for ids in prompts}) == len(prompts)
    shared = [min(round(share * length), length - 1) for length in lengths]
    longest = prompts[int(np.argmax(shared))]
    for ids, prefix in zip(prompts, shared, strict=True):
        assert ids.dtype == np.int32
        assert ids[:prefix].tolist() == longest[:prefix].tolist()
        assert ((ids >= source.low) & (ids < source.high)).all()
    long = [source.draw(600) for _ in range(2)]
    own = 600 - round(share * 600)
    assert own < 50 or long[0][-own:].tolist() != long[1][-own:].tolist()


def test_prefixes_of_two_seeds_differ() -> None:
    a, b = (PromptSource(seed, 4096, shared_prefix=0.5).draw(64) for seed in (1, 2))
    assert a[:32].tolist() != b[:32].tolist()


def test_nothing_is_left_of_a_short_prompt_with_a_long_prefix() -> None:
    source = PromptSource(0, 16, shared_prefix=0.9)
    assert len({tuple(source.draw(2)) for _ in range(12)}) == 12
    with pytest.raises(SpecError, match="or a smaller `shared_prefix`"):
        source.draw(2)


def test_a_hash_knows_order_and_borders() -> None:
    a, b = np.array([1, 2], np.int32), np.array([3], np.int32)
    hashes = {prompts_sha256([a, b]), prompts_sha256([b, a]), prompts_sha256([np.array([1, 2, 3], np.int32)]),
              prompts_sha256(["1", "2"]), prompts_sha256(["12"]), prompts_sha256(["2", "1"]),
              prompts_sha256([[{"role": "user", "content": "12"}]])}
    assert len(hashes) == 7
    turned = [[{"content": "12", "role": "user"}]]
    assert prompts_sha256(turned) in hashes


def test_windows_have_seeds_of_their_own() -> None:
    seeds = {window_seed(s, w, b) for s in (0, 1) for w in ("short@c1", "short@c8") for b in range(3)}
    assert len(seeds) == 12
    assert window_seed(0, "ab", "c") != window_seed(0, "a", "bc")


def test_a_vocabulary_that_is_too_small() -> None:
    with pytest.raises(SpecError, match="too small"):
        PromptSource(0, 1)


def byte_level() -> Tokenizer:
    return load_tokenizer(Path(str(files("quantcheck.reference"))) / "model")


def metaspace() -> Tokenizer:
    """As Llama 2's: word marks, a dummy space in front, a start token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>"], show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def whole_words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="able"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def only_bytes() -> Tokenizer:
    """No words at all; half of the ids are parts of characters, and no text encodes to them alone."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: place for place, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


KINDS = [byte_level, metaspace, whole_words, only_bytes]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_text_has_exactly_the_tokens_that_were_asked_for(kind: Callable[[], Tokenizer], share: float) -> None:
    tokenizer = kind()
    source = TextSource(3, tokenizer, shared_prefix=share)
    assert source.exact
    lengths = [3, 4, 64, 17, 300, 64, 64, 5]
    texts = [source.draw(length) for length in lengths]
    assert [len(tokenizer.encode(text).ids) for text in texts] == lengths
    assert len(set(texts)) == len(texts)
    again = TextSource(3, tokenizer, shared_prefix=share)
    assert texts == [again.draw(length) for length in lengths]
    assert TextSource(4, tokenizer, shared_prefix=share).draw(64) not in texts


@pytest.mark.parametrize("kind", KINDS[:3])
def test_text_shares_a_prefix_of_tokens(kind: Callable[[], Tokenizer]) -> None:
    tokenizer = kind()
    source = TextSource(3, tokenizer, shared_prefix=0.75)
    a, b = (np.array(tokenizer.encode(source.draw(64)).ids) for _ in range(2))
    assert (a == b).cumprod().sum() in range(47, 52)


def test_a_pool_of_texts() -> None:
    source = TextSource(0, byte_level(), repeat=2)
    one, two, three = (source.draw(9) for _ in range(3))
    assert one == three != two


def test_text_that_cannot_be() -> None:
    with pytest.raises(SpecError, match="prompt_tokens: 1: the tokenizer adds 1 of its own"):
        TextSource(0, metaspace()).draw(1)
    twice = whole_words()
    twice.post_processor = processors.TemplateProcessing(single="$A $A", special_tokens=[])
    assert TextSource(0, twice).draw(8)
    with pytest.raises(SpecError, match="prompt_tokens: 7: .*exactly so many tokens"):
        TextSource(0, twice).draw(7)


def test_without_a_tokenizer_a_word_stands_for_a_token() -> None:
    source = TextSource(0, shared_prefix=0.5)
    assert not source.exact
    a, b = source.draw(40).split(" "), source.draw(40).split(" ")
    assert len(a) == len(b) == 40
    assert set(a + b) <= set(WORDS)
    assert a[:20] == b[:20]
    assert a != b
    assert len(set(WORDS)) == len(WORDS) > 200


def test_a_tokenizer_without_its_truncation_and_padding(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert len(load_tokenizer(path).encode("one two three " * 20).ids) > 16


def test_tokenizers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"tokenizer .*tokenizer\.json: there is no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SpecError, match=r"tokenizer\.json: cannot be read"):
        load_tokenizer(tmp_path)


def test_a_users_prompts(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    lines = [{"prompt": "a ü", "id": 3}, {"messages": chat, "output_tokens": 7}, {"text": "b"}, {"question": "c?"}]
    path = tmp_path / "p.jsonl"
    path.write_text("\ufeff" + "\r\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert read_prompts(path) == [UserPrompt("a ü"), UserPrompt(chat, 7), UserPrompt("b"), UserPrompt("c?")]


@pytest.mark.parametrize(("line", "message"), [
    ("{", "not JSON"),
    ("[1]", "not a JSON object"),
    ('{"answer": 1, "x": 2}', "no `prompt` or `messages` among its keys: answer, x; add one"),
    ("{}", "no `prompt` or `messages` among its keys: none"),
    ('{"prompt": " "}', "prompt: not a text with something in it"),
    ('{"prompt": [1, 2]}', "prompt: not a text"),
    ('{"messages": []}', "messages: not a chat"),
    ('{"messages": [{"role": "user"}]}', "messages: not a chat"),
    ('{"messages": ["hi"]}', "messages: not a chat"),
    ('{"prompt": "a", "output_tokens": 0}', "output_tokens: 0 is not a number of tokens"),
    ('{"prompt": "a", "output_tokens": true}', "output_tokens: True is not"),
    ('{"prompt": "a", "output_tokens": "9"}', "output_tokens: '9' is not"),
])
def test_mistakes_in_a_users_prompts(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "fine"}\n\n' + line + "\n")
    with pytest.raises(SpecError) as error:
        read_prompts(path)
    assert str(error.value).startswith(f"prompts {path}, line 3: {message}")


def test_no_prompts_at_all(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"p\.jsonl: cannot be read \(No such file"):
        read_prompts(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text("\n")
    with pytest.raises(SpecError, match=r"p\.jsonl: no prompt in it"):
        read_prompts(tmp_path / "p.jsonl")


@pytest.mark.realdata
def test_arena_hards_prompts() -> None:
    path = real_data("arena-hard/question.jsonl")
    prompts = read_prompts(path)
    expected = [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert [prompt.prompt for prompt in prompts] == expected
    assert len(prompts) == 750
