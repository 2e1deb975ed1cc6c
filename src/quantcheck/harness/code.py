"""Judging code that the model wrote: only in the sandbox, never by lm-eval's `code_eval`, which has none."""

from collections.abc import Mapping, Sequence
from typing import Any

from quantcheck.sandbox import Program, run_all

__all__ = ["passed"]


def passed(dataset: str, samples: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether the code of each sample of lm-eval passes its tests.

    What is run is what lm-eval's `pass_at_k` runs: HumanEval's prompt and answer, MBPP's answer, and the tests after
    it. Raises `MeasurementError` when a sandbox does not start.
    """
    programs = []
    for sample in samples:
        text = sample["resps"][0][0]
        code = sample["doc"]["prompt"] + text if dataset == "humaneval" else text
        # Under another name than `__main__`, as `code_eval` runs it.
        programs.append(Program(f"{code}\n{sample['target']}", name="candidate"))
    return [outcome.ending == "passed" for outcome in run_all(programs)]
