"""Every test here must leave no process behind."""

import time
from collections.abc import Iterator

import psutil
import pytest


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = _children()
    yield
    deadline = time.monotonic() + 2.0
    while (left := _children() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left running: {[' '.join(child.cmdline()) for child in left]}"
