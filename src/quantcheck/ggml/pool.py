"""Several contexts of one model at work at once, each in a thread of its own.

For small models this is faster than several OpenMP threads on one context, which meet at a barrier after every
operation: with a context a core nobody waits for anybody (7 million parameters on 2 cores: 7,000 tokens/s against
6,000), and nothing spins. Which context does a job never matters: a job starts with an empty cache, and what is in
one job is decided before it starts. So results are the same in every run.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TypeVar

from quantcheck.ggml.model import Context

__all__ = ["ContextPool"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class ContextPool:
    """Owns `contexts` and one thread for each; `close` ends both."""

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._contexts = list(contexts)
        self._idle: SimpleQueue[Context] = SimpleQueue()
        for context in self._contexts:
            self._idle.put(context)
        self._threads = ThreadPoolExecutor(len(self._contexts), thread_name_prefix="llama")

    @property
    def contexts(self) -> Sequence[Context]:
        return self._contexts

    def run(self, job: Callable[[Context, Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """`job(context, item)` for every item, the results in the items' order.

        At most two jobs a context are ahead of the reader, so memory stays bounded. The first exception ends the
        run, as do a Ctrl-C and a reader that stops early: jobs not yet begun are dropped, running ones end with the
        batch in hand.
        """
        halt = threading.Event()
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(pending) >= 2 * len(self._contexts):
                    yield pending.popleft().result()
                pending.append(self._threads.submit(self._borrow, job, item, halt))
            while pending:
                yield pending.popleft().result()
        finally:
            halt.set()
            for future in pending:
                future.cancel()
            wait(pending)

    def _borrow(self, job: Callable[[Context, Item], Result], item: Item, halt: threading.Event) -> Result:
        context = self._idle.get()
        context.halt = halt
        try:
            return job(context, item)
        finally:
            context.halt = None
            self._idle.put(context)

    def close(self) -> None:
        """Waits for running jobs, then frees the contexts; again is harmless."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for context in self._contexts:
            context.close()
