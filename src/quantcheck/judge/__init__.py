"""Another model judges what variants wrote: the texts of a stored run, pair by pair, through an endpoint of the user's.

Pairwise, as MT-Bench does it (Zheng et al. 2023, arXiv:2306.05685): both orders of every pair, several times.
"""

from quantcheck.judge.pairs import TextPair, pairs_of
from quantcheck.judge.run import INSTRUCTION_SHA256, Judge, judge
from quantcheck.judge.score import Answer, JudgedRow, JudgeReport, judged_row
from quantcheck.judge.table import judged_grid

__all__ = [
    "INSTRUCTION_SHA256", "Answer", "Judge", "JudgeReport", "JudgedRow", "TextPair", "judge", "judged_grid",
    "judged_row", "pairs_of",
]  # fmt: skip
