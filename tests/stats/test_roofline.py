"""Bytes and arithmetic of a 7B Mistral, worked by hand; the prediction and the crossover on known models."""

import pytest

from quantcheck.stats.prediction import MOST_STREAMS, Model, Serving, crossover, overhead_s, predicted_ratio
from quantcheck.stats.roofline import FORMATS, Ceiling, Shape, Weights, decode_step, prefill_step

MISTRAL = Shape(layers=32, hidden=4096, feed_forward=14336, heads=32, kv_heads=8, head_size=128, vocabulary=32000)

# By hand. A layer: q and o 4096 x 4096 = 16,777,216 each, k and v 1024 x 4096 = 4,194,304 each, gate, up and down
# 14336 x 4096 = 58,720,256 each: 218,103,808. 32 layers: 6,979,321,856. Head: 32000 x 4096 = 131,072,000.
LAYERS, HEAD = 6_979_321_856, 131_072_000
# Norms: two a layer and the last, 65 x 4096 values of 2 bytes: 532,480. One row of the embedding: 8,192 bytes.
REST = 532_480 + 2 * HEAD + 8_192
# Keys and values of one token: 2 x 32 layers x 8 heads x 128 x 2 bytes = 131,072. Read for 512 tokens, written for one.
CACHE = 513 * 131_072

BY_HAND = {
    # 2 bytes a weight: 13,958,643,712 + 262,684,672 + 67,239,936 = 14,288,568,320
    "16 bit": 14_288_568_320,
    # 1 byte a weight, and a float32 scale for each of 43,008 rows of a layer: 6,979,321,856 + 32 x 43,008 x 4
    # = 6,984,826,880; + 262,684,672 + 67,239,936 = 7,314,751,488
    "8 bit": 7_314_751_488,
    # half a byte a weight: 3,489,660,928; 54,525,952 groups of 128, each with 16 + 4 bits: 136,314,880;
    # + 262,684,672 + 67,239,936 = 3,955,900,416
    "4 bit, groups of 128": 3_955_900_416,
}  # fmt: skip


def ceiling(compute: float = 989e12) -> Ceiling:
    return Ceiling(4.8e12, compute)


@pytest.mark.parametrize("name", BY_HAND)
def test_bytes_per_token_of_a_7b_mistral(name: str) -> None:
    weights = Weights.of(MISTRAL, FORMATS[name])
    alone = decode_step(MISTRAL, weights, batch=1, context=512)

    assert alone.bytes == pytest.approx(BY_HAND[name], rel=1e-9)
    assert alone.cache == CACHE
    # 32 requests share the weights; rows of the embedding, keys and values are each one's own.
    many = decode_step(MISTRAL, weights, batch=32, context=512)
    own = CACHE + 8_192
    assert many.bytes / 32 == pytest.approx((BY_HAND[name] - own) / 32 + own, rel=1e-9)


def test_the_sum_of_the_parts() -> None:
    assert MISTRAL.layer_parameters == LAYERS
    assert MISTRAL.table_parameters == HEAD
    assert BY_HAND["16 bit"] == 2 * LAYERS + REST + CACHE


def test_arithmetic_per_token() -> None:
    weights = Weights.of(MISTRAL, FORMATS["16 bit"])
    # 2 x (layers + head) = 14,220,787,712; attention 4 x 512 x 32 x 128 x 32 layers = 268,435,456.
    assert decode_step(MISTRAL, weights, batch=1, context=512).flops == 14_220_787_712 + 268_435_456
    assert decode_step(MISTRAL, weights, batch=8, context=512).flops == 8 * (14_220_787_712 + 268_435_456)
    # Prefill of 512 tokens: the head once; token i attends to i tokens: 4 x 131,072 x 512 x 513 / 2.
    prefill = prefill_step(MISTRAL, weights, prompt=512)
    assert prefill.flops == 2 * (512 * LAYERS + HEAD) + 4 * 131_072 * 512 * 513 // 2
    assert prefill.bytes == 2 * LAYERS + 532_480 + 2 * HEAD + 512 * 8_192 + 2 * 512 * 131_072


def test_a_cache_of_8_bits_is_half_as_large() -> None:
    weights = Weights.of(MISTRAL, FORMATS["16 bit"])
    assert decode_step(MISTRAL, weights, batch=1, context=512, kv_bytes=1).cache == CACHE / 2


def test_shape_is_read_from_a_recipe() -> None:
    sizes = {"layers": 32, "hidden": 4096, "feed_forward": 14336, "heads": 32, "kv_heads": 8, "head_size": 128,
             "vocabulary": 32000, "tied": False}
    assert Shape.read(sizes) == MISTRAL
    assert Shape.read({**sizes, "feed_forward": [1, 2]}) is None
    assert Shape.read({**sizes, "heads": 0}) is None
    assert Shape.read({}) is None


def model(name: str, compute: float = 989e12) -> Model:
    return Model(MISTRAL, Weights.of(MISTRAL, FORMATS[name]), ceiling(compute))


def test_without_overhead_memory_bound_decode_gains_the_ratio_of_bytes() -> None:
    load = Serving(1, 1, 10_000)
    wide, narrow = model("16 bit"), model("8 bit")
    bytes_ratio = wide.decode(load).bytes / narrow.decode(load).bytes
    assert predicted_ratio(wide, narrow, load, 0.0) == pytest.approx(bytes_ratio, rel=1e-3)
    # Overhead equal to the baseline's own time: (1 + 1) / (1 / r + 1).
    step = wide.decode_s(load) / load.output
    assert predicted_ratio(wide, narrow, load, step) == pytest.approx(2 / (1 / bytes_ratio + 1), rel=1e-3)


def test_overhead_is_what_the_roofline_leaves() -> None:
    load, base = Serving(1, 512, 128), model("16 bit")
    assert overhead_s(base, load, base.cycle_s(load) + 0.128) == pytest.approx(0.001)
    assert overhead_s(base, load, base.cycle_s(load) / 2) == 0


def test_crossover_lies_where_arithmetic_overtakes_memory() -> None:
    wide, narrow = model("16 bit"), model("4 bit, groups of 128")
    load = Serving(1, 1, 64)
    batch = crossover(wide, narrow, load, [], margin=0.001)
    assert batch is not None
    # By hand: both are bound by arithmetic, and equal, once the wide one's bytes take no longer than its FLOP:
    # (14.22e9 + B x 33 x 131,072) / 4.8e12 = B x 14.24e9 / 989e12, so B = 2.963e-3 / (14.40e-6 - 0.90e-6) = 219.
    assert batch == pytest.approx(219, rel=0.03)
    # Twice the arithmetic rate never stops paying.
    assert crossover(wide, model("8 bit", 1979e12), load, [], margin=0.02) is None
    assert crossover(wide, wide, load, [], margin=0.02) == 1
    assert MOST_STREAMS == 4096


def test_more_overhead_brings_the_crossover_nearer() -> None:
    wide, narrow = model("16 bit"), model("4 bit, groups of 128")
    load = Serving(1, 512, 128)
    little = crossover(wide, narrow, load, [(1, 0.001)], margin=0.05)
    much = crossover(wide, narrow, load, [(1, 0.001), (64, 0.05)], margin=0.05)
    assert little is not None
    assert much is not None
    assert much < little
