"""Python expressions of `x` from a description and two examples.

A task is a type of input (whole number, text, list of numbers) and a chain of one to three steps; each
step has several wordings and a way to build the expression around the one before. In some tasks one
constant is called "a number" and must be read off the examples. Examples and hidden inputs are evaluated
by the package's own whitelisting evaluator, the same that scores the answers.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from scoring import expressions
from split import Sample
from words import PLAIN


class Step(NamedTuple):
    """One transformation: {n}, {m} are small numbers, {s} a short text; `e` stands for what came before."""

    takes: str
    gives: str
    wordings: tuple[str, ...]
    build: str
    atom: bool  # whether the result binds tightly enough to be used without parentheses


STEPS = [
    Step("int", "int", ("add {n}", "increase it by {n}", "plus {n}"), "e+{n}", False),
    Step("int", "int", ("subtract {n}", "decrease it by {n}", "minus {n}", "take away {n}"), "e-{n}", False),
    Step("int", "int", ("multiply by {n}", "times {n}", "take it {n} times"), "e*{n}", False),
    Step("int", "int", ("divide by {n}, rounding down", "whole part of dividing by {n}"), "e//{n}", False),
    Step("int", "int", ("the remainder by {n}", "modulo {n}", "remainder of dividing by {n}"), "e%{n}", False),
    Step("int", "int", ("square it", "take the square", "raise to the power 2"), "e**2", False),
    Step("int", "int", ("subtract it from {n}", "{n} minus it"), "{n}-e", False),
    Step("int", "int", ("the distance to {n}", "absolute difference to {n}"), "abs(e-{n})", True),
    Step("int", "int", ("at least {n}", "the larger of it and {n}"), "max(e,{n})", True),
    Step("int", "int", ("at most {n}", "the smaller of it and {n}"), "min(e,{n})", True),
    Step("int", "int", ("negate it", "change the sign"), "-e", False),
    Step("int", "bool", ("is it above {n}", "is it greater than {n}"), "e>{n}", False),
    Step("int", "bool", ("is it even", "can it be halved exactly"), "e%2==0", False),
    Step("int", "str", ("as text", "write it as text"), "str(e)", True),
    Step("str", "str", ("upper case", "make it upper case", "in capitals"), "e.upper()", True),
    Step("str", "str", ("capitalize it", "capitalize the first letter"), "e.capitalize()", True),
    Step("str", "str", ("reverse it", "backwards", "read from the end"), "e[::-1]", True),
    Step("str", "str", ("append '{s}'", "put '{s}' after it", "add '{s}' at the end"), "e+'{s}'", False),
    Step("str", "str", ("prepend '{s}'", "put '{s}' before it", "add '{s}' in front"), "'{s}'+e", False),
    Step("str", "str", ("repeat it {k} times", "write it {k} times"), "e*{k}", False),
    Step("str", "str", ("the first {k} letters", "keep the first {k} letters"), "e[:{k}]", True),
    Step("str", "str", ("the last {k} letters", "keep the last {k} letters"), "e[-{k}:]", True),
    Step("str", "str", ("drop the first {k} letters", "without the first {k} letters"), "e[{k}:]", True),
    Step("str", "str", ("drop the last {k} letters", "without the last {k} letters"), "e[:-{k}]", True),
    Step("str", "str", ("replace {c} by {d}", "change every {c} to {d}"), "e.replace('{c}','{d}')", True),
    Step("str", "str", ("every second letter", "keep every second letter"), "e[::2]", True),
    Step("str", "int", ("its length", "count the letters", "the number of letters"), "len(e)", True),
    Step("str", "int", ("count the {c}", "how many {c} are in it"), "e.count('{c}')", True),
    Step("str", "bool", ("does it contain {c}", "is there a {c} in it"), "'{c}' in e", False),
    Step("list", "list", ("multiply each by {n}", "each times {n}"), "[v*{n} for v in e]", True),
    Step("list", "list", ("add {n} to each", "each plus {n}"), "[v+{n} for v in e]", True),
    Step("list", "list", ("square each", "the square of each"), "[v**2 for v in e]", True),
    Step("list", "list", ("keep those above {n}", "only items over {n}"), "[v for v in e if v>{n}]", True),
    Step("list", "list", ("keep those below {n}", "only items under {n}"), "[v for v in e if v<{n}]", True),
    Step("list", "list", ("keep the even ones", "only the even items"), "[v for v in e if v%2==0]", True),
    Step("list", "list", ("keep the odd ones", "only the odd items"), "[v for v in e if v%2==1]", True),
    Step("list", "list", ("sort it", "in rising order", "from small to large"), "sorted(e)", True),
    Step("list", "list", ("reverse it", "backwards", "read from the end"), "e[::-1]", True),
    Step("list", "list", ("the first {k} items", "keep the first {k} items"), "e[:{k}]", True),
    Step("list", "list", ("drop the first item", "without the first item"), "e[1:]", True),
    Step("list", "list", ("drop the last item", "without the last item"), "e[:-1]", True),
    Step("list", "list", ("append {n}", "put {n} at the end"), "e+[{n}]", False),
    Step("list", "list", ("every second item", "keep every second item"), "e[::2]", True),
    Step("list", "int", ("the sum", "add them up", "the total"), "sum(e)", True),
    Step("list", "int", ("the largest", "the maximum", "take the biggest item"), "max(e)", True),
    Step("list", "int", ("the smallest", "the minimum", "take the least item"), "min(e)", True),
    Step("list", "int", ("the range", "largest minus smallest"), "max(e)-min(e)", False),
    Step("list", "int", ("the number of items", "how many items", "count the items"), "len(e)", True),
    Step("list", "int", ("the first item", "take the first item"), "e[0]", True),
    Step("list", "int", ("the last item", "take the last item"), "e[-1]", True),
    Step("list", "bool", ("is {n} in it", "does it contain {n}"), "{n} in e", False),
]
BY_INPUT = {kind: [s for s in STEPS if s.takes == kind] for kind in ("int", "str", "list")}
# steps whose constant two examples give away
READABLE = {"e+{n}", "e-{n}", "e*{n}", "{n}-e", "[v*{n} for v in e]", "[v+{n} for v in e]", "e+[{n}]"}
JOINS = (", then ", "; ", ", and then ", ", next ")
LETTERS = "aeioulnrst"


def one_input(rng: random.Random, kind: str) -> object:
    if kind == "int":
        return rng.randint(0, 20) if rng.random() < 0.7 else rng.randint(-20, 99)
    if kind == "str":
        return rng.choice(PLAIN)
    return [rng.randint(0, 20) for _ in range(rng.randint(3, 5))]


def apply(step: Step, inner: str, atom: bool, constants: dict[str, object]) -> str:
    text = step.build.format(**constants)
    # parentheses wherever the inner expression is not an atom and the step uses it as an operand
    safe = atom or inner == "x" or any(f in step.build for f in ("(e)", "(e,", " in e]", " in e if"))
    return _substitute(text, inner if safe else f"({inner})")


def _substitute(text: str, inner: str) -> str:
    """Puts `inner` where the placeholder `e` stands alone (never inside a word or a quoted text)."""
    out, quoted = [], False
    for i, char in enumerate(text):
        quoted ^= char == "'"
        alone = not (text[i - 1 : i].isalnum() or text[i + 1 : i + 2].isalnum())
        out.append(inner if char == "e" and alone and not quoted else char)
    return "".join(out)


UNKNOWN = "UNKNOWN"


def task(rng: random.Random) -> tuple[str, str, str]:
    """(input type, description, expression); a constant to be found from the examples stands as UNKNOWN."""
    kind = start = rng.choice(("int", "str", "str", "list", "list"))
    length = rng.choices((1, 2, 3), (1, 6, 4))[0]
    expression, atom, wordings, used = "x", True, [], set()
    hidden = rng.random() < 0.15 and length < 3
    for _ in range(length):
        if kind == "bool":
            break
        step = rng.choice([s for s in BY_INPUT[kind] if s.build not in used])
        used.add(step.build)
        c, d = rng.sample(LETTERS, 2)
        constants: dict[str, object] = {
            "n": rng.randint(2, 12), "k": rng.randint(2, 3), "c": c, "d": d,
            "s": "".join(rng.sample("abcdefgxyz", rng.randint(1, 2))),
        }  # fmt: skip
        wording = rng.choice(step.wordings)
        if hidden and "{n}" in wording and step.build in READABLE:
            wording, hidden = wording.replace("{n}", "a number"), False
            constants["n"] = UNKNOWN
        expression, atom, kind = apply(step, expression, atom, constants), step.atom, step.gives
        wordings.append(wording.format(**constants))
    return start, rng.choice(JOINS).join(wordings), expression


def values(expression: str, inputs: list[object]) -> list[object] | None:
    try:
        return [expressions.evaluate(expression, x) for x in inputs]
    except ValueError:
        return None  # such as the maximum of an empty list


def make(rng: random.Random) -> Sample:
    while True:
        kind, description, template = task(rng)
        shown = [one_input(rng, kind) for _ in range(2)]
        inputs = [one_input(rng, kind) for _ in range(6)]
        constant = rng.randint(2, 12)
        expression = template.replace(UNKNOWN, str(constant))
        outputs, hidden = values(expression, shown), values(expression, inputs)
        if outputs is None or hidden is None:
            continue
        if template != expression and any(
            values(template.replace(UNKNOWN, str(other)), shown) == outputs for other in range(16) if other != constant
        ):
            continue  # the examples must tell the constant
        if shown[0] == shown[1] or all(h == hidden[0] for h in hidden):
            continue
        if any(isinstance(o, int) and abs(o) > 9999 for o in outputs + hidden):
            continue
        pairs = (f"{x!r} -> {y!r}".replace(", ", ",") for x, y in zip(shown, outputs, strict=True))
        examples = ", ".join(pairs)
        if len(examples) > 80 or len(expression) > 60:
            continue
        return Sample(
            f"{description}: {examples}\nf(x) =", " " + expression, {"reference": expression, "inputs": inputs}
        )
