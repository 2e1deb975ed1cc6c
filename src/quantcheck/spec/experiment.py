"""What a user asks for: the Experiment and its parts.

Everything here is checked before anything is started, and nothing here touches the disk or the network.
"""

from typing import Literal

from pydantic import Field, model_validator

from quantcheck.spec.engines import (
    Engine,
    FakeEngine,
    LlamaCppEngine,
    OpenAIEngine,
    TransformersEngine,
    VllmEngine,
)
from quantcheck.spec.load import SLO, Load
from quantcheck.spec.part import Name, Part
from quantcheck.spec.policy import Policy
from quantcheck.spec.quality import Continuations, Quality, Sampling, TextSuite
from quantcheck.spec.variant import Calibration, Quantize, Variant

__all__ = [
    "AGAIN",
    "Calibration",
    "Continuations",
    "Engine",
    "Experiment",
    "FakeEngine",
    "LlamaCppEngine",
    "OpenAIEngine",
    "Quality",
    "Quantize",
    "Sampling",
    "TextSuite",
    "TransformersEngine",
    "Variant",
    "VllmEngine",
]

AGAIN = "@again"
"""Ends the name under which the baseline is measured a second time: their difference is the noise floor."""


class Experiment(Part):
    """One comparison: a model, its variants, an engine, and what is measured."""

    name: Name
    model: str = Field(description="`reference`, a Hugging Face folder, a GGUF file, hub:REPOSITORY, or for random "
                                   "weights a built-in shape, e.g. shape:mistral-7b")
    weights: Literal["real", "random"] = Field(
        "real", description="random: speed and memory of the architecture and format alone, without any weights")
    baseline: Name
    variants: dict[Name, Variant] = Field(min_length=1)
    engine: Engine = LlamaCppEngine()
    load: Load | None = None
    quality: Quality | None = None
    compare: list[tuple[Name, Name]] = Field(
        [], description="further comparisons: pairs of variants, the second against the first")
    policy: Policy = Policy()
    blocks: int = Field(5, ge=1, le=100, description="engine starts per variant; the unit of speed statistics")
    noise_floor: bool = Field(True, description="measure the baseline against itself")
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.baseline not in self.variants:
            raise ValueError(
                f"baseline {self.baseline!r} is not among the variants ({', '.join(self.variants)})"
            )
        if self.load is None and self.quality is None:
            raise ValueError("nothing to measure: give `load:` (speed), `quality:`, or both")
        if self.quality is not None and self.engine.kind == "fake":
            raise ValueError("the fake engine has no model to score; leave `quality:` out")
        if self.quality is not None and self.engine.kind == "vllm" and self.quality.divergence == "full":
            raise ValueError("quality.divergence: a vLLM server tells the likeliest tokens only; leave it out, or "
                             "give top-k")
        self._endpoints_fit()
        for name, variant in self.variants.items():
            self._fits(name, variant)
        for pair in self.compare:
            if pair[0] == pair[1] or not set(pair) <= set(self.variants):
                raise ValueError(f"compare: [{', '.join(pair)}] are not two of the variants "
                                 f"({', '.join(self.variants)})")
        self._batches_fit()
        self._weights_fit()
        self._policy_fits()
        return self

    def _fits(self, name: str, variant: Variant) -> None:
        """What a variant asks for must be possible with the engine."""
        if self.engine.kind == "openai":
            return
        if variant.url is not None or variant.model is not None:
            raise ValueError(f"variants.{name}: `url:` and `model:` are of a server that you run, and the engine is "
                             f"{self.engine.kind}; take `engine: {{kind: openai}}`, or leave them out")
        vllm, folders = self.engine.kind == "vllm", self.engine.kind in ("vllm", "transformers")
        if variant.maker == "transformers" and self.engine.kind != "transformers":
            raise ValueError(f"variants.{name}: {variant.scheme} is made by the transformers library as it loads the "
                             f"model, and the engine is {self.engine.kind}; take `engine: {{kind: transformers}}`, or "
                             "another scheme")
        if variant.scheme is None and variant.checkpoint is None and not folders:
            raise ValueError(f"variants.{name}: a variant needs `scheme:` (made from the model) or `checkpoint:` "
                             "(a ready file)")
        if variant.args and not vllm:
            raise ValueError(f"variants.{name}: `args:` are options of vLLM, and the engine is {self.engine.kind}; "
                             "leave them out")
        if folders and (variant.scheme or "").lower().startswith("gguf/"):
            what = "vLLM serves" if vllm else "transformers runs"
            raise ValueError(f"variants.{name}: {what} no GGUF files ({variant.scheme}); "
                             "take `engine: {kind: llama.cpp}`, or a scheme such as "
                             f"{'fp8-dynamic' if vllm else 'bnb-int8'}")

    def _endpoints_fit(self) -> None:
        """Of servers that the user runs, only what they answer is known."""
        engine = self.engine
        if not isinstance(engine, OpenAIEngine):
            return
        for name, variant in self.variants.items():
            where = f"variants.{name}"
            if variant.url is None or variant.model is None:
                raise ValueError(f"{where}: with `engine: {{kind: openai}}` a variant needs `url:` (where its server "
                                 "answers) and `model:` (its name there)")
            if variant != Variant(url=variant.url, model=variant.model):
                raise ValueError(f"{where}: your own server serves it, so that nothing is made or configured; leave "
                                 "all but `url:` and `model:` out")
        if self.weights == "random":
            raise ValueError("weights: your own servers have weights already; leave `weights:` out")
        if self.quality is None:
            return
        if engine.tokenizer is None:
            raise ValueError("quality needs token ids; add `tokenizer: FOLDER` to the engine, with the model's "
                             "config.json and tokenizer.json, or leave `quality:` out")
        if engine.api != "completions":
            raise ValueError("quality needs /v1/completions, because a chat does not score a given text; leave `api:` "
                             "or `quality:` out")
        if self.quality.divergence == "full":
            raise ValueError("quality.divergence: a server tells the likeliest tokens only; leave it out, or give "
                             "top-k")

    def _batches_fit(self) -> None:
        """The transformers engine is no server: it measures whole batches of prompts of a known length."""
        if self.load is not None and self.load.with_ == "guidellm":
            self._guidellm_fits()
        if self.engine.kind != "transformers" or self.load is None:
            return
        if self.load.rate:
            raise ValueError("load.rate: the transformers engine is no server, and has batches instead of requests "
                             "that arrive; leave `rate:` out (load.concurrency gives the batch sizes)")
        if self.slo is not None:
            raise ValueError("the transformers engine is no server, so that no request waits there and an SLO says "
                             "nothing; leave `slo:` out")
        for name, work in self.load.workloads.items():
            where = f"load.workloads.{name}"
            if work.trace is not None:
                raise ValueError(f"{where}: the transformers engine is no server, and replays no trace; give "
                                 "`prompt_tokens:` or `prompts:`")
            if work.free:
                raise ValueError(f"{where}: the transformers engine decodes exactly `output_tokens`, so that all "
                                 "variants' caches have the same size; leave `free:` out")
            for key in ("prompt_tokens", "output_tokens"):
                if not isinstance(getattr(work, key), int | None):
                    raise ValueError(f"{where}.{key}: a batch of the transformers engine has one length; give a number")

    def _guidellm_fits(self) -> None:
        if self.engine.kind == "transformers":
            raise ValueError("load.with: the transformers engine is no server that GuideLLM could ask; leave "
                             "`with: guidellm` out")
        if isinstance(self.engine, OpenAIEngine) and self.engine.api_key_env is not None:
            raise ValueError("load.with: GuideLLM writes the key that it is given into its report, and keys reach no "
                             "file; leave `with: guidellm` or `api_key_env` out")

    def _weights_fit(self) -> None:
        if self.weights == "real":
            if self.model.startswith("shape:"):
                raise ValueError(f"model: {self.model} is a shape without weights; add `weights: random`, or name a "
                                 "model")
            return
        if self.quality is not None:
            raise ValueError("weights: random weights have no quality; leave `quality:` out")
        for name, variant in self.variants.items():
            if variant.checkpoint:
                raise ValueError(f"variants.{name}: a checkpoint has weights of its own; with `weights: random` give "
                                 "`scheme:`")

    def _policy_fits(self) -> None:
        policy, subjects = self.policy, [] if self.quality is None else self.quality.subjects
        for task in policy.margin.tasks:
            if task not in subjects:
                raise ValueError(f"policy.margin.tasks: {task!r} is no suite of this experiment "
                                 f"({', '.join(subjects) or 'it has none'})")
        for name in policy.price.gpus if policy.price else ():
            if name not in self.variants:
                raise ValueError(f"policy.price.gpus: {name!r} is no variant ({', '.join(self.variants)})")
        if policy.slo and self.load and self.load.slo and policy.slo != self.load.slo:
            raise ValueError("policy.slo and load.slo differ; give one of them")

    @property
    def slo(self) -> SLO | None:
        """What a good answer is, wherever it was given."""
        return self.policy.slo or (self.load.slo if self.load else None)
