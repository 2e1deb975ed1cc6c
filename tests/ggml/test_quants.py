import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from quantcheck.errors import ModelError
from quantcheck.ggml.quants import block_size, dequantize, needs_imatrix, quantize, row_bytes, type_bytes

LADDER = [
    Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q6_K, Kind.Q5_K, Kind.Q4_K, Kind.Q4_0, Kind.Q3_K, Kind.Q2_K,
    Kind.IQ4_NL, Kind.IQ4_XS,
]  # fmt: skip


def weights(rows: int = 8, columns: int = 512) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("kind", LADDER, ids=lambda kind: kind.name)
def test_sizes_and_dequantizer_agree_with_gguf(kind: Kind) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    assert (block_size(kind), type_bytes(kind)) == (block, size)
    blocks = quantize(kind, weights())
    assert blocks.shape == (8, row_bytes(kind, 512)) == (8, 512 // block * size)
    np.testing.assert_array_equal(dequantize(kind, blocks), gguf.quants.dequantize(blocks, kind).reshape(8, 512))


def test_more_bits_lose_less() -> None:
    source = weights()
    kinds = [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.Q8_0, Kind.F16, Kind.F32]
    errors = [float(np.square(dequantize(kind, quantize(kind, source)) - source).mean()) for kind in kinds]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0.0


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q4_K, Kind.IQ4_NL], ids=lambda kind: kind.name)
def test_an_importance_matrix_favours_its_columns(kind: Kind) -> None:
    source = weights(32, 256)
    importance = np.ones(256, dtype=np.float32)
    importance[::8] = 1000.0
    plain = np.square(dequantize(kind, quantize(kind, source)) - source)[:, ::8].mean()
    weighted = np.square(dequantize(kind, quantize(kind, source, importance)) - source)[:, ::8].mean()
    assert weighted < 0.9 * plain


def test_formats_that_need_a_matrix_say_so() -> None:
    assert needs_imatrix(Kind.IQ2_XS)
    assert not needs_imatrix(Kind.Q4_K)
    with pytest.raises(ModelError, match="IQ2_XS cannot be made without an importance matrix"):
        quantize(Kind.IQ2_XS, weights())
    assert quantize(Kind.IQ2_XS, weights(), np.ones(512, dtype=np.float32)).shape == (8, row_bytes(Kind.IQ2_XS, 512))


@pytest.mark.parametrize(
    ("source", "imatrix", "message"),
    [
        (weights(2, 300), None, "Q4_K needs rows that are multiples of 256 wide, this tensor is 300 wide"),
        (np.full((2, 256), np.nan, dtype=np.float32), None, "weights that are not finite"),
        (weights(2, 256), np.ones(128, dtype=np.float32), "importance matrix is .128,. for a tensor 256 wide"),
        (weights(2, 256), np.full(256, -1, dtype=np.float32), "negative or not finite"),
    ],
)
def test_what_ggml_would_abort_on_is_refused(source: np.ndarray, imatrix: np.ndarray | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        quantize(Kind.Q4_K, source, imatrix)


def test_half_a_block_is_refused() -> None:
    with pytest.raises(ModelError, match="not whole blocks of Q4_K"):
        dequantize(Kind.Q4_K, np.zeros((1, 100), dtype=np.uint8))
