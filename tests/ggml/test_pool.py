import threading
from collections.abc import Iterator

import numpy as np
import pytest

from quantcheck.errors import EngineError
from quantcheck.ggml.model import Context, Model
from quantcheck.ggml.pool import ContextPool
from tests.ggml.tiny import TinyModel


@pytest.fixture
def pool(tiny_f32: TinyModel) -> Iterator[ContextPool]:
    with Model(tiny_f32.path) as model:
        pool = ContextPool([Context(model, length=64) for _ in range(2)])
        yield pool
        pool.close()


def decode(context: Context) -> None:
    one = np.zeros(1, dtype=np.int32)
    context.clear()
    context.decode(one, one, one, np.array([True]))


def test_results_come_in_order_and_each_context_serves_one_job_at_a_time(pool: ContextPool) -> None:
    busy: set[int] = set()
    gate = threading.Barrier(2, timeout=20)

    def job(context: Context, number: int) -> int:
        assert id(context) not in busy
        busy.add(id(context))
        if number < 2:
            gate.wait()  # passes only when both contexts are at work at once
        busy.remove(id(context))
        return number * number

    assert list(pool.run(job, range(20))) == [number * number for number in range(20)]


def test_the_reader_bounds_how_far_jobs_run_ahead(pool: ContextPool) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = pool.run(lambda context, number: number, items())
    assert next(results) == 0
    assert len(taken) <= 6
    results.close()


def test_an_exception_ends_the_run_and_its_long_jobs(pool: ContextPool) -> None:
    """The second job would decode for ever; it ends because the first one failed, and the pool stays usable."""
    started = threading.Event()
    ended: list[str] = []

    def job(context: Context, number: int) -> None:
        if number == 0:
            assert started.wait(20)
            raise KeyError("first")
        started.set()
        try:
            while True:
                decode(context)
        except EngineError as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyError, match="first"):
        list(pool.run(job, range(2)))
    assert ended == ["scoring was stopped before its end"]
    assert list(pool.run(lambda context, number: decode(context), range(4))) == [None] * 4


def test_one_run_ending_leaves_another_alone(pool: ContextPool) -> None:
    def job(context: Context, number: int) -> int:
        decode(context)
        return number

    first = pool.run(job, range(50))
    assert next(first) == 0
    second = pool.run(job, range(50))
    assert next(second) == 0
    second.close()
    assert list(first) == list(range(1, 50))
