"""Importance matrices against an independent computation, and the refusals."""

import hashlib

import numpy as np
import pytest
from gguf import GGUFReader

from quantcheck.errors import SpecError
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.variants.convert import convert
from quantcheck.variants.imatrix import CHUNK_TOKENS, compute_imatrix
from tests.variants import folders
from tests.variants.forward import frequencies, load

TEXT = "".join(folders.TEXT) * 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imatrix")
    config = folders.config(tie_word_embeddings=True, max_position_embeddings=1024)
    weights = {n: v.astype(np.float16) for n, v in folders.tensors(config).items()}
    folders.save(folder / "hf", config, weights, folders.byte_level())
    convert(folder / "hf", folder / "model.gguf")
    return folder, config


def test_first_layer_is_the_mean_square_of_normed_embeddings(made):
    """What enters Q, K and V of the first layer needs no attention to compute: exact, in float64."""
    folder, config = made
    with Model(folder / "model.gguf") as model:
        ids = Vocabulary(model).encode(TEXT, bos=False)
    weights = load(folder / "hf")
    count = 3 * CHUNK_TOKENS
    x = weights["model.embed_tokens.weight"][ids[:count]]
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"])
    expected = ((x * weights["model.layers.0.input_layernorm.weight"]) ** 2).mean(axis=0)

    matrix = compute_imatrix(folder / "model.gguf", TEXT, tokens=count + 100, threads=2)

    assert matrix.tokens == count
    assert matrix.tokens_sha256 == hashlib.sha256(ids[:count].astype("<i4").tobytes()).hexdigest()
    for name in ("attn_q", "attn_k", "attn_v"):
        assert matrix.means[f"blk.0.{name}.weight"] == pytest.approx(expected, rel=1e-4)


def test_attention_output_sees_each_chunk_alone(made):
    """The input of the first layer's output matrix, by numpy, with attention that starts anew at each chunk."""
    folder, config = made
    with Model(folder / "model.gguf") as model:
        ids = Vocabulary(model).encode(TEXT, bos=False)[: 2 * CHUNK_TOKENS]
    weights = load(folder / "hf")
    squares = []
    for chunk in ids.reshape(2, CHUNK_TOKENS):
        x = weights["model.embed_tokens.weight"][chunk]
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"])
        x = x * weights["model.layers.0.input_layernorm.weight"]
        q, k, v = (x @ weights[f"model.layers.0.self_attn.{n}_proj.weight"].T for n in "qkv")
        angles = np.arange(CHUNK_TOKENS)[:, None] * frequencies(config, 16)[None, :]
        turn = np.exp(1j * angles)[:, None, :]

        def rotate(values, heads, turn=turn):
            halves = values.reshape(CHUNK_TOKENS, heads, 2, 8)
            return (halves[:, :, 0] + 1j * halves[:, :, 1]) * turn

        # The real part of a product with a conjugate is the dot product of the rotated pairs.
        q, k = rotate(q, 4), np.repeat(rotate(k, 2), 2, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k.conj()).real / 4
        scores += np.triu(np.full((CHUNK_TOKENS, CHUNK_TOKENS), -np.inf), 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        values = np.repeat(v.reshape(CHUNK_TOKENS, 2, 16), 2, axis=1)
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), values)
        squares.append(mixed.reshape(CHUNK_TOKENS, 64) ** 2)
    expected = np.concatenate(squares).mean(axis=0)

    matrix = compute_imatrix(folder / "model.gguf", TEXT, tokens=2 * CHUNK_TOKENS, threads=2)

    assert matrix.means["blk.0.attn_output.weight"] == pytest.approx(expected, rel=5e-3)


def test_it_holds_every_matrix_of_the_layers_and_no_other(made):
    folder, _ = made
    matrix = compute_imatrix(folder / "model.gguf", TEXT, tokens=2 * CHUNK_TOKENS)
    kinds = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert set(matrix.means) == {f"blk.{i}.{k}.weight" for i in range(2) for k in kinds}
    assert matrix.means["blk.1.ffn_down.weight"].shape == (96,)


def test_the_saved_file_is_in_llama_imatrixs_form(made, tmp_path):
    folder, _ = made
    matrix = compute_imatrix(folder / "model.gguf", TEXT, tokens=2 * CHUNK_TOKENS)
    matrix.save(tmp_path / "imatrix.gguf", "text.txt")
    reader = GGUFReader(tmp_path / "imatrix.gguf")
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["text.txt"]
    assert reader.fields["imatrix.chunk_count"].contents() == 2
    assert reader.fields["imatrix.chunk_size"].contents() == CHUNK_TOKENS
    stored = {t.name: t.data.reshape(-1) for t in reader.tensors}
    assert len(stored) == 2 * len(matrix.sums)
    for name, means in matrix.means.items():
        assert stored[f"{name}.in_sum2"] / stored[f"{name}.counts"] == pytest.approx(means, rel=1e-6)


def test_a_short_text_is_refused(made):
    folder, _ = made
    with pytest.raises(SpecError, match="needs at least 1024 tokens, the calibration text gives"):
        compute_imatrix(folder / "model.gguf", "A few words.")
    with pytest.raises(SpecError, match="gives 1000"):
        compute_imatrix(folder / "model.gguf", TEXT, tokens=1000)


def test_progress_goes_to_the_end(made):
    folder, _ = made
    heard = []
    compute_imatrix(folder / "model.gguf", TEXT, tokens=3 * CHUNK_TOKENS, progress=heard.append)
    assert heard == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
