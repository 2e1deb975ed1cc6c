"""Suites sums/N: does the model add whole numbers below N? Grouped by the first of the two."""

import hashlib

from quantcheck.quality.suite import GenerationTask, Item
from quantcheck.spec.quality import Quality

SHOWN = "2 + 3 = 5\n4 + 1 = 5\n"


def right(item: Item, text: str) -> bool:
    return text.strip() == item.data["answer"]


def suite(name: str, quality: Quality) -> GenerationTask:
    below = int(name.partition("/")[2])
    items = tuple(
        Item(f"{a}+{b}", str(a), f"{SHOWN}{a} + {b} =", {"answer": str(a + b)})
        for a in range(below) for b in range(below)
    )[: quality.items]
    digest = hashlib.sha256(repr((items, "right 1")).encode()).hexdigest()
    return GenerationTask(name, items, 8, right, digest)
