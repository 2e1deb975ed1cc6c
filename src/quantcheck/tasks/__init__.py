"""The tasks that people trust, read from plain files in a user's folder."""

from quantcheck.tasks.corpora import CORPORA, read_corpus
from quantcheck.tasks.datasets import DATASETS, Dataset, read
from quantcheck.tasks.items import GSM8K, MBPP, HumanEval, IFEval, Item, MultipleChoice, TriviaQA

__all__ = [
    "CORPORA", "DATASETS", "GSM8K", "MBPP", "Dataset", "HumanEval", "IFEval", "Item", "MultipleChoice", "TriviaQA",
    "read", "read_corpus",
]  # fmt: skip
