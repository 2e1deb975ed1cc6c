"""The tools whose results are read, and which of them wrote a file: its content says so."""

from collections.abc import Callable
from pathlib import Path

from quantcheck.errors import SpecError
from quantcheck.importers import aiperf, guidellm, llama_bench, llama_perplexity, lm_eval, vllm_bench
from quantcheck.importers.content import Content, read_content
from quantcheck.importers.fields import Wrong
from quantcheck.importers.parts import Read

__all__ = ["TOOLS", "read_file", "recognised"]

Reader = Callable[[Content, str | None, str | None], Read]
"""Of a file, `--metric` and `--model`."""

_TOOLS: dict[str, tuple[Callable[[Content], bool], Reader]] = {
    "guidellm": (guidellm.recognises, lambda content, _metric, _model: guidellm.read(content)),
    "aiperf": (aiperf.recognises, lambda content, _metric, _model: aiperf.read(content)),
    "vllm-bench": (vllm_bench.recognises, lambda content, _metric, _model: vllm_bench.read(content)),
    "lm-eval": (lm_eval.recognises, lambda content, metric, _model: lm_eval.read(content, metric)),
    "llama-bench": (llama_bench.recognises, lambda content, _metric, model: llama_bench.read(content, model)),
    "llama-perplexity": (llama_perplexity.recognises, lambda content, _metric, _model: llama_perplexity.read(content)),
}
TOOLS = tuple(_TOOLS)


def recognised(content: Content) -> str | None:
    """The tool that wrote it; None: none that is known."""
    return next((tool for tool, (recognises, _) in _TOOLS.items() if recognises(content)), None)


def read_file(
    path: Path, tool: str | None = None, *, metric: str | None = None, model: str | None = None
) -> tuple[Content, Read]:
    """What the file at `path` holds, and the file; `tool` (of `TOOLS`) forces which tool wrote it.

    Raises `SpecError` in one line, which begins with the path, for a file that cannot be read or is none of a tool's.
    """
    content = read_content(path)
    known = tool or recognised(content)
    if known is None:
        broken = content.json is None
        why = "is cut off, damaged or no result file" if broken else "is JSON, but of no tool that is known"
        raise SpecError(f"{path}: {why} (known: {', '.join(TOOLS)}); --from TOOL forces one and says what it lacks")
    try:
        return content, _TOOLS[known][1](content, metric, model)
    except Wrong as error:
        raise SpecError(f"{path}: as {known}: {error}") from error
