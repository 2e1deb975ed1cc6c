"""Opens what answers a scoring job: llama.cpp in this process, or a server that the runner started for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from quantcheck.engines.base import Endpoint
from quantcheck.engines.scorer import Scorer, TopScorer
from quantcheck.errors import SpecError
from quantcheck.quality.tasks import Tokenizer

__all__ = ["Server", "make_room", "open_scorer"]


class Server(BaseModel):
    """Where a job's model is served under the name `model`, for sequences of up to `context` tokens.

    `concurrency`: requests in flight; `timeout_s`: the deadline of each; `log`: what the server writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    model: str
    context: int
    concurrency: int
    timeout_s: float
    log: Path


@contextmanager
def open_scorer(
    model: Path, server: Server | None, *, threads: int, batch_tokens: int
) -> Iterator[tuple[Scorer | TopScorer, Tokenizer]]:
    """The scorer of `model` and the model's own tokenizer.

    `model`: a GGUF file, or with a `server` the Hugging Face folder that it serves. Raises what the two raise.
    """
    # Imported here: a process that asks a server does not load the native library, and the other way round.
    if server is not None:
        from quantcheck.engines.folder_tokenizer import FolderTokenizer
        from quantcheck.engines.served_scorer import ServedScorer

        tokenizer = FolderTokenizer(model)
        with ServedScorer(
            Endpoint(server.base_url, server.model, "completions"), tokenizer.vocab_size, server.context,
            concurrency=server.concurrency, timeout_s=server.timeout_s, log=server.log,
        ) as served:  # fmt: skip
            yield served, tokenizer
        return
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
    from quantcheck.ggml.vocabulary import Vocabulary

    with LlamaCppScorer(model, threads, batch_tokens=batch_tokens) as scorer:
        yield scorer, Vocabulary(scorer.model)


def make_room(scorer: Scorer | TopScorer, tokens: int, remedy: str) -> None:
    """Let llama.cpp take sequences of up to `tokens` tokens; a server was started with room for them.

    Raises `SpecError`, which ends with `remedy`, when the model was trained for fewer.
    """
    if isinstance(scorer, TopScorer):
        return
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer

    assert isinstance(scorer, LlamaCppScorer)
    trained = scorer.model.context_length
    if tokens > trained:
        raise SpecError(f"{scorer.model.path}: was trained for {trained} tokens, and {tokens} are asked for; {remedy}")
    scorer.context = tokens  # its caches are made at first use: no larger than these suites need
