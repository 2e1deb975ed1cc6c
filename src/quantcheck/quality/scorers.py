"""Opens what answers a scoring job: llama.cpp in this process, a server that was started for it, or transformers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from quantcheck.engines.base import Endpoint
from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.hf.scorer import TransformersScorer, batches
from quantcheck.engines.scorer import TOP_K, Scorer, TopScorer
from quantcheck.errors import SpecError
from quantcheck.harness import FolderTokens, HarnessTokenizer
from quantcheck.quality.tasks import Tokenizer

__all__ = ["BatchShape", "Held", "Server", "TaskTokenizer", "batch_starts", "make_room", "open_scorer",
           "open_tokenizer", "task_room", "task_tokenizer"]


BatchShape = tuple[int | None, int]
"""Sequences and tokens that are scored at once; None: llama.cpp's, which takes as many as it likes."""


class TaskTokenizer(HarnessTokenizer, Protocol):
    """The tokenizer that named tasks are asked with, and the model's own chat template."""

    @property
    def chat_template(self) -> str | None: ...


class Server(BaseModel):
    """Where a job's model is served under the name `model`, for sequences of up to `context` tokens.

    `concurrency`: requests in flight; `timeout_s`: the deadline of each; `log`: what the server writes, of one that was
    started here. `kind`: how it is asked, vLLM's own way or OpenAI's; `key_variable` holds the key of such a server.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    model: str
    context: int
    concurrency: int
    timeout_s: float
    log: Path | None
    kind: Literal["vllm", "openai"] = "vllm"
    top_k: int = TOP_K
    key_variable: str | None = None


class Held(BaseModel):
    """How transformers loads a job's model in a worker of its own, `batch_size` sequences at once; `log`: the worker's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loaded: Loaded
    batch_size: int
    log: Path


@contextmanager
def open_scorer(
    model: Path, server: Server | None, *, threads: int, batch_tokens: int, held: Held | None = None,
    alive: Callable[[], None] | None = None,
) -> Iterator[tuple[Scorer | TopScorer, Tokenizer]]:
    """The scorer of `model` and the model's own tokenizer.

    `model`: a GGUF file, or with a `server` or `held` the Hugging Face folder that is served or loaded. `alive` is
    called while a worker is waited for. Raises what the three raise.
    """
    # Imported here: a process that asks a server does not load the native library, and the other way round.
    if server is not None:
        from quantcheck.engines.folder_tokenizer import FolderTokenizer
        from quantcheck.engines.served_scorer import ServedScorer

        tokenizer, endpoint = FolderTokenizer(model), Endpoint(server.base_url, server.model, "completions")
        if server.kind == "openai":
            from quantcheck.engines.endpoint_scorer import EndpointScorer

            with EndpointScorer(
                endpoint, tokenizer, server.context, top_k=server.top_k, concurrency=server.concurrency,
                timeout_s=server.timeout_s, key_variable=server.key_variable,
            ) as asked:  # fmt: skip
                yield asked, tokenizer
            return
        with ServedScorer(
            endpoint, tokenizer.vocab_size, server.context, top_k=server.top_k,
            concurrency=server.concurrency, timeout_s=server.timeout_s, log=server.log,
        ) as served:  # fmt: skip
            yield served, tokenizer
        return
    if held is not None:
        from quantcheck.engines.folder_tokenizer import FolderTokenizer

        tokenizer = FolderTokenizer(model)
        with TransformersScorer(held.loaded, log=held.log, batch_size=held.batch_size, batch_tokens=batch_tokens,
                                alive=alive) as scorer_there:
            yield scorer_there, tokenizer
        return
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
    from quantcheck.ggml.vocabulary import Vocabulary

    with LlamaCppScorer(model, threads, batch_tokens=batch_tokens) as scorer:
        yield scorer, Vocabulary(scorer.model)


def task_tokenizer(scorer: Scorer | TopScorer, model: Path) -> TaskTokenizer:
    """The tokenizer of the model that `scorer` was opened for, as lm-eval's tasks are asked with; raises `ModelError`.
    """
    if model.is_dir():
        return FolderTokens(model)
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
    from quantcheck.ggml.special import SpecialVocabulary

    assert isinstance(scorer, LlamaCppScorer)
    return SpecialVocabulary(scorer.model)


def task_room(scorer: Scorer | TopScorer, server: Server | None, most: int) -> int:
    """Tokens that a prompt of a named task may have: `most`, or fewer where the model takes fewer."""
    if server is not None:
        return min(most, server.context - 2)  # it writes a token after the last, which is predicted, too
    if isinstance(scorer, TransformersScorer):
        return min(most, scorer.trained or most)
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer

    assert isinstance(scorer, LlamaCppScorer)
    return min(most, scorer.model.context_length)


def make_room(scorer: Scorer | TopScorer, tokens: int, remedy: str) -> None:
    """Let the scorer take sequences of up to `tokens` tokens; a server was started with room for them.

    Raises `SpecError`, which ends with `remedy`, when the model was trained for fewer.
    """
    if isinstance(scorer, TopScorer):
        return
    if isinstance(scorer, TransformersScorer):
        if scorer.trained is not None and tokens > scorer.trained:
            raise SpecError(f"{scorer.folder}: was trained for {scorer.trained} tokens, and {tokens} are asked for; "
                            f"{remedy}")
        scorer.context = tokens
        return
    from quantcheck.engines.llamacpp_scorer import LlamaCppScorer

    assert isinstance(scorer, LlamaCppScorer)
    trained = scorer.model.context_length
    if tokens > trained:
        raise SpecError(f"{scorer.model.path}: was trained for {trained} tokens, and {tokens} are asked for; {remedy}")
    scorer.context = tokens  # its caches are made at first use: no larger than these suites need


def batch_starts(lengths: Sequence[int], shapes: Sequence[BatchShape]) -> list[int]:
    """Places, ascending from 0, at which sequences of `lengths` tokens may be scored in a call of their own.

    In each of the `shapes` the scorer begins a new batch there anyway, so that no figure moves. Without shapes (a
    server batches what comes together) it is every place.
    """
    starts = set(range(len(lengths)))
    for size, tokens in shapes:
        if size is None:
            from quantcheck.engines.llamacpp_scorer import together
            from quantcheck.engines.packing import fill

            places = ((place, length, 1) for place, length in enumerate(lengths))
            groups = list(fill(places, tokens, together(tokens)))
        else:
            groups = list(batches(lengths, range(len(lengths)), size, tokens))
        starts &= {group[0] for group in groups}
    return sorted(starts)


@contextmanager
def open_tokenizer(model: Path) -> Iterator[Tokenizer]:
    """The tokenizer of a GGUF file or a Hugging Face folder, for what needs no scorer. Raises `ModelError`."""
    if model.is_dir():
        from quantcheck.engines.folder_tokenizer import FolderTokenizer

        yield FolderTokenizer(model)
        return
    from quantcheck.ggml.model import Model
    from quantcheck.ggml.vocabulary import Vocabulary

    with Model(model) as opened:
        yield Vocabulary(opened)
