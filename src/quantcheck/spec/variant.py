"""A variant: the model in one number format, and how its artifact is made."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, field_validator, model_validator

from quantcheck.spec.engines import Arguments
from quantcheck.spec.part import Part

__all__ = ["Calibration", "Maker", "Quantize", "Variant"]

Maker = Literal["quantcheck", "llama-quantize", "llm-compressor", "transformers"]
_LOADED = ("bnb-", "torchao-")
"""Begin the schemes that the transformers library makes, as it loads the model."""


class Calibration(Part):
    """The text that a quantizer looks at to choose its scales."""

    dataset: str = Field(description="JSONL file (`text` or `messages` on every line), a text file, hub:OWNER/NAME, "
                                     "or a text that ships: reference/stories, reference/documentation")
    samples: PositiveInt = Field(512, description="samples that are used")
    tokens: PositiveInt = Field(2048, description="most tokens of a sample")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order in which samples are drawn")


class Quantize(Part):
    """How an artifact is made."""

    with_: Maker | None = Field(
        None, alias="with", description="none: quantcheck for gguf/ schemes, transformers for bnb- and torchao- ones, "
                                        "llm-compressor for the others")
    method: Literal["rtn", "gptq", "awq", "smoothquant-gptq"] | None = Field(
        None, description="of llm-compressor; none: rtn (rounding to nearest), or the one that the scheme names")
    calibration: Calibration | None = Field(None, description="of llm-compressor; gptq, awq and smoothquant need it")
    python: str | None = Field(
        None, description="interpreter that has it; none: that of `quantcheck engines install llm-compressor`")
    imatrix: str | None = Field(
        None, description="text file to compute an importance matrix from; none: plain quantization"
    )
    imatrix_tokens: PositiveInt = Field(32_768, description="tokens of that file to use")
    ignore: list[str] = Field(
        [], description="of llm-compressor: layers that stay as they are, by name or re:PATTERN, beside the head")
    tensors: dict[str, str] = Field(
        {}, description="of gguf/ schemes: tensors with another type than the scheme's, e.g. {blk.3.ffn_down: Q8_0}; * "
                        "stands for anything, and the last line that fits a tensor counts")


class Variant(Part):
    """The model in one number format: made from the model by a scheme, a ready checkpoint, or the model as it is; or
    what a server of the user's has."""

    scheme: str | None = Field(None, description="e.g. gguf/Q4_K_M; for vLLM fp16, fp8-dynamic, w8a8-int8, awq ...; "
                                                  "for transformers bnb-int8, bnb-nf4, torchao-int8 ... too")
    checkpoint: str | None = Field(
        None, description="a ready GGUF file or Hugging Face folder, hub:REPOSITORY/FILE.gguf or hub:REPOSITORY")
    quantize: Quantize = Quantize()
    args: Arguments = Field({}, description="options of the engine for this variant alone, as engine.args")
    url: str | None = Field(None, description="with engine.kind openai: where its server answers, e.g. "
                                              "http://127.0.0.1:8001/v1")
    model: str | None = Field(None, description="with `url:`, the name under which the server has it")

    @property
    def maker(self) -> Maker:
        """What makes it when it is made by a scheme."""
        scheme = (self.scheme or "gguf/").lower()
        if scheme.startswith("gguf/"):
            return self.quantize.with_ or "quantcheck"
        return self.quantize.with_ or ("transformers" if scheme.startswith(_LOADED) else "llm-compressor")

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right or not url.isascii() or not url.isprintable() or " " in url or parts.query or parts.fragment:
            raise ValueError("url: give an http or https URL without a query, such as http://127.0.0.1:8001/v1")
        if parts.username is not None:  # not repeated: it would be stored
            raise ValueError("url: has a user or password in it; leave it out, and name an environment variable that "
                             "holds the key as engine.api_key_env")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_source(self) -> "Variant":
        if self.quantize.imatrix is not None and (self.checkpoint or self.scheme in ("gguf/F16", "gguf/Q8_0")):
            raise ValueError(f"an importance matrix changes nothing in {self.scheme or 'a ready checkpoint'}; "
                             "leave `imatrix:` out")
        if self.quantize.ignore and (self.checkpoint or self.maker != "llm-compressor"):
            raise ValueError(f"`ignore:` is of llm-compressor, and this is made by {self.maker}; leave it out (GGUF "
                             "schemes have `tensors:`)")
        if self.quantize.tensors and (self.checkpoint or self.maker != "quantcheck"):
            who = "a ready checkpoint" if self.checkpoint else self.maker
            raise ValueError(f"`tensors:` are for GGUF files that quantcheck makes, and this is of {who}; leave it out")
        if self.maker == "transformers":
            if not (self.scheme or "").lower().startswith(_LOADED):
                raise ValueError(f"transformers makes schemes that begin with {' or '.join(_LOADED)}, not "
                                 f"{self.scheme}; leave `with:` out")
            if self.quantize != Quantize(with_=self.quantize.with_):
                raise ValueError(f"{self.scheme} is made as the model is loaded, and takes no settings; leave "
                                 "`quantize:` out")
            if self.checkpoint:
                raise ValueError(f"{self.scheme} is made from the model as it is loaded, and a checkpoint is ready; "
                                 "give one of them")
        return self
