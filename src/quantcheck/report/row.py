"""What every row of the view model is made of: figures with intervals, and the words of verdicts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["NO_FLOOR", "Clause", "CostWord", "DecisionWord", "Figure", "QualityWord", "Row", "SpeedWord"]

QualityWord = Literal["safe", "harmed", "inconclusive", "not comparable"]
CostWord = Literal["cheaper", "dearer", "no detectable difference", "inconclusive"]
DecisionWord = Literal["ship", "do not ship", "inconclusive"]
SpeedWord = Literal["faster", "slower", "no detectable difference", "inconclusive", "not comparable"]


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(Row):
    """A number with its 95% interval; `reason` says why the number, or only its interval, is missing."""

    value: float | None = Field(None, allow_inf_nan=False)
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)
    reason: str | None = None

    @model_validator(mode="after")
    def _missing_says_why(self) -> "Figure":
        if self.value is None and not self.reason:
            raise ValueError("a missing figure needs a reason")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        return self


NO_FLOOR = Figure(reason="no noise floor was measured")


class Clause(Row):
    """A piece of the headline and the JSON pointer (RFC 6901) of the figure or word that it states."""

    text: str
    variant: str | None
    source: str
