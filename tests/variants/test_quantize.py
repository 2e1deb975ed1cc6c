"""From F16 to the ladder: the bytes of llama-quantize, and errors as large as each format's, no larger."""

import json
import stat
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

from quantcheck.errors import ModelError, SpecError
from quantcheck.ggml.model import Model
from quantcheck.variants.convert import convert
from quantcheck.variants.gguf_file import GgufFile, bits_per_weight, write_gguf
from quantcheck.variants.mix import SCHEMES, Tensor
from quantcheck.variants.quantize import find_llama_quantize, quantize, quantize_with_llama_quantize
from tests.variants import folders
from tests.variants.shapes import SMALL, Shape, small_imatrix, small_weights
from tests.variants.tables import tensor_hash

BYTES = json.loads((Path(__file__).parent / "expected" / "bytes" / "small.json").read_text())["sha256"]

# Root mean square error over root mean square weight, for weights that are about normal.
ERROR = {
    "F32": 0.0,
    "F16": 0.0,
    "Q8_0": 0.00505,
    "Q6_K": 0.0171,
    "Q5_K": 0.0349,
    "Q4_K": 0.0690,
    "IQ4_NL": 0.0737,
    "Q4_0": 0.0818,
    "Q3_K": 0.146,
    "Q2_K": 0.288,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "f16.gguf"
    SMALL.write(path, small_weights)
    return path


@pytest.mark.parametrize("how", ["plain", "imatrix"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_bytes_are_llama_quantizes(source, tmp_path, scheme, how):
    quantize(source, tmp_path / "out.gguf", scheme, imatrix=small_imatrix() if how == "imatrix" else None, threads=2)
    assert tensor_hash(tmp_path / "out.gguf") == BYTES[scheme][how]


def test_the_importance_matrix_changes_bytes_where_it_should():
    same = {scheme for scheme, both in BYTES.items() if both["plain"] == both["imatrix"]}
    assert same == {"F16", "Q8_0"}


@pytest.mark.parametrize("how", ["plain", "imatrix"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_of_every_tensor_is_its_formats(source, tmp_path, scheme, how):
    """Dequantized by the `gguf` package's own reference code."""
    quantize(source, tmp_path / "out.gguf", scheme, imatrix=small_imatrix() if how == "imatrix" else None)
    before = {t.name: t for t in GGUFReader(source).tensors}
    for tensor in GGUFReader(tmp_path / "out.gguf").tensors:
        exact = dequantize(before[tensor.name].data, before[tensor.name].tensor_type).astype(np.float64)
        found = dequantize(tensor.data, tensor.tensor_type)
        assert found.shape == exact.shape
        error = np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean())
        # With a matrix, columns that matter little may be further off.
        loose = 0.09 if how == "imatrix" else 0.03
        assert error == pytest.approx(ERROR[tensor.tensor_type.name], rel=loose), tensor.name


def test_an_importance_matrix_lowers_the_weighted_error(source, tmp_path):
    weights = small_imatrix()
    errors = {}
    for label, imatrix in (("plain", None), ("imatrix", weights)):
        quantize(source, tmp_path / f"{label}.gguf", "Q4_K_M", imatrix=imatrix)
        exact, found = GgufFile(source), GgufFile(tmp_path / f"{label}.gguf")
        for name, importance in weights.items():
            rows = next(t.shape[0] for t in found.tensors if t.name == name)
            difference = found.rows(name, 0, rows) - exact.rows(name, 0, rows)
            errors.setdefault(name, {})[label] = float((difference.astype(np.float64) ** 2 * importance).mean())
    better = [e["imatrix"] < e["plain"] for e in errors.values()]
    assert sum(better) == len(better)


def test_the_number_of_threads_changes_nothing(source, tmp_path):
    for threads in (1, 3):
        quantize(source, tmp_path / f"{threads}.gguf", "Q4_K_M", threads=threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_sizes_fall_down_the_ladder(source, tmp_path):
    bits = []
    for scheme in SCHEMES:
        quantize(source, tmp_path / f"{scheme}.gguf", scheme)
        bits.append(bits_per_weight(GgufFile(tmp_path / f"{scheme}.gguf").tensors))
    # IQ4_NL has as many bits as Q4_0; the rest fall.
    assert all(a > b for a, b in pairwise(bits) if a != bits[5])
    assert bits[5] <= bits[6] < bits[4]


@pytest.fixture(scope="module")
def with_tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    config = folders.config(hidden_size=256, intermediate_size=256, tie_word_embeddings=True)
    folders.save(folder / "hf", config, folders.tensors(config), folders.byte_level())
    convert(folder / "hf", folder / "f16.gguf")
    return folder / "f16.gguf"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_llama_cpp_loads_it_with_all_its_metadata(with_tokenizer, tmp_path, scheme):
    out = tmp_path / "out.gguf"
    quantize(with_tokenizer, out, scheme)
    with Model(out) as model:
        assert model.vocab_size == 416
    before, after = (
        {name: value for name, _, _, value in GgufFile(p).fields if not name.startswith("general.file_type")}
        for p in (with_tokenizer, out)
    )
    assert after == before
    assert GgufFile(out).value("general.file_type") == int(SCHEMES[scheme])


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_other_floats_are_quantized_and_halved(tmp_path, kind):
    """The same weights in another float format: numbers that both formats hold give the same bytes as from F16."""
    rounded = {t.name: bfloat16(small_weights(t)) for t in SMALL.tensors}
    SMALL.write(tmp_path / "f16.gguf", lambda t: rounded[t.name])
    write_as(tmp_path / "other.gguf", rounded, GGMLQuantizationType[kind])
    for scheme in ("F16", "Q4_K_M"):
        for name in ("f16", "other"):
            quantize(tmp_path / f"{name}.gguf", tmp_path / f"{name}-{scheme}.gguf", scheme)
        assert tensor_hash(tmp_path / f"other-{scheme}.gguf") == tensor_hash(tmp_path / f"f16-{scheme}.gguf")


def test_what_float16_cannot_hold_is_refused(tmp_path):
    weights = {t.name: small_weights(t) for t in SMALL.tensors}
    weights["blk.0.attn_k.weight"][7] = 1e5
    write_as(tmp_path / "f32.gguf", weights, GGMLQuantizationType.F32)
    with pytest.raises(ModelError, match=r"blk\.0\.attn_k\.weight .* above float16's 65504"):
        quantize(tmp_path / "f32.gguf", tmp_path / "f16.gguf", "F16")
    assert not (tmp_path / "f16.gguf").exists()


def bfloat16(values):
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def write_as(path, weights, kind):
    """SMALL with its matrices in `kind`."""

    def stored(tensor):
        values = weights[tensor.name]
        if kind is GGMLQuantizationType.BF16 and len(tensor.shape) > 1:
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return values.view(np.uint8)

    jobs = [
        (Tensor(t.name, t.shape, kind if len(t.shape) > 1 else t.type), lambda tensor=t: stored(tensor))
        for t in SMALL.tensors
    ]
    write_gguf(path, "llama", SMALL.describe, jobs)


def test_a_quantized_source_is_refused(source, tmp_path):
    quantize(source, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(ModelError, match=r"already quantized \(.* is Q8_0\)"):
        quantize(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0")


def test_an_architecture_without_proved_mixes_is_refused(tmp_path):
    Shape("gemma2", 1, 4, 2).write(tmp_path / "gemma.gguf")
    with pytest.raises(ModelError, match="'gemma2' is not one of llama, qwen2, qwen3"):
        quantize(tmp_path / "gemma.gguf", tmp_path / "out.gguf", "Q4_0")


def test_a_matrix_of_another_model_is_refused(source, tmp_path):
    with pytest.raises(ModelError, match="importance matrix is"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", imatrix={"blk.0.attn_q.weight": np.ones(7, np.float32)})
    assert not (tmp_path / "out.gguf").exists()


def script(folder, text):
    program = folder / "llama-quantize"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_llama_quantize_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="needs llama-quantize on the PATH"):
        find_llama_quantize()


def test_llama_quantize_is_called_as_it_wants_to_be(tmp_path, monkeypatch):
    script(tmp_path, f'echo "$@" > {tmp_path}/asked; echo made > "$4"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    out = tmp_path / "out.gguf"
    quantize_with_llama_quantize(tmp_path / "a.gguf", out, "Q4_K_M", imatrix=tmp_path / "m.gguf", threads=2)
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["--imatrix", f"{tmp_path}/m.gguf", f"{tmp_path}/a.gguf", f"{out}", "Q4_K_M", "2"]


def test_llama_quantizes_failure_is_one_line(tmp_path, monkeypatch):
    script(tmp_path, "echo loading; echo 'llama_model_quantize: failed to quantize: bad tensor' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ModelError, match="failed to quantize: bad tensor") as caught:
        quantize_with_llama_quantize(tmp_path / "a.gguf", tmp_path / "out.gguf", "Q4_K_M")
    assert "\n" not in str(caught.value)


def test_single_tensors_get_types_of_their_own(source, tmp_path):
    own = {"blk.*.ffn_down": "Q5_0", "blk.1.ffn_down": "q8_0"}
    plain = {t.name: t.type.name for t in quantize(source, tmp_path / "plain.gguf", "Q4_0")}
    made = {t.name: t.type.name for t in quantize(source, tmp_path / "own.gguf", "Q4_0", own=own)}
    changed = {name: kind for name, kind in made.items() if kind != plain[name]}
    assert [name for name, kind in changed.items() if kind == "Q8_0"] == ["blk.1.ffn_down.weight"]
    assert set(changed.values()) == {"Q8_0", "Q5_0"}
    assert all(name.endswith("ffn_down.weight") for name in changed)
    file = GgufFile(tmp_path / "own.gguf")
    assert {t.name: t.type.name for t in file.tensors} == made


@pytest.mark.parametrize(("own", "said"), [
    ({"blk.0.ffn_down": "Q9"}, "there is no type 'Q9'"),
    ({"blk.99.ffn_down": "Q8_0"}, "fits no matrix of the model"),
    ({"blk.0.attn_norm": "Q8_0"}, "fits no matrix of the model"),
])
def test_a_type_that_cannot_be_is_refused(own, said, source, tmp_path):
    with pytest.raises(SpecError, match=said):
        quantize(source, tmp_path / "own.gguf", "Q4_0", own=own)
    assert not (tmp_path / "own.gguf").exists()
