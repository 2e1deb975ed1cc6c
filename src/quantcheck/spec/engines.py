"""The engine that serves the variants, and what it is told."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from quantcheck.spec.part import Part

__all__ = ["KINDS", "Arguments", "Engine", "FakeEngine", "LlamaCppEngine", "OpenAIEngine", "TransformersEngine",
           "VllmEngine"]


Value = bool | int | float | str | list[str | int | float] | dict[str, object] | None
OURS = ("model", "served-model-name", "host", "port", "api-key", "load-format")
"""Options of `vllm serve` that follow from the experiment."""


def _bare(arguments: dict[str, Value]) -> dict[str, Value]:
    for name in arguments:
        if name.startswith("-") or "_" in name or "=" in name:
            right = name.lstrip("-").replace("_", "-").partition("=")[0]
            raise ValueError(f"{name!r}: write an option without its dashes in front and with dashes inside, {right!r}")
        if name in OURS:
            raise ValueError(f"{name!r} is set by quantcheck; leave it out")
    return arguments


Arguments = Annotated[dict[str, Value], AfterValidator(_bare)]
"""Options of an engine's command line, such as `max-num-seqs: 256`; true and false become `--x` and `--no-x`, null
takes a default of quantcheck's away."""


class LlamaCppEngine(Part):
    """llama.cpp, of the version of the pinned xllamacpp wheel."""

    kind: Literal["llama.cpp"] = "llama.cpp"
    build: Literal["wheel", "native"] = Field(
        "wheel", description="wheel: machine code for any processor with AVX2; native: compiled for this one by "
                             "`quantcheck engines install llama.cpp`")
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


class VllmEngine(Part):
    """vLLM's own OpenAI-compatible server, in an environment of its own."""

    kind: Literal["vllm"] = "vllm"
    python: str | None = Field(
        None, description="interpreter that has vLLM; none: that of `quantcheck engines install vllm`")
    args: Arguments = Field({}, description="options of `vllm serve` without dashes in front, e.g. max-num-seqs: 256")
    environment: dict[str, str] = Field({}, description="further environment variables, e.g. VLLM_ATTENTION_BACKEND")
    start_timeout_s: PositiveFloat = 900.0
    port: int | None = Field(None, ge=1, le=65535, description="none: any free port")


class TransformersEngine(Part):
    """The transformers library, in a process and an environment of its own. It is no server: it measures itself."""

    kind: Literal["transformers"] = "transformers"
    python: str | None = Field(
        None, description="interpreter that has it; none: that of `quantcheck engines install transformers`")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="of what a variant does not quantize; auto: as the variant's scheme or the model's files "
                            "say")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU, where torch sees one")
    attention: Literal["sdpa", "eager"] = Field("sdpa", description="the library's attn_implementation")
    cache: Literal["dynamic", "static"] = Field(
        "dynamic", description="for speed: dynamic grows with the answer, static is allocated whole before the prompt")
    batch_size: PositiveInt = Field(16, description="for quality: sequences at once; for speed it is load.concurrency")
    batch_tokens: PositiveInt = Field(2048, description="for quality: most tokens at once, with padding")
    threads: PositiveInt | None = Field(None, description="compute threads on a CPU; none: all cores")
    start_timeout_s: PositiveFloat = 900.0


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # what was given may be the key: it is not repeated
        raise ValueError("engine.api_key_env: give the name of an environment variable, such as OPENAI_API_KEY, and "
                         "never the key itself")
    return name


class OpenAIEngine(Part):
    """Servers that the user runs, behind OpenAI's API: nothing is started, stopped or configured."""

    kind: Literal["openai"] = "openai"
    tokenizer: str | None = Field(
        None, description="folder with the model's config.json and tokenizer.json; quality needs it, and prompts of "
                          "token ids; none: speed with prompts of text")
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = Field(
        None, description="environment variable that holds the key; the key itself is never stored")
    api: Literal["completions", "chat"] = Field(
        "completions", description="what the load is sent to, /v1/completions or /v1/chat/completions; quality needs "
                                   "the first")
    context: PositiveInt | None = Field(None, description="tokens that a request may hold; none: as /v1/models tells")
    top_logprobs: PositiveInt = Field(
        5, description="likeliest tokens that are asked for at each place; OpenAI's API gives 5, vLLM 20 by default")
    concurrency: PositiveInt = Field(16, description="requests at once when quality is asked for")


Engine = Annotated[LlamaCppEngine | FakeEngine | VllmEngine | TransformersEngine | OpenAIEngine,
                   Field(discriminator="kind")]
KINDS = ("llama.cpp", "fake", "vllm", "transformers", "openai")
