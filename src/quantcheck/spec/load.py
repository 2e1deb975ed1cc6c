"""The speed half of an experiment: what is sent, when, and what is asked of the answers."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from quantcheck.spec.part import Name, Part

__all__ = ["SLO", "Arrival", "Length", "Load", "Lognormal", "Point", "Uniform", "Workload"]

Share = Annotated[float, Field(ge=0, lt=1)]


class Uniform(Part):
    """Lengths drawn uniformly from `min` to `max`, both included."""

    min: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Lognormal(Part):
    """Lengths whose logarithm is normal, cut to [`min`, `max`]: the shape of real traffic."""

    median: PositiveFloat
    sigma: PositiveFloat = Field(description="standard deviation of the logarithm")
    min: PositiveInt = 1
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> "Lognormal":
        if not self.min <= self.median <= self.max:
            raise ValueError(f"median ({self.median:g}) must lie between min ({self.min}) and max ({self.max})")
        return self


Length = PositiveInt | Uniform | Lognormal
"""Tokens: a number, or a distribution."""


class Workload(Part):
    """Prompts and the length of their answers: synthetic token ids, the user's own prompts, or a trace."""

    prompt_tokens: Length | None = Field(None, description="exact length of synthetic prompts")
    output_tokens: Length | None = Field(None, description="forced length of the answers; the most, when free")
    prompts: str | None = Field(None, description="JSONL file, `prompt` (text) or `messages` (chat) on every line")
    trace: str | None = Field(None, description="CSV file of arrival times and lengths, replayed")
    time_scale: PositiveFloat = Field(1.0, description="of a trace: 2 replays it twice as fast")
    shared_prefix: Share = Field(0.0, description="share of each synthetic prompt that all prompts have in common")
    free: bool = Field(False, description="let answers end where the model ends them")

    @model_validator(mode="after")
    def _one_source(self) -> "Workload":
        given = [name for name in ("prompt_tokens", "prompts", "trace") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a workload needs one of `prompt_tokens:` (synthetic), `prompts:` (a JSONL file) and "
                             f"`trace:` (a CSV file); given: {', '.join(given) or 'none'}")
        if self.trace is None and self.output_tokens is None:
            raise ValueError("`output_tokens` is missing; add it (with `free: true` it is the most that is allowed)")
        if self.trace is not None and self.output_tokens is not None:
            raise ValueError("a trace brings its own lengths; leave `output_tokens` out")
        if self.shared_prefix and self.prompt_tokens is None:
            raise ValueError("`shared_prefix` is for synthetic prompts (`prompt_tokens:`); leave it out")
        return self


class Arrival(Part):
    """How requests of an open loop are spread: their gaps' distribution."""

    process: Literal["constant", "poisson", "gamma"] = "poisson"
    burstiness: PositiveFloat = Field(1.0, description="gamma's shape: below 1 bursts, 1 is Poisson, above is even")

    @model_validator(mode="after")
    def _only_gamma(self) -> "Arrival":
        if self.process != "gamma" and self.burstiness != 1.0:
            raise ValueError(f"burstiness is gamma's: {self.process} arrivals have none; leave it out, or take gamma")
        return self


class SLO(Part):
    """What a good answer is, in ms; with `share` of all requests to be good."""

    ttft_ms: PositiveFloat | None = None
    itl_ms: PositiveFloat | None = Field(None, description="of every request's mean time per token (TPOT)")
    e2e_ms: PositiveFloat | None = None
    share: float = Field(0.95, gt=0, lt=1, description="0.95: the 95th percentile must hold")


@dataclass(frozen=True, slots=True)
class Point:
    """One workload at one load; without concurrency and rate it is a trace at its own times."""

    name: str
    workload: Workload
    concurrency: int | None = None
    rate: float | None = None

    @property
    def subject(self) -> str:
        """What its cells are called: `chat@c8`, `chat@r2.5`, `production@trace`."""
        if self.concurrency is not None:
            return f"{self.name}@c{self.concurrency}"
        return f"{self.name}@r{self.rate:g}" if self.rate is not None else f"{self.name}@trace"


class Load(Part):
    """Every workload at every concurrency (closed loop) and every rate (open loop), in each block."""

    workloads: dict[Name, Workload] = Field(min_length=1)
    concurrency: list[PositiveInt] = Field([1], description="closed loop: streams that each wait for their answer")
    rate: list[PositiveFloat] = Field([], description="open loop: requests/s, whatever the server does")
    arrival: Arrival = Arrival()
    slo: SLO | None = Field(None, description="what goodput counts")
    requests: PositiveInt = Field(16, description="measured requests per window; at least 3 per stream are sent")
    warmup_requests: int = Field(2, ge=0, description="requests per stream before the window, other prompts")
    request_timeout_s: PositiveFloat = 120.0
    with_: Literal["quantcheck", "guidellm"] = Field(
        "quantcheck", alias="with", description="who sends the requests and times the answers: our own client, or "
        "GuideLLM (`quantcheck engines install guidellm`)")
    python: str | None = Field(None, description="an interpreter that has GuideLLM; none: the installed environment's")
    tokenizer: str | None = Field(
        None, description="folder of the tokenizer that GuideLLM cuts its prompts by; none: the baseline's own, where "
        "it has one")

    def points(self) -> list[Point]:
        """Every load, in the order in which they are measured. A trace comes once, at its own times."""
        return [
            point for name, workload in self.workloads.items()
            for point in ([Point(name, workload)] if workload.trace is not None else [
                *(Point(name, workload, concurrency=streams) for streams in self.concurrency),
                *(Point(name, workload, rate=rate) for rate in self.rate)])
        ]

    @model_validator(mode="after")
    def _some_load(self) -> "Load":
        if not self.concurrency and not self.rate and not all(work.trace for work in self.workloads.values()):
            raise ValueError("no load: give `concurrency:` (streams), `rate:` (requests/s), or both")
        if self.with_ == "guidellm":
            self._guidellm_can()
        elif self.python is not None or self.tokenizer is not None:
            raise ValueError("`python` and `tokenizer` are GuideLLM's; add `with: guidellm`, or leave them out")
        return self

    def _guidellm_can(self) -> None:
        """What GuideLLM draws and sends as our client does; all else would be other work under the same name."""
        for name, work in self.workloads.items():
            where = f"workloads.{name}"
            if not isinstance(work.prompt_tokens, int) or not isinstance(work.output_tokens, int):
                raise ValueError(f"{where}: GuideLLM is given synthetic prompts of one length; give `prompt_tokens` "
                                 "and `output_tokens` as numbers, or leave `with: guidellm` out")
            if work.shared_prefix or work.free:
                raise ValueError(f"{where}: `shared_prefix` and `free` are our own client's; leave them out, or leave "
                                 "`with: guidellm` out")
        if self.rate and self.arrival.process == "gamma":
            raise ValueError("arrival: GuideLLM knows constant and poisson; take one of them, or leave "
                             "`with: guidellm` out")
