"""Multi-step arithmetic word problems with short working.

A problem is a start, two or three steps (+, -, *, exact /) told about people and things, and a question.
The answer is the working, one equation a step, the last result being the answer:
` 14+54=68; 68-17=51`. All numbers stay between 1 and 999; factors and divisors are single digits.
"""

from __future__ import annotations

import random

from split import Sample
from words import FEMALE, NAMES, OBJECTS

ADD = [
    "{P} buys {n} more", "{P} finds {n} more", "{F} gives {p} {n} more", "{P} gets {n} from {F}",
    "{P} wins {n} in a game", "{P} adds {n} new ones", "{F} brings {n} more",
]  # fmt: skip
SUB = [
    "{P} gives {n} to {F}", "{P} loses {n}", "{P} sells {n}", "{P} throws away {n}", "{F} takes {n}",
    "{P} breaks {n}", "{P} lends {n} to {F}",
]  # fmt: skip
MUL = [
    "{F} then gives {p} {m} times as many again", "a trader swaps them for {n} times as many",
    "the number grows to {n} times that", "{P} ends up with {n} times as many",
]  # fmt: skip
DIV = [
    "{P} shares them equally among {n} boxes and keeps one box", "{P} makes {n} equal piles and keeps one",
    "{P} splits them into {n} equal parts and keeps one",
]  # fmt: skip
START = [
    "{N} has {n} {o}.", "{N} starts with {n} {o}.", "{N} owns {n} {o}.", "In the morning {N} has {n} {o}.",
    "There are {n} {o} in {N}'s bag.",
]  # fmt: skip
QUESTION = [
    "How many {o} does {N} have now?", "How many {o} are there in the end?", "How many {o} are left for {N}?",
    "What is the final number of {o}?",
]  # fmt: skip
JOIN = ["{0}.", "Then {0}.", "Later {0}.", "After that, {0}.", "Next, {0}."]


def step(rng: random.Random, value: int) -> tuple[str, str, int]:
    """One operation that is possible from `value`: (phrase, working, new value)."""
    while True:
        kind = rng.choice("++--*/")
        if kind == "+":
            n = rng.choice((rng.randint(2, 30), rng.randint(10, 99), rng.randint(100, 400)))
            phrase, result = rng.choice(ADD), value + n
        elif kind == "-":
            n = rng.randint(2, max(2, value - 1)) if value < 60 else rng.randint(5, value - 5)
            phrase, result = rng.choice(SUB), value - n
        elif kind == "*":
            n = rng.randint(2, 9)
            phrase, result = rng.choice(MUL[1:]), value * n
        else:
            exact = [d for d in range(2, 10) if value % d == 0]
            if not exact:
                continue
            n = rng.choice(exact)
            phrase, result = rng.choice(DIV), value // n
        if 1 <= result <= 999:
            return phrase.replace("{n}", str(n)), f"{value}{kind}{n}={result}", result


def chain(rng: random.Random, steps: int) -> tuple[str, list[str]]:
    name, friend = rng.sample(NAMES, 2)
    value = rng.choice((rng.randint(3, 40), rng.randint(10, 99), rng.randint(100, 600)))
    pronoun, other = ("she", "her") if name in FEMALE else ("he", "him")
    words = {"N": name, "F": friend, "o": rng.choice(OBJECTS), "n": str(value), "p": other, "P": pronoun}
    text = [rng.choice(START)]
    working = []
    for _ in range(steps):
        phrase, equation, value = step(rng, value)
        text.append(rng.choice(JOIN).replace("{0}", phrase))
        working.append(equation)
    text.append(rng.choice(QUESTION))
    sentences = [t.format(**words) for t in text]
    return " ".join(s[0].upper() + s[1:] for s in sentences), working


def boxes(rng: random.Random) -> tuple[str, list[str]]:
    name = rng.choice(NAMES)
    thing = rng.choice(OBJECTS)
    a, b, c = rng.randint(2, 9), rng.randint(4, 90), rng.randint(2, 99)
    total = a * b
    container = rng.choice(("boxes", "bags", "baskets", "crates"))
    if rng.random() < 0.5 or c >= total:
        text = f"{name} has {a} {container} with {b} {thing} each and {c} single {thing}. How many {thing} in all?"
        return text, [f"{a}*{b}={total}", f"{total}+{c}={total + c}"]
    text = f"{name} has {a} {container} with {b} {thing} each and uses up {c} {thing}. How many {thing} are left?"
    return text, [f"{a}*{b}={total}", f"{total}-{c}={total - c}"]


def pay(rng: random.Random) -> tuple[str, list[str]]:
    name = rng.choice(NAMES)
    thing = rng.choice(OBJECTS)
    price, number = rng.randint(2, 60), rng.randint(2, 9)
    cost = price * number
    paid = cost + rng.randint(1, 99)
    text = f"{name} buys {number} {thing} at {price} cents each and pays {paid} cents. What is the change?"
    return text, [f"{number}*{price}={cost}", f"{paid}-{cost}={paid - cost}"]


def together(rng: random.Random) -> tuple[str, list[str]]:
    name, friend, third = rng.sample(NAMES, 3)
    thing = rng.choice(OBJECTS)
    a, b = rng.randint(10, 200), rng.randint(2, 99)
    more = rng.random() < 0.5 or b >= a
    other = a + b if more else a - b
    working = [f"{a}{'+' if more else '-'}{b}={other}"]
    text = f"{name} has {a} {thing}. {friend} has {b} {'more' if more else 'fewer'} than {name}."
    if rng.random() < 0.5:
        times = rng.randint(2, 4)
        working += [f"{other}*{times}={other * times}"]
        return f"{text} {third} has {times} times as many as {friend}. How many {thing} does {third} have?", working
    working += [f"{a}+{other}={a + other}"]
    return f"{text} How many {thing} do they have together?", working


def make(rng: random.Random) -> Sample:
    while True:
        kind = rng.random()
        if kind < 0.30:
            text, working = chain(rng, 2)
        elif kind < 0.70:
            text, working = chain(rng, 3)
        else:
            text, working = rng.choice((boxes, pay, together))(rng)
        result = working[-1].rpartition("=")[2]
        if int(result) <= 999:
            shown = " " + "; ".join(working)
            return Sample(f"Q: {text}\nA:", shown, {"answer": result, "working": shown})
