"""What all parts of an experiment have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NAME", "Name", "Part"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]


class Part(BaseModel):
    """Checked, immutable, and without room for misspelt keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
