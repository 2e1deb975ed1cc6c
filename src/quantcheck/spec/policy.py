"""What a user requires of a variant before it ships; also the document that `quantcheck gate` reads."""

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from quantcheck.spec.load import SLO
from quantcheck.spec.part import Name, Part

__all__ = ["Margin", "Policy", "Price"]


class Margin(Part):
    """The loss or slowdown that does not matter."""

    accuracy_pp: PositiveFloat = Field(1.0, description="percentage points, of every task")
    tasks: dict[str, PositiveFloat] = Field({}, description="percentage points of single tasks, by suite name")
    throughput_ratio: PositiveFloat = Field(0.05, description="0.05: within 5% is the same speed")
    perplexity_ratio: PositiveFloat = Field(0.01, description="0.01: 1% more perplexity does not matter")

    def accuracy(self, task: str) -> float:
        """The loss of accuracy on `task` that does not matter, as a fraction."""
        return self.tasks.get(task, self.accuracy_pp) / 100


class Price(Part):
    """What the hardware costs: an assumption of the user, shown as one."""

    gpu_hour_usd: PositiveFloat = Field(description="USD for one accelerator (or machine) for an hour")
    gpus: dict[Name, PositiveInt] = Field({}, description="accelerators that a variant takes, by its name; others 1")

    def accelerators(self, variant: str) -> int:
        """How many `variant` takes."""
        return self.gpus.get(variant, 1)

    def hour_usd(self, variant: str) -> float:
        """USD for an hour of `variant`."""
        return self.gpu_hour_usd * self.accelerators(variant)


class Policy(Part):
    """Conditions of the decision; those that are not given are not asked."""

    margin: Margin = Margin()
    slo: SLO | None = Field(None, description="what a good answer is; none: that of `load:`")
    price: Price | None = None
    memory_gb: PositiveFloat | None = Field(None, description="most memory (GB of 1e9 bytes) that a variant may take")
    minimum_speedup: PositiveFloat | None = Field(None, description="least ratio of throughput, such as 1.2")
    maximum_usd: PositiveFloat | None = Field(None, description="most USD per million output tokens; needs a price")
    amortise_tokens: PositiveFloat = Field(1e9, description="tokens over which the cost of quantizing is spread")

    @model_validator(mode="after")
    def _priced(self) -> "Policy":
        if self.maximum_usd is not None and self.price is None:
            raise ValueError("maximum_usd is a cost, and a cost needs `price: {gpu_hour_usd: ...}`; add it")
        return self
