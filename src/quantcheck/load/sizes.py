"""How large a workload's requests are, before any is made: for an engine's context, an estimate of time, and a cell's
digest."""

import hashlib
from pathlib import Path
from typing import Any

from quantcheck.errors import SpecError
from quantcheck.load import lengths
from quantcheck.load.prompts import read_prompts
from quantcheck.load.traces import read_trace
from quantcheck.spec.load import Length, Lognormal, Uniform, Workload

__all__ = ["expected_tokens", "longest_request", "typical", "workload_digest"]

TEMPLATE_TOKENS = 64
"""What a chat template may add to a prompt."""
CHARACTERS_PER_TOKEN = 4


def longest_request(workload: Workload) -> int:
    """Tokens of the longest prompt with its answer; of the user's prompts an upper bound (a token is a byte or more).

    Raises `SpecError` when a file cannot be read.
    """
    if workload.trace is not None:
        trace = read_trace(Path(workload.trace), workload.time_scale)
        return int((trace.prompt_tokens + trace.output_tokens).max())
    assert workload.output_tokens is not None
    if workload.prompts is None:
        assert workload.prompt_tokens is not None
        return lengths.longest(workload.prompt_tokens) + lengths.longest(workload.output_tokens)
    asked = lengths.longest(workload.output_tokens)
    return TEMPLATE_TOKENS + max(len(str(prompt.prompt).encode()) + max(asked, prompt.output_tokens or 0)
                                 for prompt in read_prompts(Path(workload.prompts)))


def expected_tokens(workload: Workload) -> float:
    """About how many tokens a request has, prompt and answer."""
    return float(sum(typical(workload)))


def typical(workload: Workload) -> tuple[int, int]:
    """About how many tokens a prompt and an answer have."""
    if workload.trace is not None:
        trace = read_trace(Path(workload.trace), workload.time_scale)
        return round(float(trace.prompt_tokens.mean())), round(float(trace.output_tokens.mean()))
    assert workload.output_tokens is not None
    output = round(_middle(workload.output_tokens))
    if workload.prompts is not None:
        texts = [len(str(prompt.prompt)) for prompt in read_prompts(Path(workload.prompts))]
        return max(1, round(sum(texts) / len(texts) / CHARACTERS_PER_TOKEN)), output
    assert workload.prompt_tokens is not None
    return round(_middle(workload.prompt_tokens)), output


def _middle(length: Length) -> float:
    if isinstance(length, Uniform):
        return (length.min + length.max) / 2
    return length.median if isinstance(length, Lognormal) else float(length)


def workload_digest(workload: Workload) -> dict[str, Any]:
    """The workload as JSON, its files by their content: where they lie does not matter."""
    found = workload.model_dump(mode="json")
    for key in ("prompts", "trace"):
        if found[key] is not None:
            try:
                found[key] = hashlib.sha256(Path(found[key]).read_bytes()).hexdigest()
            except OSError as error:
                raise SpecError(f"load.workloads: {found[key]}: cannot be read ({error.strerror})") from error
    return found
