"""How long vLLM takes on a GPU before it was measured there: by the model's shape, under stated assumptions.

A closed-loop window is a number of cycles, as many as a stream sends requests: in each, a prompt for every stream is
prefilled and the answers are decoded together. Both take what the roofline says at a share of the device's ceilings,
a step of decoding no less than `STEP_S`. The shares and times are round numbers near what vLLM 0.25.1 showed on H200s
with Mistral-7B's shape and Llama-2-70B's (docs/results: vllm-awq-18-h200, format-race-h200, 70b-one-gpu-or-two-h200),
a variant's first start with an empty compile cache; they are there to plan with, and no figure rests on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quantcheck.errors import ModelError
from quantcheck.load.guidellm import START_S as GUIDELLM_START_S
from quantcheck.load.sizes import typical
from quantcheck.report.ceilings import computes_in
from quantcheck.runner.plan import Task, requests_of
from quantcheck.spec.experiment import AGAIN, Experiment, VllmEngine
from quantcheck.spec.load import Load, Point
from quantcheck.stats.prediction import Model, Serving
from quantcheck.stats.roofline import Ceiling, Shape, Weights
from quantcheck.variants.schemes import quantization_config
from quantcheck.variants.shapes import SHAPES, read_config_of, shape_config
from quantcheck.variants.weight_bytes import read_bytes
from quantcheck.variants.weightless import DTYPES

__all__ = ["H200", "AssumedPace", "Device"]

START_S, AGAIN_S = 50.0, 25.0
START_LAYER_S, AGAIN_LAYER_S = 1.0, 0.5
SEVERAL_GPUS = 1.25
"""Times the start of an engine on one GPU."""
LAYERS = 32
"""Of a model that cannot be read."""
LOADED_BYTES_S = 1e9
BANDWIDTH_SHARE, COMPUTE_SHARE = 0.7, 0.8
STEP_S = 0.0035
SCORED_TOKENS_S = 2000.0


@dataclass(frozen=True)
class Device:
    """One GPU: bytes/s moved and FLOP/s by type, as `telemetry.ceilings` measures them."""

    name: str
    bandwidth: float
    compute: Mapping[str, float]

    @classmethod
    def measured(cls, ceilings: Mapping[str, Any] | None) -> "Device | None":
        """From a machine's ceilings; None when they hold no GPU."""
        cuda = (ceilings or {}).get("cuda", {})
        if "copy" not in cuda:
            return None
        rates = {kind: float(rate["median"]) for kind, rate in cuda["matrix"].items()}
        return cls(str(cuda["name"]), float(cuda["copy"]["median"]), rates)


H200 = Device("NVIDIA H200", 4.2e12, {"fp16": 7e14, "bf16": 7e14, "int8": 9e14, "fp8": 1.4e15})


class AssumedPace:
    """`pace.Assumed` for an experiment on vLLM.

    The shape of a hub's model is that of the built-in one whose name its own begins with, so that no network is needed.
    """

    def __init__(self, experiment: Experiment, device: Device) -> None:
        self._experiment, self.device = experiment, device
        load = experiment.load
        self._points: dict[str, Point] = {point.subject: point for point in load.points()} if load else {}
        self._models: dict[str, tuple[Model, float] | None] = {}
        self.missing: str | None = None
        """Why the last model that could not be read could not."""

    @property
    def words(self) -> str:
        """The assumptions, for a user."""
        real = f" and {LOADED_BYTES_S / 1e9:g} GB of weights loaded per second" * (self._experiment.weights == "real")
        scored = f", {SCORED_TOKENS_S:,.0f} tokens scored per second" * (self._experiment.quality is not None)
        load = self._experiment.load
        guidellm = load is not None and load.with_ == "guidellm"
        started = f", {GUIDELLM_START_S:g} s to start GuideLLM for each load cell" * guidellm
        shape = _shape_of(self._experiment.model)
        of = f" and the shape {shape}" if shape else ""
        several = ", a quarter more on several GPUs" * (max(map(self._gpus, self._experiment.variants)) > 1)
        return (f"assumed for {self.device.name}{of} ({self.device.bandwidth / 1e12:.1f} TB/s, "
                f"{self.device.compute.get('fp16', 0) / 1e12:,.0f} TFLOP/s): {START_S:g} s and {START_LAYER_S:g} s a "
                f"layer for a variant's first start, {AGAIN_S:g} s and {AGAIN_LAYER_S:g} s a layer for later "
                f"ones{several}{real}, "
                f"{BANDWIDTH_SHARE:.0%} of the bandwidth in decode but no step under {STEP_S * 1e3:g} ms, "
                f"{COMPUTE_SHARE:.0%} of the arithmetic in prefill{scored}{started}")

    def start_s(self, variant: str, *, first: bool) -> float | None:
        """A fixed time, that of compiling and capturing its layers, and that of reading the weights from the disk."""
        model = self._model(variant)
        layers = model[0].shape.layers if model else LAYERS
        fixed = START_S + START_LAYER_S * layers if first else AGAIN_S + AGAIN_LAYER_S * layers
        fixed *= SEVERAL_GPUS if self._gpus(variant) > 1 else 1.0
        if self._experiment.weights == "random" or model is None:
            return fixed
        return fixed + model[1] / LOADED_BYTES_S

    def seconds(self, task: Task) -> float | None:
        """None for a trace, and for a variant whose model cannot be read or is not Llama-like."""
        if task.kind == "quality":
            return task.work / SCORED_TOKENS_S
        model, load = self._model(task.entry.removesuffix(AGAIN)), self._experiment.load
        point = self._points[task.subject]
        if model is None or load is None or point.workload.trace is not None:
            return None
        return _window_s(model[0], load, point) + (GUIDELLM_START_S if load.with_ == "guidellm" else 0.0)

    @cached_property
    def _config(self) -> dict[str, Any] | None:
        """Of the model that variants are made from."""
        shape = _shape_of(self._experiment.model)
        return shape_config(shape) if shape else self._config_of(self._experiment.model)

    def _config_of(self, name: str) -> dict[str, Any] | None:
        try:
            return read_config_of(name, Path.cwd())
        except ModelError as error:  # not at hand, such as a hub's model without a network
            self.missing = str(error)
            return None

    def _model(self, variant: str) -> tuple[Model, float] | None:
        """The variant on this device, and the bytes of its weights."""
        if variant not in self._models:
            self._models[variant] = self._read(variant)
        return self._models[variant]

    def _args(self, name: str) -> dict[str, Any]:
        engine = self._experiment.engine
        return {**(engine.args if isinstance(engine, VllmEngine) else {}), **self._experiment.variants[name].args}

    def _gpus(self, name: str) -> int:
        told = str(self._args(name).get("tensor-parallel-size"))
        return max(1, int(told)) if told.isdecimal() else 1

    def _read(self, name: str) -> tuple[Model, float] | None:
        variant = self._experiment.variants[name]
        config = self._config_of(variant.checkpoint) if variant.checkpoint else self._config
        if config is None:
            return None
        if variant.checkpoint is None and variant.scheme is not None:
            quantization = quantization_config(variant.scheme)
            config = {**config, **({"quantization_config": quantization} if quantization else {}),
                      **({"torch_dtype": DTYPES[variant.scheme]} if variant.scheme in DTYPES else {})}
        try:
            sizes, reads, _ = read_bytes(config)
        except ModelError as error:  # another family, or a format whose bytes are not known
            self.missing = f"{name}: {error}"
            return None
        shape = Shape.read(sizes)
        kind = computes_in(variant.scheme or "fp16", cuda=True)
        compute = self.device.compute.get(kind, self.device.compute.get("fp16"))
        if shape is None or compute is None:
            return None
        args, gpus = self._args(name), self._gpus(name)
        ceiling = Ceiling(BANDWIDTH_SHARE * self.device.bandwidth, COMPUTE_SHARE * compute) * gpus
        table = float(reads["embedding"] or reads["head"])
        weights = Weights(float(reads["layers"]), float(reads["head"]), table / shape.vocabulary)
        kv_bytes = 1.0 if str(args.get("kv-cache-dtype", "")).startswith("fp8") else 2.0
        return Model(shape, weights, ceiling, kv_bytes, gpus), float(sum(reads.values()))


def _shape_of(model: str) -> str | None:
    """The built-in shape of hub:OWNER/NAME: the longest one that NAME begins with."""
    if not model.startswith("hub:"):
        return None
    name = model.rpartition("/")[2].lower()
    return max((shape for shape in SHAPES if name.startswith(shape)), key=len, default=None)


def _window_s(model: Model, load: Load, point: Point) -> float:
    prompt, output = typical(point.workload)
    requests = requests_of(load, point)
    if point.rate is not None:  # the requests come when they come, and the last one is answered
        return requests / point.rate + _cycle_s(model, Serving(1, prompt, output))
    streams = point.concurrency or 1
    return (requests / streams + load.warmup_requests) * _cycle_s(model, Serving(streams, prompt, output))


def _cycle_s(model: Model, load: Serving) -> float:
    step = max(STEP_S, model.decode(load).least_s(model.ceiling))
    return model.prefill_s(load) + load.output * step
