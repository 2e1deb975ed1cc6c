"""Documents in the form that the data sets have on the hub, made of the items of plain files.

lm-eval's own definitions can then be used as they are: what a prompt looks like is written down nowhere in here.
"""

import re
from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import Any

from quantcheck.errors import SpecError
from quantcheck.tasks import MBPP, Item, MultipleChoice, TriviaQA

__all__ = ["document"]

Document = dict[str, Any]

# ActivityNet's contexts end in the beginning of a sentence, which the data set keeps apart, in lower case. Of the
# validation split's 10,042 contexts this finds that in some 3,240, and in none of WikiHow's, which end in whole ones.
_BEGUN = re.compile(r"(?<=[.!?\"'] )[a-z][^.!?]*$")


def _same(item: Item) -> Document:
    return item.model_dump(exclude={"id"})


def _mmlu(item: Item) -> Document:
    assert isinstance(item, MultipleChoice)
    return {"question": item.question, "subject": item.subject, "choices": item.choices, "answer": item.gold}


def _arc(item: Item) -> Document:
    assert isinstance(item, MultipleChoice)
    labels = list(ascii_uppercase[: len(item.choices)])
    return {"id": item.id, "question": item.question, "choices": {"text": item.choices, "label": labels},
            "answerKey": labels[item.gold]}


def _hellaswag(item: Item) -> Document:
    """The document after lm-eval's `process_docs`, which the plain file's writer has run but for one thing.

    lm-eval capitalizes the last, begun sentence; the file has it as the data set does.
    """
    assert isinstance(item, MultipleChoice)
    query = _BEGUN.sub(lambda begun: begun[0].capitalize(), item.question)
    return {"query": query, "choices": item.choices, "gold": item.gold, "label": str(item.gold)}


def _triviaqa(item: Item) -> Document:
    assert isinstance(item, TriviaQA)
    return {"question": item.question, "answer": {"value": item.answer, "aliases": item.aliases}}


def _mbpp(item: Item) -> Document:
    """lm-eval shows and runs three assertions."""
    assert isinstance(item, MBPP)
    if len(item.test_list) != 3:
        raise SpecError(f"mbpp, {item.id}: {len(item.test_list)} assertions where lm-eval's task has three")
    return item.model_dump(exclude={"id"})


_FORMS: Mapping[str, Callable[[Item], Document]] = {
    "mmlu": _mmlu,
    "arc_easy": _arc,
    "arc_challenge": _arc,
    "hellaswag": _hellaswag,
    "triviaqa": _triviaqa,
    "mbpp": _mbpp,
}


def document(dataset: str, item: Item) -> Document:
    """`item` of `dataset` (a name of `quantcheck.tasks`) as the hub has it."""
    return _FORMS.get(dataset, _same)(item)
