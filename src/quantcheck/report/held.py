"""What two runs that differ may still say: figures and words, figures alone, or neither."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NOT_COMPARABLE", "Held"]

NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Held:
    """`by` names what holds a kind of figure back (`speed`, `tasks`, `perplexity`), empty for nothing.

    With `force` such figures are shown, without words; else neither.
    """

    by: Mapping[str, str]
    force: bool

    def reason(self, kind: str) -> str:
        return f"{NOT_COMPARABLE}: {self.by[kind]} differ" if self.by[kind] else ""

    @property
    def word(self) -> str | None:
        """Of what is held back."""
        return None if self.force else NOT_COMPARABLE

    def hidden(self, kind: str) -> bool:
        """Whether even the figures are."""
        return bool(self.by[kind]) and not self.force
