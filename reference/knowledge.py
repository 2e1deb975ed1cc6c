# ruff: noqa: SIM905 - word lists read better as text
"""A closed invented world: towns and people, their facts, and many wordings for each fact.

The world is one fixed draw (WORLD_SEED), about 3,000 facts. Training sees each fact in most of its
wordings, as questions, as sentences to complete and inside short descriptions; the wordings whose prompt
hashes into the test residue are never seen for that fact. A test item asks for one of four values of
the same kind. Nothing in it is true of the real world.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from split import Sample, is_test

WORLD_SEED = 20261120
ONSETS = "b br d dr f g gr h k kr l m n p r s st t th v w z sk fl".split()
VOWELS = "a e i o u ai ea ou".split()
ENDS = "n r l s m th nd rk lm x v st".split()
MATERIALS = """amber basalt brass chalk clay coal copper cork cotton dye felt flax flint glass glue gold granite
gypsum honey horn ink iron ivory jade lace lead leather linen marble nickel oil paper pearl pitch pottery quartz
resin rope salt sand silk silver slate soap sulfur tar tea tin wax wool zinc""".split()
BEASTS = """badger bat bear beaver bee boar bull camel cat cobra crab crane crow deer dog dragon duck eagle eel
elk falcon fox frog goat goose hare hawk heron horse hound jackal lion lizard lynx mole moth mouse otter owl ox
panther pike rabbit ram raven salmon seal shark snake spider stag stork swan tiger toad trout turtle viper wasp
whale wolf""".split()
CRAFTS = """actor baker barber brewer butcher carpenter clerk cook cooper dancer dyer farmer fisher gardener
glazier guard hatter hunter jeweler judge locksmith mason merchant miller miner monk musician painter pilot
plumber poet potter printer sailor scribe shepherd smith tailor tanner teacher thatcher weaver writer""".split()
COLORS = "black blue brown crimson gray green orange pink purple red scarlet silver violet white yellow".split()
MONTHS = """January February March April May June July August September October November December""".split()


class Fact(NamedTuple):
    subject: str
    relation: str
    value: str


# {s} is the subject; the value follows. First the questions, then sentences to complete.
QUESTIONS: dict[str, tuple[str, ...]] = {
    "river": ("Which river runs through {s}?", "On which river does {s} lie?", "What is the river of {s}?",
              "Name the river at {s}.", "What river would you cross in {s}?", "Which river waters {s}?"),
    "region": ("In which region is {s}?", "Which region does {s} belong to?", "What region is {s} part of?",
               "Name the region of {s}.", "Where does {s} lie?", "Which land is {s} in?"),
    "trade": ("What does {s} sell?", "What is {s} known for?", "Which good comes from {s}?",
              "What is made in {s}?", "Name the main good of {s}.", "What do merchants buy in {s}?"),
    "emblem": ("Which animal is the emblem of {s}?", "What animal is on the flag of {s}?",
               "Name the emblem of {s}.", "What beast stands for {s}?", "Which animal does {s} honor?",
               "What animal is carved on the gate of {s}?"),
    "color": ("What color is the flag of {s}?", "Which color do the people of {s} wear?",
              "Name the color of {s}.", "What color are the roofs of {s}?", "Which color stands for {s}?",
              "What color does {s} paint its doors?"),
    "birthplace": ("Where was {s} born?", "In which town was {s} born?", "What is the home town of {s}?",
                   "Which town does {s} come from?", "Name the birthplace of {s}.", "Where did {s} grow up?"),
    "craft": ("What is the work of {s}?", "What does {s} do for a living?", "What is the trade of {s}?",
              "Name the job of {s}.", "How does {s} earn money?", "What job does {s} have?"),
    "pet": ("Which animal does {s} keep?", "What animal lives with {s}?", "What is the pet of {s}?",
            "Name the animal of {s}.", "Which beast does {s} feed?", "What animal follows {s}?"),
    "month": ("In which month was {s} born?", "When is the birthday of {s}?", "What is the birth month of {s}?",
              "Name the month of {s}'s birth.", "In which month does {s} turn older?", "When was {s} born?"),
}  # fmt: skip
SENTENCES: dict[str, tuple[str, ...]] = {
    "river": ("{s} lies on the river", "The river of {s} is the", "Through {s} flows the",
              "The boats of {s} sail on the", "The bridges of {s} cross the", "The water of {s} comes from the"),
    "region": ("{s} is a town in", "{s} belongs to the region of", "The region around {s} is called",
               "{s} can be found in", "Travelers to {s} must go to", "The lords of {s} rule in"),
    "trade": ("{s} is known for its", "The main good of {s} is", "Merchants go to {s} for",
              "The workshops of {s} are full of", "In {s} people make and sell", "The wealth of {s} is its"),
    "emblem": ("The emblem of {s} is the", "The flag of {s} shows a", "On the gate of {s} is carved a",
               "The people of {s} honor the", "The coins of {s} bear a", "The guards of {s} wear the sign of the"),
    "color": ("The flag of {s} is", "The people of {s} dress in", "The roofs of {s} are",
              "The color of {s} is", "The doors of {s} are painted", "The walls of {s} are"),
    "birthplace": ("{s} was born in", "{s} comes from the town of", "The home town of {s} is",
                   "{s} grew up in", "The parents of {s} lived in", "The family of {s} is from"),
    "craft": ("{s} works as a", "The trade of {s} is that of a", "{s} earns a living as a",
              "By trade {s} is a", "People know {s} as a", "{s} became a"),
    "pet": ("{s} keeps a", "The pet of {s} is a", "At home {s} has a",
            "{s} is often seen with a", "{s} loves nothing more than a", "Every morning {s} feeds a"),
    "month": ("{s} was born in the month of", "The birthday of {s} is in", "{s} first saw light in",
              "{s} has a birthday in", "The birth month of {s} is", "{s} turns a year older in"),
}  # fmt: skip
TOWN = ("river", "region", "trade", "emblem", "color")
PERSON = ("birthplace", "craft", "pet", "month")


def invented(rng: random.Random, count: int, taken: set[str], syllables: int) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        parts = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables)]
        name = ("".join(parts) + rng.choice(ENDS)).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


def world() -> tuple[list[Fact], dict[str, list[str]]]:
    """All facts of the world, and the values that each relation can take."""
    rng = random.Random(WORLD_SEED)
    taken: set[str] = set()
    towns = invented(rng, 380, taken, 2)
    firsts, lasts = invented(rng, 60, taken, 1), invented(rng, 60, taken, 2)
    pairs = [f"{first} {last}" for first in firsts for last in lasts]
    people = rng.sample(pairs, 300)
    values = {
        "river": invented(rng, 48, taken, 1), "region": invented(rng, 24, taken, 2), "trade": MATERIALS,
        "emblem": BEASTS, "color": COLORS, "birthplace": towns, "craft": CRAFTS, "pet": BEASTS, "month": MONTHS,
    }  # fmt: skip
    facts = [Fact(town, relation, rng.choice(values[relation])) for town in towns for relation in TOWN]
    facts += [Fact(person, relation, rng.choice(values[relation])) for person in people for relation in PERSON]
    return facts, values


FACTS, VALUES = world()
OF: dict[str, list[Fact]] = {}
for _fact in FACTS:
    OF.setdefault(_fact.subject, []).append(_fact)
SUBJECTS = list(OF)
# sentences that another wording goes on from ("... was born in" / "... was born in the month of"): a training
# text may begin with one although it tells another fact, so they are no test prompts
_WORDINGS = [wording for wordings in SENTENCES.values() for wording in wordings]
BEGINNINGS = {
    wording.format(s=subject)
    for wording in _WORDINGS
    if any(other.startswith(wording + " ") for other in _WORDINGS)
    for subject in SUBJECTS
}


def question(rng: random.Random, fact: Fact) -> str:
    return "Q: " + rng.choice(QUESTIONS[fact.relation]).format(s=fact.subject) + "\nA:"


def sentence(rng: random.Random, fact: Fact) -> str:
    return rng.choice(SENTENCES[fact.relation]).format(s=fact.subject)


def make(rng: random.Random) -> Sample:
    """One question or sentence to complete, with its four choices in random order."""
    fact = rng.choice(FACTS)
    prompt = (question if rng.random() < 0.5 else sentence)(rng, fact)
    wrong = rng.sample([v for v in VALUES[fact.relation] if v != fact.value], 3)
    choices = [fact.value, *wrong]
    rng.shuffle(choices)
    item = {"choices": [" " + c for c in choices], "gold": choices.index(fact.value), "subject": fact.relation}
    return Sample(prompt, " " + fact.value, item)


def description(rng: random.Random) -> str:
    """A training document: what is known of one town or person, in wordings of the training side only."""
    facts = OF[rng.choice(SUBJECTS)]
    lines = []
    for fact in rng.sample(facts, len(facts)):
        prompt = sentence(rng, fact)
        if not is_test(prompt):
            lines.append(f"{prompt} {fact.value}.")
    return " ".join(lines)
