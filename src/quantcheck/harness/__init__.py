"""lm-eval as the harness for named tasks: its prompts, filters and metrics, our engines, our data and our sandbox.

Needs the extra `quantcheck[eval]`; importing this package does not.
"""

from quantcheck.harness.definitions import NAMED
from quantcheck.harness.library import VERSION, why_missing
from quantcheck.harness.questions import Question, Questions, questions
from quantcheck.harness.run import Record, Rounds, TaskResult, answer
from quantcheck.harness.tokens import FolderTokens, HarnessTokenizer

__all__ = [
    "NAMED", "VERSION", "FolderTokens", "HarnessTokenizer", "Question", "Questions", "Record", "Rounds", "TaskResult",
    "answer", "questions", "why_missing",
]  # fmt: skip
