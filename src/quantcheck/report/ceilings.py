"""The measured ceilings of a machine: the one that a variant is held against, and all of them in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantcheck.stats.roofline import Ceiling

__all__ = ["ceiling_of", "ceiling_words", "computes_in"]


def computes_in(scheme: str, *, cuda: bool) -> str:
    """The type whose matrix rate bounds the arithmetic of `scheme`.

    On a processor always fp32, which is what a BLAS without types of its own measures: kernels on integers may beat
    it. On a GPU the type that the tensor cores multiply: weight-only formats are unpacked to 16 bits.
    """
    name = scheme.lower()
    if not cuda:
        return "fp32"
    if name.startswith("torchao-"):  # of weights alone
        return "fp16"
    for part, kind in (("fp8", "fp8"), ("w8a8", "int8"), ("int8", "int8"), ("bf16", "bf16")):
        if part in name:
            return kind
    return "fp16"


def ceiling_of(
    found: Mapping[str, Any] | None, *, cuda: bool, threads: int | None, scheme: str, working_set: float
) -> Ceiling | str:
    """The ceiling for a variant that reads `working_set` bytes a step, or why there is none.

    The bandwidth is the larger of copying and reading; reading is interpolated between the measured working sets, so
    that a model that lives in the processor's cache is held against the cache.
    """
    if not found:
        return "the machine's ceilings were not measured"
    if cuda:
        device = found.get("cuda", {})
        if "copy" not in device:
            return f"the GPU's ceilings were not measured: {device.get('missing', 'no reason given')}"
    else:
        devices = [device for device in found.get("cpu", []) if device["threads"] == threads]
        if not devices:
            return f"the machine's ceilings were not measured with {threads} threads"
        device = devices[0]
    kind = computes_in(scheme, cuda=cuda)
    if kind not in device["matrix"]:
        return f"the rate of {kind} arithmetic was not measured: {_why(device, kind)}"
    reads = sorted((float(read["bytes"]), float(read["median"])) for read in device["read"])
    read = float(np.interp(np.log(max(working_set, 1.0)), np.log([size for size, _ in reads]), [r for _, r in reads]))
    return Ceiling(max(read, float(device["copy"]["median"])), float(device["matrix"][kind]["median"]))


def _why(device: Mapping[str, Any], kind: str) -> str:
    missing = device.get("missing")
    return str(missing.get(kind, "not tried")) if isinstance(missing, Mapping) else "not tried"


def ceiling_words(found: Mapping[str, Any]) -> dict[str, str]:
    """A line for each device: `cpu, 1 thread` to its rates."""
    lines = {}
    for device in found.get("cpu", []):
        count = device["threads"]
        lines[f"cpu, {count} thread{'' if count == 1 else 's'}"] = _rates(device)
    device = found.get("cuda", {})
    if "copy" in device:
        lines[str(device.get("name", "gpu"))] = _rates(device)
    return lines


def _rates(device: Mapping[str, Any]) -> str:
    reads: Sequence[Mapping[str, Any]] = device["read"]
    sizes = [f"reads {_gb(read)} GB/s of {read['bytes'] / 2**20:,.0f} MiB" for read in reads]
    rates = [f"{kind} {_tflop(rate)} TFLOP/s" for kind, rate in device["matrix"].items()]
    return ", ".join([f"copies {_gb(device['copy'])} GB/s", *sizes, *rates])


def _gb(rate: Mapping[str, float]) -> str:
    return f"{rate['median'] / 1e9:,.0f} ({rate['low'] / 1e9:,.0f}-{rate['high'] / 1e9:,.0f})"


def _tflop(rate: Mapping[str, float]) -> str:
    return f"{rate['median'] / 1e12:.3g}"
