"""Summaries and comparisons for the page: each made in a child process, kept, and made again when its run changed.

Beside a measurement the page must not take the machine: the children run one at a time, at the lowest priority while
any run goes on, and a run that goes on has its summary made again only after a rest in proportion to what the last one
took.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from quantcheck.process.managed import GUARD
from quantcheck.report.runs import Run, State

__all__ = ["Figures", "Made"]

REST = 9.0
"""Rest after a summary, in multiples of the time that it took: a tenth of one core at most."""
DEADLINE_S = 900.0
KEPT = 16
"""Documents that are kept, of each kind."""


@dataclass(frozen=True)
class Made:
    """A document for the page; `ok`: else it is `{"reason"}`. `version`: of the runs it was made from."""

    version: str
    ok: bool
    body: bytes
    took_s: float
    ended: float


class Figures:
    """`changed` is called whenever a summary is ready; `measuring` says whether any run goes on."""

    def __init__(self, changed: Callable[[], None], measuring: Callable[[], bool]) -> None:
        self._changed = changed
        self._measuring = measuring
        self._one = asyncio.Semaphore(1)
        self._made: dict[str, Made] = {}
        self._making: dict[str, asyncio.Task[Made]] = {}
        self._compared: dict[str, Made] = {}

    def version(self, name: str) -> str | None:
        """Of the summary that is ready; None while there is none."""
        made = self._made.get(name)
        return made.version if made else None

    def refresh(self, run: Run, state: State) -> None:
        """Have the summary of a run that somebody looks at made again where it is out of date, and it is time."""
        made = self._made.get(run.name)
        if run.name in self._making or (made and made.version == state.version):
            return
        if made and state.word == "running" and time.monotonic() - made.ended < REST * made.took_s:
            return
        self._start(run, state)

    async def summary(self, run: Run, state: State) -> Made:
        """The latest that is ready; the first one is waited for, and so is another try where there is none."""
        if run.name not in self._made or not self._made[run.name].ok:
            self._start(run, state)
            return await asyncio.shield(self._making[run.name])
        return self._made[run.name]

    async def comparison(self, a: tuple[Run, State], b: tuple[Run, State], asked: Mapping[str, Any]) -> Made:
        """`asked`: the variants `of` and `with`, or None, and `force`."""
        request = {"a": str(a[0].root), "b": str(b[0].root), **asked}
        key = json.dumps([request, a[1].version, b[1].version])
        if key not in self._compared:
            made = await self._make(request, a[1].version + b[1].version)
            _keep(self._compared, key, made)
        return self._compared[key]

    async def close(self) -> None:
        """End what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, run: Run, state: State) -> None:
        if run.name not in self._making:
            self._making[run.name] = asyncio.create_task(self._again(run, state))

    async def _again(self, run: Run, state: State) -> Made:
        try:
            request = {"summary": str(run.root), "running": state.word == "running"}
            made = await self._make(request, state.version)
            _keep(self._made, run.name, made)
        finally:
            del self._making[run.name]
        self._changed()
        return made

    async def _make(self, request: Mapping[str, Any], version: str) -> Made:
        async with self._one:
            began = time.monotonic()
            ok, body = await _child(json.dumps({**request, "measuring": self._measuring()}))
            ended = time.monotonic()
        return Made(version, ok, body, ended - began, ended)


def _keep(kept: dict[str, Made], key: str, made: Made) -> None:
    kept.pop(key, None)
    kept[key] = made
    while len(kept) > KEPT:
        del kept[next(iter(kept))]


async def _child(request: str) -> tuple[bool, bytes]:
    """Whether it could be made, and its JSON. The child ends with this process, by whatever means that does."""
    guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid())]
    child = await asyncio.create_subprocess_exec(
        *guard, sys.executable, "-P", "-m", "quantcheck.dashboard.job", request, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(DEADLINE_S):
            told, complaint = await child.communicate()
    except TimeoutError:
        return False, _reason(f"not made within {DEADLINE_S:g} s; see `quantcheck report`")
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode == 0:
        return True, told
    if child.returncode == 2 and told:
        return False, told
    last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
    return False, _reason(f"could not be made ({last[0]}); `quantcheck report` on its folder tells more")


def _reason(text: str) -> bytes:
    return json.dumps({"reason": text}).encode()
