"""What a user asks for: the Experiment and its parts.

Everything here is checked before anything is started, and nothing here touches the disk or the network.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from quantcheck.spec.load import SLO, Load
from quantcheck.spec.part import Name, Part
from quantcheck.spec.policy import Policy

__all__ = [
    "AGAIN",
    "Engine",
    "Experiment",
    "FakeEngine",
    "LlamaCppEngine",
    "Quality",
    "Quantize",
    "Sampling",
    "TextSuite",
    "Variant",
]

AGAIN = "@again"
"""Ends the name under which the baseline is measured a second time: their difference is the noise floor."""


class Quantize(Part):
    """How an artifact is made."""

    with_: Literal["quantcheck", "llama-quantize"] = Field("quantcheck", alias="with")
    imatrix: str | None = Field(
        None, description="text file to compute an importance matrix from; none: plain quantization"
    )
    imatrix_tokens: PositiveInt = Field(32_768, description="tokens of that file to use")


class Variant(Part):
    """The model in one number format: made from the model by a scheme, or a ready checkpoint."""

    scheme: str | None = Field(None, description="e.g. gguf/F16, gguf/Q8_0, gguf/Q4_K_M")
    checkpoint: str | None = Field(None, description="a ready GGUF file, or hub:REPOSITORY/FILE.gguf")
    quantize: Quantize = Quantize()

    @model_validator(mode="after")
    def _one_source(self) -> "Variant":
        if self.scheme is None and self.checkpoint is None:
            raise ValueError("a variant needs `scheme:` (made from the model) or `checkpoint:` (a ready file)")
        if self.quantize.imatrix is not None and (self.checkpoint or self.scheme in ("gguf/F16", "gguf/Q8_0")):
            raise ValueError(f"an importance matrix changes nothing in {self.scheme or 'a ready checkpoint'}; "
                             "leave `imatrix:` out")
        return self



class LlamaCppEngine(Part):
    """llama.cpp through the pinned xllamacpp wheel."""

    kind: Literal["llama.cpp"] = "llama.cpp"
    threads: PositiveInt | None = Field(None, description="compute threads; none: cores minus one, at least 1")
    scoring_threads: PositiveInt | None = Field(None, description="threads for quality; none: all cores")
    slots: PositiveInt | None = Field(None, description="requests served at once; none: the most streams, or 8")
    context: PositiveInt | None = Field(None, description="tokens a request may hold; none: what the load needs")
    start_timeout_s: PositiveFloat = 120.0
    port: int | None = Field(None, ge=1, le=65535, description="none: any free port")


class FakeEngine(Part):
    """An OpenAI-compatible server with scripted timings; for tests and for calibrating the client."""

    kind: Literal["fake"] = "fake"
    ttft_ms: float = Field(20.0, ge=0)
    itl_ms: float = Field(5.0, ge=0)
    tokens_per_chunk: PositiveInt = Field(1, description="tokens that one event carries")
    slots: PositiveInt | None = Field(None, description="requests served at once, others wait; none: all; one process")
    processes: PositiveInt = Field(1, description="processes that share the connections")
    speed: dict[str, PositiveFloat] = Field({}, description="variant name to speed-up; others 1.0")
    start_delay_s: float = Field(0.0, ge=0)
    fault: str | None = Field(None, description="scripted fault, KIND or KIND:N, such as never-healthy or die-after:20")
    start_timeout_s: PositiveFloat = 30.0
    port: int | None = Field(None, ge=1, le=65535)


Engine = Annotated[LlamaCppEngine | FakeEngine, Field(discriminator="kind")]


class TextSuite(Part):
    """A perplexity suite over the user's own text: one file; JSONL with `text`, or plain text."""

    text: str
    tokens: PositiveInt | None = Field(32_768, description="tokens to score; null: the whole file")


class Sampling(Part):
    """Answers drawn at a temperature instead of the most likely token each time; of tasks whose answers are written."""

    temperature: float = Field(0.7, gt=0, le=10, description="divides the logits; 1 is the model's own distribution")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens that hold this much probability")
    draws: int = Field(4, ge=1, le=256, description="answers per item; 2 tell an item's own spread from the models'")


class Quality(Part):
    """The quality half: perplexity corpora and tasks, scored on the same token ids for every variant."""

    suites: list[str] = Field([], description="names of suites that ship, e.g. reference/arithmetic")
    texts: dict[Name, TextSuite] = Field({}, description="further perplexity corpora")
    items: PositiveInt | None = Field(None, description="items per task; none: all")
    tokens: PositiveInt | None = Field(None, description="tokens to score of a corpus that ships; none: all")
    context: int = Field(512, ge=8, description="tokens of the perplexity window")
    stride: int = Field(256, ge=1, description="tokens scored per window (the last ones)")
    stop: Literal["never", "early"] = Field(
        "never", description="early: a variant's task ends when it is shown to be safe or harmed; valid at any look"
    )
    sampling: Sampling | None = Field(None, description="draw answers at a temperature; none: greedy")

    @model_validator(mode="after")
    def _stride_fits(self) -> "Quality":
        if self.stride >= self.context:
            raise ValueError(f"stride ({self.stride}) must be below context ({self.context})")
        if not self.suites and not self.texts:
            raise ValueError("quality needs `suites:` or `texts:`; leave `quality:` out to measure speed only")
        return self


class Experiment(Part):
    """One comparison: a model, its variants, an engine, and what is measured."""

    name: Name
    model: str = Field(description="`reference`, a Hugging Face folder, a GGUF file, or hub:REPOSITORY")
    baseline: Name
    variants: dict[Name, Variant] = Field(min_length=1)
    engine: Engine = LlamaCppEngine()
    load: Load | None = None
    quality: Quality | None = None
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
        self._policy_fits()
        return self

    def _policy_fits(self) -> None:
        policy, subjects = self.policy, [] if self.quality is None else [*self.quality.suites, *self.quality.texts]
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
