"""The one sentence, on figures that were measured with vLLM on one H200 (Mistral-7B, random weights)."""

from dataclasses import replace

import pytest

from quantcheck.stats.explanation import Observed, Reading, bound_by, explain_baseline, explain_loads, read_ratio
from quantcheck.stats.prediction import Model, Serving, overhead_s, predicted_ratio
from quantcheck.stats.roofline import FORMATS, Ceiling, Shape, Weights

MISTRAL = Shape(layers=32, hidden=4096, feed_forward=14336, heads=32, kv_heads=8, head_size=128, vocabulary=32000)
# Format, and the dense rate of the tensor cores in which it computes: INT4 is unpacked to 16 bits.
KINDS = {"fp16": ("16 bit", 989e12), "awq": ("4 bit, groups of 128", 989e12), "fp8": ("8 bit", 1979e12)}
# (batch, prompt, output) to output tokens/s.
MEASURED = {
    (1, 512, 128): {"fp16": 205, "awq": 260, "fp8": 300},
    (256, 32, 256): {"fp16": 23_680, "awq": 23_780, "fp8": 30_510},
    (256, 512, 128): {"fp16": 7_113, "awq": 7_487, "fp8": 10_796},
}
Load = tuple[int, int, int]


def observed(name: str, load: Load) -> Observed:
    form, compute = KINDS[name]
    model = Model(MISTRAL, Weights.of(MISTRAL, FORMATS[form]), Ceiling(4.8e12, compute))
    serving = Serving(*map(float, load))
    cycle = load[0] * load[2] / MEASURED[load][name]
    return Observed(name, model, serving, (cycle - model.prefill_s(serving)) / (load[2] - 1))


def read(name: str, load: Load) -> tuple[Observed, Reading, str]:
    base, variant = observed("fp16", load), observed(name, load)
    overhead = overhead_s(base.model, base.load, load[0] * load[2] / MEASURED[load]["fp16"])
    predicted = predicted_ratio(base.model, variant.model, variant.load, overhead)
    measured = MEASURED[load][name] / MEASURED[load]["fp16"]
    return variant, read_ratio(base, variant, measured=measured, predicted=predicted), f"{measured:.2f}x"


def test_why_int4_gains_at_batch_1_and_nothing_at_batch_256() -> None:
    assert explain_loads([read("awq", (256, 32, 256)), read("awq", (1, 512, 128))]) == (
        "awq: 1.27x at batch 1, because decode reaches 22% of bandwidth where fp16 reaches 61%: overhead, not weights, "
        "sets the time, so 3.7x smaller weights do not give the 1.78x that they could with the overhead of fp16; 1.00x "
        "at batch 256, because arithmetic, at the rate of fp16, needs 3.7 ms a step and reading only 1.9 ms, so 3.7x "
        "smaller weights save nothing"
    )


def test_why_int4_gains_nothing_with_long_prompts() -> None:
    _, reading, _ = read("awq", (256, 512, 128))
    assert reading.cause == "prefill"
    assert reading.clause == (
        "because prefill is 75% of the least time, and its arithmetic runs at the rate of fp16, so only the rest gains "
        "from 3.7x smaller weights"
    )


def test_less_than_predicted_with_long_prompts_is_no_overhead_of_decoding() -> None:
    load = (256, 512, 128)
    reading = read_ratio(observed("fp16", load), observed("awq", load), measured=0.9, predicted=1.05)
    assert reading.cause == "prefill"
    assert reading.clause == (
        "because prefill is 75% of the least time, where 3.7x smaller weights save little, and it takes longer than "
        "its arithmetic at the measured ceiling (predicted: 1.05x)"
    )


def test_fp8_at_batch_1_gains_what_its_bytes_give() -> None:
    _, reading, _ = read("fp8", (1, 512, 128))
    assert reading == Reading("memory", "because memory sets the time, weights are 99% of the bytes of a step and 2x "
                              "smaller")


def at(memory_ms: float, compute_ms: float, step_ms: float, cache: float = 0.0, *, name: str = "v") -> Observed:
    """A model whose decode step takes the given times on its device; `cache`: keys' and values' share of the bytes."""
    shape = Shape(1, 1, 1, 1, 1, 1, 1)
    load = Serving(1.0, 1.0, 1e9)
    token = 2 * 1 * 1 * 1  # values of keys and values of one token
    total = 1e9
    kv = cache * total / ((load.context + 1) * token)
    weights = Weights(total * (1 - cache), 0.0, 0.0)
    work = Model(shape, weights, Ceiling(1, 1), kv).decode(load)
    ceiling = Ceiling(work.bytes / (memory_ms / 1e3), work.flops / (compute_ms / 1e3))
    return Observed(name, Model(shape, weights, ceiling, kv), load, step_ms / 1e3)


@pytest.mark.parametrize(("memory", "compute", "cause"), [(9, 1, "memory"), (1, 9, "compute"), (2, 3, "overhead")])
def test_what_sets_the_time(memory: float, compute: float, cause: str) -> None:
    assert bound_by(at(memory, compute, 10)) == cause


def test_the_baselines_sentence() -> None:
    assert explain_baseline(at(2.6, 1, 10)) == (
        "decode at batch 1 reaches 26% of bandwidth and 10% of the arithmetic rate, so overhead, not weights, sets the "
        "time"
    )


@pytest.mark.parametrize(
    ("base", "variant", "measured", "predicted", "cause"),
    [
        (at(9, 1, 10), at(4, 1, 5), 2.0, 1.9, "memory"),
        (at(9, 1, 10), at(4, 1, 9), 1.1, 1.9, "overhead"),  # falls short: its own overhead
        (at(9, 1, 10), at(4, 1, 5), 0.3, 1.9, "overhead"),  # slower, though smaller
        (at(9, 1, 10), at(4, 1, 4), 2.5, 1.4, "kernels"),
        (at(9, 10, 11), at(4, 5, 6), 1.8, 1.8, "compute"),
        (at(5, 9, 10), at(2, 9, 10), 1.0, 1.0, "compute"),
        (at(9, 1, 10, 0.95), at(8.8, 1, 10, 0.97), 1.02, 1.02, "cache"),
        (at(1, 0.1, 10), at(0.5, 0.1, 9.5), 1.04, 1.05, "overhead"),  # nothing to gain: the baseline's overhead
    ],
)  # fmt: skip
def test_each_cause(base: Observed, variant: Observed, measured: float, predicted: float, cause: str) -> None:
    assert read_ratio(base, variant, measured=measured, predicted=predicted).cause == cause


@pytest.mark.parametrize(
    ("variant", "measured", "predicted", "clause"),
    [
        (at(9, 1, 10), 1.02, 1.0, "as bytes and arithmetic at the measured ceilings predict (1.00x) for 2x smaller "
         "weights on 1 GPU instead of 2"),
        (at(9, 1, 10), 1.3, 1.0, "more than bytes and arithmetic at the measured ceilings predict (1.00x) on 1 GPU "
         "instead of 2, so its kernels lose less time than those of v, or what its 2 GPUs exchange costs it"),
        (at(4, 1, 10), 1.0, 1.8, "because decode reaches 40% of bandwidth where v reaches 90%: overhead, not weights, "
         "sets the time, so 2x smaller weights on 1 GPU instead of 2 do not give the 1.80x that they could with the "
         "overhead of v"),
    ],
)  # fmt: skip
def test_fewer_gpus_are_told(variant: Observed, measured: float, predicted: float, clause: str) -> None:
    base = at(9, 1, 10)
    model = replace(base.model, weights=Weights(2e9, 0.0, 0.0), ceiling=base.model.ceiling * 2, devices=2)
    two = replace(base, model=model)
    assert read_ratio(two, variant, measured=measured, predicted=predicted).clause == clause


def test_one_gpu_exchanges_nothing() -> None:
    base, variant = at(9, 1, 10), at(4, 1, 4)
    two = replace(variant, model=replace(variant.model, devices=2))
    assert read_ratio(base, two, measured=2.5, predicted=1.4).clause == (
        "more than bytes and arithmetic at the measured ceilings predict (1.40x) on 2 GPUs instead of 1, so its "
        "kernels lose less time than those of v")


def test_one_reason_is_told_once() -> None:
    small, large = read("awq", (1, 512, 128)), read("awq", (1, 512, 128))
    assert explain_loads([small, large]).endswith("; 1.27x at batch 1 for the same reason")
    assert explain_loads([small]).startswith("awq: 1.27x at batch 1, because")
