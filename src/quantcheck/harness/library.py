"""lm-eval itself: it is an extra, and one exact version, as prompts and hashes are its own."""

import importlib.metadata
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quantcheck.errors import EngineUnavailable

__all__ = ["VERSION", "need", "no_fetched_code", "why_missing"]

VERSION = "0.4.13"
INSTALL = "pip install 'quantcheck[eval]'"


def why_missing() -> str | None:
    """Why lm-eval cannot be used here, and what to do; None when it can. Imports nothing."""
    try:
        found = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        return f"named tasks need lm-eval {VERSION}, which is not installed: {INSTALL}"
    return None if found == VERSION else f"named tasks need lm-eval {VERSION}, and {found} is installed: {INSTALL}"


def need() -> None:
    """Raises `EngineUnavailable` when lm-eval is missing or of another version; call it before importing lm_eval.

    lm-eval draws progress bars and logs at length; both are off from here on, for this process.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if why := why_missing():
        raise EngineUnavailable(why)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


class _FetchesCode(BaseException):
    """Not an `Exception`: lm-eval would catch it and go on without the metric."""


@contextmanager
def no_fetched_code(name: str) -> Iterator[None]:
    """Raises `EngineUnavailable` when what is done within fetches a metric's code from the hub.

    Some of lm-eval's tasks do, when they are loaded: `code_eval`, which runs what the model wrote, is one.
    """
    import evaluate

    def refuse(path: str, *_: Any, **__: Any) -> None:
        raise _FetchesCode(path)

    load = evaluate.load
    evaluate.load = refuse
    try:
        yield
    except _FetchesCode as error:
        raise EngineUnavailable(f"{name}: it is judged by code that it fetches from the hub ({error}), which is not "
                                "run; humaneval and mbpp are judged in a sandbox when `quality.data` has their files"
                                ) from error
    finally:
        evaluate.load = load
