"""lm-eval as the harness for named tasks: its prompts, filters and metrics, our engines, our data and our sandbox.

Needs the extra `quantcheck[eval]`; importing this package does not.
"""

from quantcheck.harness.run import Record, TaskResult, answer
from quantcheck.harness.tokens import FolderTokens

__all__ = ["FolderTokens", "Record", "TaskResult", "answer"]
