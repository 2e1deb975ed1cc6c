from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from quantcheck.errors import EngineError, ModelError, SpecError
from quantcheck.ggml.model import Context, Model
from quantcheck.ggml.observe import MatrixProduct
from tests.ggml.oracle import forward
from tests.ggml.tiny import END_OF_TEXT, TinyModel, TinyShape, write_tiny

# Logits have a standard deviation near 2. llama.cpp keeps keys and values in F16 and sums them in F16 or F32, as the
# batch's shape has it; F16 weights also round the activations. A wrong rope, norm or head order is off by 1 and more.
TOLERANCE = {Kind.F32: 0.03, Kind.F16: 0.06}


def decode_one(context: Context, tokens: np.ndarray, sequence: int = 0, start: int = 0) -> np.ndarray:
    """All logits of `tokens` at positions from `start` in one sequence, copied."""
    count = len(tokens)
    positions = np.arange(start, start + count, dtype=np.int32)
    return context.decode(tokens, positions, np.full(count, sequence, np.int32), np.ones(count, bool)).copy()


def random_tokens(count: int, seed: int = 0, vocab: int = 272) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab, count)


@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "shape",
    [
        TinyShape(),
        TinyShape(tied=True),
        TinyShape(hidden=128, heads=4, kv_heads=4, layers=3, ffn=256),
        TinyShape(heads=2, kv_heads=1, layers=1, eps=1e-6, theta=500_000.0),
        TinyShape(vocab=40),
    ],
    ids=["grouped", "tied", "multi-head", "multi-query", "no-tokenizer"],
)
@pytest.mark.parametrize("flash", [True, False], ids=["flash", "plain"])
def test_logits_are_those_of_an_independent_forward_pass(
    tmp_path: Path, kind: Kind, shape: TinyShape, flash: bool
) -> None:
    tiny = write_tiny(tmp_path / "m.gguf", shape, kind=kind, seed=3)
    tokens = random_tokens(150, vocab=shape.vocab)
    with Model(tiny.path) as model, Context(model, length=256, flash_attention=flash) as context:
        found = decode_one(context, tokens)
    expected = forward(tiny.weights, shape, tokens)
    assert found.shape == (150, shape.vocab)
    assert np.std(expected) > 1
    np.testing.assert_allclose(found, expected, atol=TOLERANCE[kind], rtol=0)


def test_facts_of_the_file(tiny_f32: TinyModel) -> None:
    weights = sum(values.size for values in tiny_f32.weights.values())
    with Model(tiny_f32.path) as model:
        assert (model.vocab_size, model.context_length, model.bos, model.eos) == (272, 512, END_OF_TEXT, END_OF_TEXT)
        assert model.adds_bos is False
        assert model.parameters == weights
        assert model.tensor_bytes == 4 * weights
        assert model.cache_bytes_per_token == 2 * 2 * 2 * 32  # keys and values, F16, 2 layers, 2 heads of 16
        assert model.description.startswith("llama")


def test_a_batch_returns_the_wanted_rows_in_order(tiny_f32: TinyModel) -> None:
    tokens = random_tokens(6)
    with Model(tiny_f32.path) as model, Context(model, length=64, sequences=2, unified=True) as context:
        alone = decode_one(context, tokens)
        context.clear()
        order = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]  # two sequences, token by token
        rows = context.decode(np.repeat(tokens, 2), np.repeat(np.arange(6), 2), np.array(order), np.arange(12) % 4 == 0)
        assert not rows.flags.writeable
        np.testing.assert_allclose(rows, alone[[0, 2, 4]], atol=0.03)
        none = context.decode(tokens[:1], np.array([6]), np.array([0]), np.array([False]))
        assert none.shape == (0, 272)


def test_the_cache_continues_forgets_and_copies(tiny_f32: TinyModel) -> None:
    tokens = random_tokens(12)
    for unified in (True, False):
        with Model(tiny_f32.path) as model, Context(model, length=64, sequences=3, unified=unified) as context:
            whole = decode_one(context, tokens)
            context.clear()
            decode_one(context, tokens[:8])
            np.testing.assert_allclose(decode_one(context, tokens[8:], start=8), whole[8:], atol=0.03)
            context.remove(0, 8)
            np.testing.assert_allclose(decode_one(context, tokens[8:], start=8), whole[8:], atol=0.03)
            context.remove(0, 8)
            context.copy(0, 2)
            np.testing.assert_allclose(decode_one(context, tokens[8:], sequence=2, start=8), whole[8:], atol=0.03)
            context.clear()
            np.testing.assert_allclose(decode_one(context, tokens), whole, atol=0.03)


def test_a_token_may_belong_to_several_sequences(tiny_f32: TinyModel) -> None:
    stem, left, right = random_tokens(9, 1), random_tokens(3, 2), random_tokens(3, 3)
    with Model(tiny_f32.path) as model, Context(model, length=64, sequences=2, unified=True) as context:
        rows = context.decode(
            np.concatenate([stem, left, right]),
            np.concatenate([np.arange(9), np.arange(9, 12), np.arange(9, 12)]),
            np.concatenate([np.tile([0, 1], 9), [0, 0, 0, 1, 1, 1]]),
            np.arange(15) >= 9,
            np.concatenate([np.full(9, 2), np.ones(6)]).astype(np.int32),
        ).copy()
    for branch, part in ((left, rows[:3]), (right, rows[3:])):
        expected = forward(tiny_f32.weights, tiny_f32.shape, np.concatenate([stem, branch]))[9:]
        np.testing.assert_allclose(part, expected, atol=0.03)


def test_files_that_are_no_models_give_one_line_with_the_reason(tmp_path: Path, tiny_f32: TinyModel) -> None:
    whole = tiny_f32.path.read_bytes()
    cases = {
        "text.gguf": (b"hello, this is not a model", "magic"),
        "empty.gguf": (b"", "cannot be loaded"),
        "short.gguf": (whole[: len(whole) // 2], "bounds"),
        "header.gguf": (whole[:300], "cannot be loaded"),
        "version.gguf": (whole[:4] + b"\x63\0\0\0" + whole[8:], "version"),
        "arch.gguf": (whole.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lxmaz", 1), "lxmaz"),
    }
    for name, (content, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelError, match=name) as caught:
            Model(path)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="is not a file"):
        Model(tmp_path / "missing.gguf")
    with pytest.raises(ModelError, match="is not a file"):
        Model(tmp_path)


def test_wrong_batches_are_refused_before_llama_cpp_aborts(tiny_f32: TinyModel) -> None:
    def one(token: int = 1, position: int = 0, sequence: int = 0) -> tuple[np.ndarray, ...]:
        return np.array([token]), np.array([position]), np.array([sequence]), np.array([True])

    with Model(tiny_f32.path) as model, Context(model, length=256, batch=8) as context:
        with pytest.raises(SpecError, match="1 to 8 tokens, not 9"):
            decode_one(context, random_tokens(9))
        with pytest.raises(SpecError, match="not 0"):
            decode_one(context, random_tokens(0))
        with pytest.raises(SpecError, match="position 256 is outside the context of 256 tokens"):
            context.decode(*one(position=256))
        with pytest.raises(ModelError, match="do not fit the vocabulary of 272"):
            context.decode(*one(token=272))
        with pytest.raises(ModelError, match="another tokenizer's"):
            context.decode(*one(token=-1))
        with pytest.raises(SpecError, match="sequence 1 is outside the 1"):
            context.decode(*one(sequence=1))
        with pytest.raises(SpecError, match="same length"):
            context.decode(np.array([1, 2]), *one()[1:])
        decode_one(context, random_tokens(2))
        with pytest.raises(EngineError, match=r"llama_decode failed with -1.*position"):
            context.decode(*one(position=7))
    with pytest.raises(SpecError, match="1 to 256 sequences"), Model(tiny_f32.path) as model:
        Context(model, length=64, sequences=257)


def test_a_full_cache_is_an_error(tiny_f32: TinyModel) -> None:
    with Model(tiny_f32.path) as model, Context(model, length=256, sequences=2, unified=True) as context:
        decode_one(context, random_tokens(200))
        with pytest.raises(EngineError, match="no room for 100 more tokens"):
            decode_one(context, random_tokens(100), sequence=1)


def test_closing_a_model_closes_its_contexts(tiny_f32: TinyModel) -> None:
    model = Model(tiny_f32.path)
    context = Context(model, length=64)
    model.close()
    model.close()
    with pytest.raises(EngineError, match="was closed"):
        decode_one(context, random_tokens(2))
    with pytest.raises(EngineError, match="was closed"):
        context.clear()
    with pytest.raises(ModelError, match="was closed"):
        Context(model, length=64)


def test_an_observer_sees_what_enters_each_product(tiny_f32: TinyModel) -> None:
    tokens = random_tokens(20)
    seen: dict[str, MatrixProduct] = {}
    first: list[np.ndarray] = []

    def observe(product: MatrixProduct) -> None:
        seen[product.weight] = product
        if product.weight == "blk.0.attn_q.weight":
            first.append(product.activations.copy())

    with Model(tiny_f32.path) as model, Context(model, length=64, observer=observe) as context:
        watched = decode_one(context, tokens)
    with Model(tiny_f32.path) as model, Context(model, length=64) as context:
        np.testing.assert_allclose(watched, decode_one(context, tokens), atol=0.03)
    matrices = {name for name, values in tiny_f32.weights.items() if values.ndim == 2} - {"token_embd.weight"}
    assert set(seen) == matrices
    down = seen["blk.1.ffn_down.weight"]
    assert (down.rows, down.columns, down.kind) == (64, 96, Kind.F32)
    embedded = tiny_f32.weights["token_embd.weight"][tokens].astype(np.float64)
    normed = embedded / np.sqrt(np.square(embedded).mean(axis=1, keepdims=True) + tiny_f32.shape.eps)
    expected = normed * tiny_f32.weights["blk.0.attn_norm.weight"]
    assert len(first) == 1
    np.testing.assert_allclose(first[0], expected, atol=1e-5)


def test_an_observers_exception_comes_out_of_decode(tiny_f32: TinyModel) -> None:
    calls: list[str] = []

    def observe(product: MatrixProduct) -> None:
        calls.append(product.weight)
        raise KeyError(product.weight)

    with Model(tiny_f32.path) as model, Context(model, length=64, observer=observe) as context:
        with pytest.raises(KeyError, match=r"blk.0.attn_"):
            decode_one(context, random_tokens(5))
        assert len(calls) == 1
