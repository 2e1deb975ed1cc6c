"""A sandbox where there is one, and a name by which a test finds the processes of its programs."""

import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest

from quantcheck.sandbox import why_no_sandbox


@pytest.fixture(scope="session")
def sandbox() -> None:
    reason = why_no_sandbox()
    if reason:
        pytest.skip(f"no sandbox: {reason}")


@pytest.fixture
def name(sandbox: None) -> Iterator[str]:
    """A module name for a test's programs; it stands on their command lines. Nothing of them may be left."""
    mark = f"program_{uuid.uuid4().hex}"
    yield mark
    assert marked(mark) == []


@pytest.fixture
def alive(name: str) -> Callable[[], list[psutil.Process]]:
    return lambda: marked(name)


def marked(mark: str) -> list[psutil.Process]:
    """Processes with `mark` on their command line, zombies aside: bubblewrap's and those inside."""
    return [process for process in psutil.process_iter(["cmdline", "ppid"]) if mark in (process.info["cmdline"] or [])]
