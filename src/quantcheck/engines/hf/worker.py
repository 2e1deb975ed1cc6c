"""One model under transformers, asked over a socket: `python worker.py SOCKET`, under the interpreter that has torch.

Each message is a question: `meta["do"]` says what, the rest are its arguments; `ANSWERS` lists them. The answer's
`meta` is the result, or `error` (spec, model, memory, unavailable, engine) and `message`, after which the next question
may come. The worker ends when the other side does.
"""

# mypy: disable-error-code="import-not-found"
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exchange
import frames
import loading
import passes
import timing

# The folder of this file was put in front: what torch imports must not be looked for here.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

__all__: list[str] = []


class Worker:
    """The loaded model, and the answers that are being written."""

    def __init__(self) -> None:
        self.model: Any = None
        self.other: Any = None
        self.writing: Any = None

    def load(self, meta: dict[str, Any], _arrays: dict[str, Any]) -> frames.Message:
        self.model, facts = loading.load(meta)
        return facts, {}

    def logits(self, _meta: dict[str, Any], arrays: dict[str, Any]) -> frames.Message:
        return {}, {"logits": passes.logits(self.model, arrays["ids"], arrays["lengths"], arrays["skip"])}

    def loglikelihoods(self, _meta: dict[str, Any], arrays: dict[str, Any]) -> frames.Message:
        return {}, passes.loglikelihoods(self.model, arrays)

    def begin(self, meta: dict[str, Any], arrays: dict[str, Any]) -> frames.Message:
        self.writing = passes.Writing(self.model, greedy=meta["greedy"])
        return {}, self.writing.begin(arrays["ids"], arrays["lengths"])

    def step(self, _meta: dict[str, Any], arrays: dict[str, Any]) -> frames.Message:
        return {}, self.writing.step(arrays["tokens"], arrays.get("keep"))

    def end(self, _meta: dict[str, Any], _arrays: dict[str, Any]) -> frames.Message:
        self.writing = None
        return {}, {}

    def beside(self, meta: dict[str, Any], _arrays: dict[str, Any]) -> frames.Message:
        """A second model; which modules of the two differ."""
        self.other, _ = loading.load(meta)
        return {"unlike": exchange.unlike(self.model, self.other)}, {}

    def exchange(self, meta: dict[str, Any], _arrays: dict[str, Any]) -> frames.Message:
        exchange.exchange(self.model, self.other, meta["names"])
        return {}, {}

    def time(self, meta: dict[str, Any], arrays: dict[str, Any]) -> frames.Message:
        return timing.time_batch(self.model, arrays["ids"], arrays["lengths"], meta["output_tokens"], meta["cache"])


ANSWERS: dict[str, Callable[..., frames.Message]] = {
    name: getattr(Worker, name)
    for name in ("load", "logits", "loglikelihoods", "begin", "step", "end", "beside", "exchange", "time")
}


def main(path: str) -> int:
    worker = Worker()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        while (question := frames.receive(connection)) is not None:
            meta, arrays = question
            try:
                told, found = ANSWERS[meta["do"]](worker, meta, arrays)
            except loading.LoadError as error:
                kind, message = error.args
                told, found = {"error": kind, "message": one_line(message)}, {}
            except MemoryError:
                told, found = {"error": "memory", "message": "out of memory"}, {}
            except Exception as error:  # noqa: BLE001 (whatever a library raises is told, and the next question comes)
                memory = type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)
                traceback.print_exc()
                told, found = {"error": "memory" if memory else "engine",
                               "message": one_line(f"{type(error).__name__}: {error}")}, {}
            frames.send(connection, told, found)
    return 0


def one_line(message: Any) -> str:
    return " ".join(str(message).split())[:600]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        sys.exit(main(sys.argv[1]))
    except (ConnectionResetError, BrokenPipeError):
        sys.exit(0)  # who asked is gone
