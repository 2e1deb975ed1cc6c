"""Two workers share the tests (`pytest -n 2`) by file, and one whose outcome depends on time runs while no other does.

Every test takes its turn by two locks that all workers share. A test marked `alone` holds the room alone; others share
it. Who waits for the room holds the door, so that those who come later cannot keep an `alone` test waiting.
"""

import fcntl
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

VLLM = "tests/vllm/"
"""For one worker, which begins with it: two vLLM at once are slower than one after the other, and it takes longest."""


def _rank(items: list[pytest.Item]) -> int:
    """The place of a file: long ones first, lest one is begun last; then the others; those with `alone` at the end."""
    if items[0].nodeid.startswith(VLLM):
        return 0
    if any(item.get_closest_marker("alone") for item in items):
        return 3
    return 1 if any(item.get_closest_marker("slow") for item in items) else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    items[:] = [item for file in sorted(files.values(), key=_rank) for item in file]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return VLLM if nodeid.startswith(VLLM) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


class Turns:
    """The locks, in the folder that the workers' temporary folders are in."""

    def __init__(self, folder: Path) -> None:
        self._door: TextIO = (folder / "door").open("w")
        self._room: TextIO = (folder / "room").open("w")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around all that a test does: its time to wait counts for no timeout and no duration."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)


def pytest_collection_finish() -> None:
    """Thousands of tests make a heap over which each full collection of garbage takes 0.3 s; none of it is garbage."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns(Path(config.option.basetemp).parent))


def pytest_unconfigure() -> None:
    """Else what was frozen is never freed, and the database's binding reports that below pytest's last line."""
    gc.unfreeze()
