"""Format instructions with one-line answers that a program can check.

An instruction asks for a list of things of a category, a repetition, given words in another order or
form, a wrapped text, a numbered list or a small JSON object. Every training answer passes its own checks
(the generator asserts it).
"""

from __future__ import annotations

import json
import random

from scoring import answers
from split import Sample
from words import CATEGORIES, NAMES, PLAIN

SEPARATORS = {
    "commas": ", ", "semicolons": "; ", "dashes": " - ", "slashes": " / ", "bars": " | ", "plus signs": " + ",
    "colons": " : ", "arrows": " -> ",
}  # fmt: skip
WRAPS = {
    "square brackets": ("[", "]"), "round brackets": ("(", ")"), "curly brackets": ("{", "}"),
    "double quotes": ('"', '"'), "single quotes": ("'", "'"), "stars": ("*", "*"), "angle brackets": ("<", ">"),
}  # fmt: skip
PREFIXES = {"a hash": "#", "an at sign": "@", "a dollar sign": "$", "a plus sign": "+", "a tilde": "~"}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
Checks = list[dict[str, object]]


def number(rng: random.Random, low: int = 2, high: int = 5) -> tuple[int, str]:
    n = rng.randint(low, high)
    return n, rng.choice((NUMBERS[n], str(n)))


def members(rng: random.Random, category: str, n: int) -> list[str]:
    """`n` neighbors in the category's own order, from anywhere: an answer that a model can be sure of."""
    words = CATEGORIES[category]
    start = rng.randrange(len(words))
    return [words[(start + i) % len(words)] for i in range(n)]


def cased(rng: random.Random, words: list[str]) -> tuple[str, list[str], Checks]:
    """Sometimes a demand for a letter case: (its wording, the words in that case, its check)."""
    case = rng.choice(("", "", "upper", "lower", "title"))
    if case == "upper":
        return (
            rng.choice((" in capitals", " in upper case")),
            [w.upper() for w in words],
            [{"kind": "case", "case": "upper"}],
        )
    if case == "lower":
        return rng.choice((" in small letters", " in lower case")), words, [{"kind": "case", "case": "lower"}]
    if case == "title":
        return " with first letters big", [w.title() for w in words], [{"kind": "case", "case": "title"}]
    return "", words, []


def category_list(rng: random.Random) -> tuple[str, str, Checks]:
    name = rng.choice(list(CATEGORIES))
    n, count = number(rng)
    sep_name = rng.choice(list(SEPARATORS))
    sep = SEPARATORS[sep_name]
    wording, words, checks = cased(rng, members(rng, name, n))
    checks += [
        {"kind": "count", "separator": sep, "n": n},
        {"kind": "members", "separator": sep, "allowed": CATEGORIES[name]},
        {"kind": "distinct", "separator": sep},
    ]
    style = rng.randrange(5)
    if style == 0:
        wrap = rng.choice(list(WRAPS))
        left, right = WRAPS[wrap]
        text = (
            f"{rng.choice(('List', 'Name', 'Give'))} {count} {name}{wording}, each in {wrap}, with {sep_name} between."
        )
        checks.append({"kind": "wrapped_each", "separator": sep, "left": left, "right": right})
        return text, sep.join(left + w + right for w in words), checks
    if style == 1:
        sign = rng.choice(list(PREFIXES))
        verb = rng.choice(("List", "Name", "Give"))
        text = f"{verb} {count} {name}{wording}, each after {sign}, with {sep_name} between."
        checks.append({"kind": "prefixed_each", "separator": sep, "prefix": PREFIXES[sign]})
        return text, sep.join(PREFIXES[sign] + w for w in words), checks
    text = rng.choice((
        f"List {count} {name}{wording}, separated by {sep_name}.",
        f"Name {count} {name}{wording} with {sep_name} between them.",
        f"Give me {count} {name}{wording}; put {sep_name} between.",
        f"Write {count} {name}{wording}, divided by {sep_name}.",
    ))  # fmt: skip
    return text, sep.join(words), checks


def numbered_list(rng: random.Random) -> tuple[str, str, Checks]:
    name = rng.choice(list(CATEGORIES))
    n, count = number(rng)
    wording, words, checks = cased(rng, members(rng, name, n))
    text = rng.choice((
        f"Write a numbered list of {count} {name}{wording} on one line.",
        f"Number {count} {name}{wording} on one line.",
        f"Give {count} {name}{wording}, numbered from 1.",
    ))  # fmt: skip
    checks += [
        {"kind": "numbered", "n": n},
        {"kind": "members", "separator": "numbered", "allowed": CATEGORIES[name]},
        {"kind": "distinct", "separator": "numbered"},
    ]
    return text, " ".join(f"{i}. {w}" for i, w in enumerate(words, 1)), checks


def repetition(rng: random.Random) -> tuple[str, str, Checks]:
    word = rng.choice(PLAIN)
    n, count = number(rng)
    sep_name = rng.choice(list(SEPARATORS))
    wording, words, _ = cased(rng, [word])
    text = rng.choice((
        f"Write {word} {count} times{wording}, separated by {sep_name}.",
        f"Repeat the word {word} {count} times{wording} with {sep_name} between.",
    ))  # fmt: skip
    answer = SEPARATORS[sep_name].join(words * n)
    return text, answer, [{"kind": "equals", "text": answer}]


def order(rng: random.Random) -> tuple[str, str, Checks]:
    words = rng.sample(PLAIN, rng.randint(3, 5))
    given = " ".join(words)
    kind = rng.choice(("reverse", "sort", "first", "last", "swap"))
    sep_name = rng.choice(list(SEPARATORS))
    if kind == "reverse":
        text, new = f"Write in reverse order, separated by {sep_name}: {given}", words[::-1]
    elif kind == "sort":
        text, new = f"Write in alphabetical order, separated by {sep_name}: {given}", sorted(words)
    elif kind == "swap":
        new = [words[-1], *words[1:-1], words[0]]
        text = f"Swap the first and the last word, separate by {sep_name}: {given}"
    else:
        wrap = rng.choice(list(WRAPS))
        left, right = WRAPS[wrap]
        word = words[0] if kind == "first" else words[-1]
        answer = left + word + right
        return f"Write only the {kind} word, in {wrap}: {given}", answer, [{"kind": "equals", "text": answer}]
    answer = SEPARATORS[sep_name].join(new)
    return text, answer, [{"kind": "equals", "text": answer}]


def wrapping(rng: random.Random) -> tuple[str, str, Checks]:
    words = rng.sample(PLAIN, rng.randint(1, 4))
    wrap = rng.choice(list(WRAPS))
    left, right = WRAPS[wrap]
    wording, shown, _ = cased(rng, words)
    if len(words) > 1 and rng.random() < 0.5:
        text = f"Put each word in {wrap}{wording}: {' '.join(words)}"
        answer = " ".join(left + w + right for w in shown)
    else:
        text = f"Put the text in {wrap}{wording}: {' '.join(words)}"
        answer = left + " ".join(shown) + right
    return text, answer, [{"kind": "equals", "text": answer}]


def borders(rng: random.Random) -> tuple[str, str, Checks]:
    name = rng.choice(list(CATEGORIES))
    n, count = number(rng, 2, 4)
    first, last = rng.sample(PLAIN, 2)
    named = members(rng, name, n)
    text = rng.choice((
        f"Begin with {first}, then {count} {name}, end with {last}; commas between.",
        f"Start with the word {first}, name {count} {name} and finish with {last}; commas between.",
    ))  # fmt: skip
    checks: Checks = [
        {"kind": "starts", "text": first + ", "},
        {"kind": "ends", "text": ", " + last},
        {"kind": "count", "separator": ", ", "n": n + 2},
        {"kind": "members", "separator": ", ", "allowed": [first, last, *CATEGORIES[name]]},
    ]
    return text, ", ".join([first, *named, last]), checks


def json_object(rng: random.Random) -> tuple[str, str, Checks]:
    pools: dict[str, list[object]] = {
        "name": list(NAMES), "color": list(CATEGORIES["colors"]), "age": list(range(2, 100)),
        "animal": list(CATEGORIES["animals"]), "count": list(range(2, 100)), "item": list(PLAIN),
        "tool": list(CATEGORIES["tools"]), "room": list(CATEGORIES["rooms"]),
    }  # fmt: skip
    keys = rng.sample(list(pools), rng.randint(2, 3))
    value = {key: rng.choice(pools[key]) for key in keys}
    given = ", ".join(f"{k} {v}" for k, v in value.items())
    text = rng.choice(("Write as a JSON object: ", "Turn into JSON: ", "As JSON: ")) + given
    checks: Checks = [{"kind": "json", "keys": keys}]
    checks += [{"kind": "json_value", "key": k, "value": v} for k, v in value.items()]
    return text, json.dumps(value), checks


KINDS = (category_list, category_list, category_list, numbered_list, repetition, order, order, wrapping, borders,
         json_object)  # fmt: skip


def make(rng: random.Random) -> Sample:
    text, answer, checks = rng.choice(KINDS)(rng)
    assert all(answers.check_format(" " + answer + "\n", checks)), (text, answer, checks)
    return Sample(f"Q: {text}\nA:", " " + answer, {"checks": checks})
