"""Which tensor gets which type, against tables made with llama-quantize."""

import json
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.variants.mix import SCHEMES, Tensor, in_file_order, tensor_types
from tests.variants.shapes import SHAPES, Shape
from tests.variants.tables import folded

EXPECTED = Path(__file__).parent / "expected"


def test_every_shape_has_a_table_with_every_scheme():
    assert {p.stem for p in EXPECTED.glob("*.json")} == set(SHAPES)
    for name in SHAPES:
        table = json.loads((EXPECTED / f"{name}.json").read_text())
        assert set(table["types"]) == set(SCHEMES)


@pytest.mark.parametrize("imatrix", [False, True], ids=["plain", "imatrix"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", SHAPES)
def test_types_are_llama_quantizes(name, scheme, imatrix):
    table = json.loads((EXPECTED / f"{name}.json").read_text())
    shape = SHAPES[name]

    types = tensor_types(scheme, shape.tensors, shape.model, imatrix=imatrix)

    assert set(types) == {t.name for t in shape.tensors}
    expected = table["types"][scheme]["imatrix" if imatrix else "plain"]
    assert folded({n: t.name for n, t in types.items()}) == expected


def test_the_tables_show_every_rule():
    """The shapes would prove little if the tables held one type each."""
    seen = {}
    for name in SHAPES:
        table = json.loads((EXPECTED / f"{name}.json").read_text())
        for scheme, both in table["types"].items():
            for line in [*both["plain"].values(), *both["imatrix"].values()]:
                seen.setdefault(scheme, set()).update(part.split("*")[0] for part in line.split())
    assert seen["Q4_K_M"] == {"F16", "F32", "Q4_K", "Q5_0", "Q5_K", "Q6_K", "Q8_0"}
    assert seen["Q2_K"] == {"F16", "F32", "Q2_K", "Q3_K", "Q4_0", "Q4_K", "Q5_0", "Q5_K", "Q6_K", "Q8_0"}
    assert {"Q4_0", "Q4_1"} <= seen["Q4_0"]
    assert {"IQ4_NL", "Q5_K", "Q5_1"} <= seen["IQ4_NL"]


def test_order_is_by_layer_number_not_by_text():
    tensors = [Tensor(f"blk.{i}.attn_v.weight", (2, 256), GGMLQuantizationType.F16) for i in (10, 2, 0)]
    names = [t.name for t in in_file_order([*tensors, Tensor("output.weight", (2, 256), GGMLQuantizationType.F16)])]
    assert names == ["output.weight", "blk.0.attn_v.weight", "blk.2.attn_v.weight", "blk.10.attn_v.weight"]


@given(
    scheme=st.sampled_from(list(SCHEMES)),
    layers=st.integers(1, 100),
    hidden=st.integers(1, 40).map(lambda n: n * 16),
    feed_forward=st.integers(1, 600),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    tied=st.booleans(),
    imatrix=st.booleans(),
)
def test_any_shape_gets_types_that_fit_its_rows(scheme, layers, hidden, feed_forward, kv_heads, tied, imatrix):
    shape = Shape("llama", layers, 8, kv_heads, hidden=hidden, feed_forward=feed_forward, tied=tied)

    types = tensor_types(scheme, shape.tensors, shape.model, imatrix=imatrix)

    for tensor in shape.tensors:
        block, _ = GGML_QUANT_SIZES[types[tensor.name]]
        assert tensor.columns % block == 0
        if len(tensor.shape) == 1:
            assert types[tensor.name] is GGMLQuantizationType.F32
