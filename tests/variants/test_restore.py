"""A GGUF file's values come back as a Hugging Face folder."""

from pathlib import Path

import numpy as np
import pytest

from quantcheck import ModelError, reference
from quantcheck.spec.variant import Variant
from quantcheck.variants.convert import interleave
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.make import prepare
from quantcheck.variants.restore import pair_halves, restore
from quantcheck.variants.weights import Weights
from tests.ggml.tiny import write_tiny


@pytest.mark.parametrize("shape", [(12, 5), (8,)])
def test_halves_come_back(shape: tuple[int, ...]) -> None:
    rows = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert not np.array_equal(interleave(rows, 2), rows)
    assert np.array_equal(pair_halves(interleave(rows, 2), 2), rows)


def test_f16_is_the_original_and_fewer_bits_are_near_it(tmp_path: Path) -> None:
    original = Weights(reference.model_dir())
    made = prepare("reference", {name: Variant(scheme=f"gguf/{name}") for name in ("F16", "Q8_0")}, cache=tmp_path)
    for name, artifact in made.items():
        restore(artifact.path, reference.model_dir(), tmp_path / name)
    exact, near = Weights(tmp_path / "F16"), Weights(tmp_path / "Q8_0")
    assert exact.names == near.names == original.names
    for name in original.names:
        values = original.float32(name)
        assert np.array_equal(exact.float32(name), original.float16(name).astype(np.float32) if values.ndim > 1
                              else values)
        assert np.abs(near.float32(name) - values).max() <= np.abs(values).max() / 120  # half a step of 127
    assert (tmp_path / "F16" / "tokenizer.json").read_bytes() == (reference.model_dir() / "tokenizer.json").read_bytes()


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path / "other.gguf")
    with pytest.raises(ModelError, match=r"other\.gguf: .* name the model that the file was made of"):
        restore(tmp_path / "other.gguf", reference.model_dir(), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert GgufFile(tmp_path / "other.gguf").tensors
