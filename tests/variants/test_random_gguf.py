"""Random weights: the file is what quantizing would give, llama.cpp runs it, and the text is numbers."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.errors import ModelError, SpecError, StoreError
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.variants import random_gguf
from quantcheck.variants.convert import convert
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.mix import SCHEMES
from quantcheck.variants.quantize import quantize
from quantcheck.variants.random_gguf import write_random_gguf
from quantcheck.variants.weightless import stand_in_tokenizer
from tests.variants import folders

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
CASES: dict[str, dict[str, Any]] = {
    "llama": folders.config("llama", hidden_size=256, intermediate_size=512, num_hidden_layers=8, rope_scaling=LLAMA3),
    "mistral": folders.config("mistral", hidden_size=256, intermediate_size=512, sliding_window=128),
    # Rows of 160 and 352 are no multiple of 256: the substitutes of each type.
    "qwen2": folders.config("qwen2", hidden_size=160, intermediate_size=352, num_attention_heads=5,
                            num_key_value_heads=1, tie_word_embeddings=True),
    "qwen3": folders.config("qwen3", hidden_size=256, intermediate_size=512, head_dim=64),
}
# 52 is no multiple of 32 either: F16 whatever the scheme.
CASES["odd"] = folders.config("llama", hidden_size=52, intermediate_size=100, num_attention_heads=2)
BIASES = {"qwen2": ("q_proj", "k_proj", "v_proj")}


@pytest.fixture(scope="module", autouse=True)
def _small_tile() -> Iterator[None]:
    """16 thousand weights rather than a million: they are quantized anew in every test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_gguf, "_UNITS", 64)
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """F16 files of random weights, by case."""
    folder = tmp_path_factory.mktemp("f16")
    for case, config in CASES.items():
        write_random_gguf(config, folder / f"{case}.gguf", "F16")
    return {case: folder / f"{case}.gguf" for case in CASES}


@pytest.mark.parametrize(("scheme", "imatrix"), [
    *((scheme, False) for scheme in SCHEMES), ("Q4_0", True), ("IQ4_NL", True)])  # the two whose types it changes
@pytest.mark.parametrize("case", CASES)
def test_tensors_are_those_of_quantizing(
    tmp_path: Path, sources: dict[str, Path], case: str, scheme: str, imatrix: bool
) -> None:
    """Names, types, shapes, order and bytes; with an importance matrix of nothing, the bytes are plain, too."""
    written = write_random_gguf(CASES[case], tmp_path / "random.gguf", scheme, imatrix=imatrix)
    quantized = quantize(sources[case], tmp_path / "real.gguf", scheme, imatrix={} if imatrix else None, threads=1)
    assert written == quantized
    random, real = GgufFile(tmp_path / "random.gguf"), GgufFile(tmp_path / "real.gguf")
    assert random.tensors == real.tensors == written
    for tensor in written:
        assert np.array_equal(random.raw(tensor.name), real.raw(tensor.name)), tensor.name
    assert {f[0] for f in random.fields} == {f[0] for f in real.fields}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_a_converted_folder_is(tmp_path: Path, sources: dict[str, Path], case: str) -> None:
    """Against a real checkpoint of the same configuration: its tensors, and all metadata but the vocabulary's."""
    config = CASES[case]
    weights = folders.tensors(config, biases=BIASES.get(case, ()))
    convert(folders.save(tmp_path / "hf", config, weights, folders.byte_level()), tmp_path / "real.gguf")
    random, real = GgufFile(sources[case]), GgufFile(tmp_path / "real.gguf")
    assert {t.name: t for t in random.tensors} == {t.name: t for t in real.tensors}

    def metadata(file: GgufFile) -> dict[str, Any]:
        own = ("tokenizer.", "general.description")
        return {name: value for name, _, _, value in file.fields if not name.startswith(own)}

    assert metadata(random) == metadata(real)
    if case == "llama":
        assert np.array_equal(random.raw("rope_freqs.weight"), real.raw("rope_freqs.weight"))


@pytest.mark.parametrize("scheme", ["F16", "Q4_K_M", "IQ4_NL", "Q2_K"])
@pytest.mark.parametrize("case", ["llama", "qwen2", "qwen3"])
def test_llama_cpp_computes_numbers_that_are_finite_and_differ(tmp_path: Path, case: str, scheme: str) -> None:
    write_random_gguf(CASES[case], tmp_path / "m.gguf", scheme)
    with LlamaCppScorer(tmp_path / "m.gguf", threads=1) as scorer:
        (rows,) = scorer.logits([np.arange(1, 33, dtype=np.int32)])
    assert rows.shape == (32, 416)
    assert np.isfinite(rows).all()
    assert (rows.std(axis=1) > 0.05).all()  # over the vocabulary
    assert (rows.std(axis=0) > 0.01).all()  # over the positions
    assert np.abs(rows).max() < 50


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    made = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_random_gguf(CASES["llama"], tmp_path / name, "Q4_K_M", seed=seed)
        made[name] = (tmp_path / name).read_bytes()
    assert made["a"] == made["b"]
    assert made["a"] != made["c"]


def test_weights_are_drawn_as_training_begins(sources: dict[str, Path]) -> None:
    file = GgufFile(sources["qwen2"])
    seen = []
    for tensor in file.tensors:
        rows = file.rows(tensor.name, 0, tensor.values // tensor.columns)
        if tensor.name.endswith("norm.weight"):
            assert (rows == 1).all()
        elif tensor.name.endswith(".bias"):
            assert (rows == 0).all()
        else:
            assert rows.std() == pytest.approx(0.02, rel=0.02)
            assert abs(rows.mean()) < 0.001
            seen.append(rows.tobytes())
    assert len(set(seen)) == len(seen)  # no two matrices are alike


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_random_gguf(CASES["qwen2"], tmp_path / "whole", "Q4_K_M")
    monkeypatch.setattr(random_gguf, "_CHUNK_BYTES", 2048)
    write_random_gguf(CASES["qwen2"], tmp_path / "pieces", "Q4_K_M")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_the_vocabulary_is_the_stand_in_tokenizers(sources: dict[str, Path]) -> None:
    text = "t5 t99\nt0  t415 unknown t416 t1x"
    with Model(sources["llama"]) as model:
        vocabulary = Vocabulary(model)
        ids = vocabulary.encode(text, bos=True)
        assert ids.tolist() == stand_in_tokenizer(416).encode(text).ids == [5, 99, 0, 415, 0, 0, 0]
        assert vocabulary.decode(ids).split() == ["t5", "t99", "t0", "t415", "t0", "t0", "t0"]
        assert model.vocab_size == 416
        assert not vocabulary.line_ends()


@pytest.mark.parametrize(("end", "expected"), [(7, 7), ([9, 8], 9), (416, None), (None, None), ([], None)])
def test_the_end_of_text_is_the_models(tmp_path: Path, end: Any, expected: int | None) -> None:
    write_random_gguf(CASES["mistral"] | {"eos_token_id": end, "bos_token_id": 3}, tmp_path / "m.gguf", "Q8_0")
    with Model(tmp_path / "m.gguf") as model:
        assert (model.bos, model.eos) == (3, expected)
        assert Vocabulary(model).piece(7) == b" t7"  # a stream shows each token, the end's too


def test_progress_ends_at_all(tmp_path: Path) -> None:
    heard: list[float] = []
    write_random_gguf(CASES["llama"], tmp_path / "m.gguf", "Q4_0", progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_biases_of_the_feed_forward(tmp_path: Path) -> None:
    config = CASES["llama"] | {"mlp_bias": True, "attention_bias": True}
    written = {t.name for t in write_random_gguf(config, tmp_path / "m.gguf", "Q8_0")}
    biases = {name.removeprefix("blk.0.") for name in written if name.startswith("blk.0.") and name.endswith(".bias")}
    assert biases == {f"{part}.bias" for part in
                      ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")}
    Model(tmp_path / "m.gguf").close()


@pytest.mark.parametrize(("change", "scheme", "error", "message"), [
    ({"model_type": "gemma"}, "F16", ModelError, "model_type 'gemma'"),
    ({"quantization_config": {"quant_method": "awq"}}, "F16", ModelError, "already quantized"),
    ({"hidden_size": None}, "F16", ModelError, "hidden_size must be a positive"),
    ({"vocab_size": -1}, "F16", ModelError, "vocab_size must be a positive"),
    ({"model_type": "qwen3", "attention_bias": True}, "F16", ModelError, "not supported for qwen3"),
    ({}, "Q9_X", SpecError, "no GGUF scheme 'Q9_X'"),
])
def test_what_cannot_be(
    tmp_path: Path, change: dict[str, Any], scheme: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_random_gguf(CASES["mistral"] | change, tmp_path / "m.gguf", scheme)
    assert not list(tmp_path.iterdir())


def test_a_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="0 or more"):
        write_random_gguf(CASES["mistral"], tmp_path / "m.gguf", "F16", seed=-1)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_matrix: Any, file: Any) -> None:
        file.write(b"begun")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(random_gguf._Matrix, "tofile", full)
    with pytest.raises(StoreError, match="no space left"):
        write_random_gguf(CASES["mistral"], tmp_path / "m.gguf", "F16")
    assert not list(tmp_path.iterdir())
