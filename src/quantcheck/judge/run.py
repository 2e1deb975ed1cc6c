"""Puts every pair to the judge, in both orders, several times, over any OpenAI-compatible endpoint."""

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from quantcheck.errors import EngineError, SpecError
from quantcheck.judge.pairs import TextPair
from quantcheck.judge.score import Answer

__all__ = ["INSTRUCTION", "INSTRUCTION_SHA256", "Judge", "judge"]

INSTRUCTION = """Two assistants, A and B, continued the same text or answered the same request. Judge which of the two \
did it better: correct, to the point, complete, well put. Neither the order in which they are shown nor their length \
counts by itself. Say briefly why, and end with one line that holds nothing but [[A]], [[B]], or [[C]] if neither is \
better.

[Request]
{prompt}

[A]
{first}

[B]
{second}
"""
INSTRUCTION_SHA256 = hashlib.sha256(INSTRUCTION.encode()).hexdigest()

_PLACE = re.compile(r"\{(prompt|first|second)\}")
_ANSWER = re.compile(r"\[\[([ABC])\]\]")
TRIES = 4
RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Judge:
    """`url` ends in /v1; `key_env` names the environment variable with the key. `temperature` above 0 lets `repeats`
    say something. `timeout_s`: the deadline of one answer."""

    url: str
    model: str
    key_env: str | None = None
    repeats: int = 2
    temperature: float = 0.7
    concurrency: int = 8
    max_tokens: int = 512
    timeout_s: float = 120.0

    @property
    def headers(self) -> dict[str, str]:
        if self.key_env is None:
            return {}
        if self.key_env not in os.environ:
            raise SpecError(f"the environment has no {self.key_env}: set it to the endpoint's key")
        return {"Authorization": f"Bearer {os.environ[self.key_env]}"}


@dataclass(frozen=True, slots=True)
class _Question:
    pair: TextPair
    first: Literal["baseline", "variant"]
    repeat: int


def judge(
    asked: Judge, pairs: Sequence[TextPair], progress: Callable[[int, int], None] = lambda _done, _of: None
) -> list[Answer]:
    """Every answer about the `pairs` whose texts differ: 2 x `repeats` a pair, in order.

    A question is put again (four times at most) where the server is busy. Raises `EngineError` when the endpoint
    refuses, is gone, or does not answer in time; `SpecError` for a key that is not there.
    """
    questions = [_Question(pair, first, repeat) for pair in pairs if pair.baseline != pair.variant
                 for repeat in range(asked.repeats) for first in ("baseline", "variant")]
    return asyncio.run(_all(asked, questions, progress))


async def _all(asked: Judge, questions: Sequence[_Question], progress: Callable[[int, int], None]) -> list[Answer]:
    gate = asyncio.Semaphore(asked.concurrency)
    timeout = aiohttp.ClientTimeout(total=asked.timeout_s)
    done = 0
    async with aiohttp.ClientSession(headers=asked.headers, timeout=timeout) as session:

        async def one(question: _Question) -> Answer:
            nonlocal done
            async with gate:
                text = await _ask(asked, session, question)
            done += 1
            progress(done, len(questions))
            return Answer(question.pair.id, question.first, _preferred(text, question.first), text)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(question)) for question in questions]
        except* EngineError as errors:
            raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _preferred(text: str, first: str) -> Literal["baseline", "variant", "neither"] | None:
    """What the last mark says; None without one."""
    marks = _ANSWER.findall(text)
    if not marks:
        return None
    if marks[-1] == "C":
        return "neither"
    return "variant" if (marks[-1] == "A") == (first == "variant") else "baseline"


async def _ask(asked: Judge, session: aiohttp.ClientSession, question: _Question) -> str:
    texts = {"baseline": question.pair.baseline, "variant": question.pair.variant}
    second = "variant" if question.first == "baseline" else "baseline"
    shown = {"prompt": question.pair.prompt, "first": texts[question.first], "second": texts[second]}
    # Not str.format: texts hold braces of their own.
    content = _PLACE.sub(lambda place: shown[place[1]], INSTRUCTION)
    body = {"model": asked.model, "messages": [{"role": "user", "content": content}], "max_tokens": asked.max_tokens,
            "temperature": asked.temperature, "seed": question.repeat}
    where = f"{asked.url.rstrip('/')}/chat/completions"
    for turn in range(TRIES):
        try:
            async with session.post(where, json=body) as answer:
                if answer.status in RETRIED and turn < TRIES - 1:
                    await asyncio.sleep(_pause(answer.headers, turn))
                    continue
                if answer.status != 200:
                    said = " ".join((await answer.text(errors="replace")).split())[:200]
                    raise EngineError(f"the judge at {where} answers {answer.status}: {said}")
                return _text(await answer.json(content_type=None), where)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if turn == TRIES - 1 or isinstance(error, ValueError):
                why = f"no answer within {asked.timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
                raise EngineError(f"the judge at {where} cannot be asked ({why}); check --url and --model") from error
            await asyncio.sleep(_pause({}, turn))
    raise AssertionError


def _pause(headers: Mapping[str, str], turn: int) -> float:
    given = headers.get("Retry-After", "")
    return min(float(given), 60.0) if given.isdigit() else 0.5 * 2.0**turn


def _text(document: Any, where: str) -> str:
    try:
        content = document["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise EngineError(f"the judge at {where} answers in another form than chat completions; check --url") from error
    return content if isinstance(content, str) else ""
