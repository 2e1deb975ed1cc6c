"""One document of each known data set, with the names of fields that the data set has.

They are checked as they are read: a wrong answer key or a missing field would otherwise become a wrong figure.
"""

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = ["GSM8K", "MBPP", "HumanEval", "IFEval", "Item", "MultipleChoice", "TriviaQA"]


def _whole(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half a character")
    return text


Text = Annotated[str, AfterValidator(_whole)]
Filled = Annotated[Text, Field(min_length=1)]


class Item(BaseModel):
    """A document. `id` is unique in its data set: the data set's own, or else made of the place in the file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    id: str

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all fields but `id`: equal for equal content, wherever it was read."""
        content = json.dumps(self.model_dump(exclude={"id"}), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


class GSM8K(Item):
    """A word problem; `answer` is its solution, and after `####` the number."""

    question: Filled
    answer: Filled

    @model_validator(mode="after")
    def _has_a_number(self) -> Self:
        if not self.answer.rpartition("####")[1]:
            raise ValueError("`answer` has no `####` before its number")
        return self


class HumanEval(Item):
    """A function to complete; `test` defines `check`, which takes the function."""

    task_id: Filled
    prompt: Filled
    entry_point: Filled
    canonical_solution: Text
    test: Filled

    def program(self, completion: str) -> str:
        """What has to run to its end if `completion`, written after `prompt`, is right: as HumanEval's own harness."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})"


class MBPP(Item):
    """A function to write by its description; `test_list` are assertions."""

    task_id: int
    text: Filled
    code: Text
    test_list: Annotated[list[Filled], Field(min_length=1)]
    test_setup_code: Text = ""
    challenge_test_list: list[Text] = []

    def program(self, code: str) -> str:
        """What has to run to its end if `code` is right; without `test_setup_code`, as in lm-eval's task."""
        return "\n".join([code, *self.test_list])


class IFEval(Item):  # type: ignore[no-redef]  # `kwargs` is a parameter of what pydantic's plugin for mypy makes
    """A prompt with instructions that a program can check; `kwargs`: the arguments of each."""

    key: int
    prompt: Filled
    instruction_id_list: Annotated[list[Filled], Field(min_length=1)]
    kwargs: list[dict[str, Any]]

    @model_validator(mode="after")
    def _each_has_arguments(self) -> Self:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(f"{len(self.instruction_id_list)} instructions, but `kwargs` for {len(self.kwargs)}")
        return self


class MultipleChoice(Item):
    """A question, or the beginning of a text, with one right choice: MMLU, ARC, HellaSwag. `gold` counts from 0."""

    question: Filled
    choices: Annotated[list[Text], Field(min_length=2)]
    gold: Annotated[int, Field(ge=0)]
    subject: str = ""

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> Self:
        if self.gold >= len(self.choices):
            raise ValueError(f"the answer is number {self.gold} (from 0) of {len(self.choices)} choices")
        return self


class TriviaQA(Item):
    """A question of knowledge; each of `aliases` is right."""

    question: Filled
    answer: Filled
    aliases: Annotated[list[Filled], Field(min_length=1)]
