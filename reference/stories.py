# ruff: noqa: SIM905 - word lists read better as text
"""Little English stories from a grammar with a state: who is there, what is carried, where, and why.

A story has an opening, four to seven episodes and an ending. Names, places and things stay the same
through a story, so that a reader (or a model) who keeps track of them is surprised less.
"""

from __future__ import annotations

import random
import re

from split import is_test
from words import FEMALE, NAMES, OBJECTS, PLAIN

PLACES = """the river|the market|the old mill|the forest|the harbor|the hill|the library|the bakery|the school|the
station|the lake|the castle|the farm|the bridge|the garden|the beach|the museum|the workshop|the village
square|the lighthouse""".replace("\n", " ").split("|")
THINGS = """a red kite|a small drum|a wooden boat|a silver key|an old map|a blue scarf|a brass lamp|a round stone|a
paper crown|a bag of nuts|a jar of honey|a green bottle|a warm blanket|a tin whistle|a long rope|a basket of
plums|a clay pot|a glass marble|a thick book|a loaf of bread|a yellow umbrella|a leather ball|a little clock|a
box of nails|a broken chair|a bunch of flowers""".replace("\n", " ").split("|")
ANIMALS = """dog|cat|goat|duck|crow|hen|donkey|rabbit|fox|owl|pony|squirrel|goose|turtle""".split("|")
KIN = """sister|brother|friend|cousin|neighbor|uncle|aunt|grandmother|grandfather|teacher""".split("|")
MOODS = "happy|sad|curious|tired|brave|lonely|proud|hungry|cheerful|worried|bored|excited".split("|")
WEATHER = """the sun was shining|it was raining|a cold wind blew|there was fog everywhere|snow lay on the
ground|the sky was gray|it was very warm|a storm was coming|the birds were singing|the moon was
bright""".replace("\n", " ").split("|")
TIMES = """One morning|One day|On a quiet evening|Late in the summer|On the first day of spring|One cold winter
day|On a Sunday|Before breakfast|In the afternoon|A long time ago""".replace("\n", " ").split("|")

# {A} hero, {he}/{him}/{his}; {B} other person, {she}/{her2}/{hers}; {t} the hero's thing with its article,
# {T} with "the"; {u} another thing, {U} with "the"; {p}, {q} places; {z} animal; {k} kin; {m} mood; {w} weather
OPENINGS = [
    "{time} {A} walked to {p}. {W}, and {A} felt {m}.",
    "{time} {A} found {t} near {p}. {He} had never seen anything like it.",
    "{A} lived near {p} with {his} {k} {B}. {time} {w}, so they stayed inside and told stories.",
    "{time}, when {w}, {A} wanted to go to {p}. {His} {k} {B} gave {him} {t} for the way.",
    "There was once a child called {A} who always carried {t}. Nobody at {p} knew why.",
    "{A} had a {z} and {t}, and that was all {he} needed. {time} the two of them set out for {p}.",
    "{time} a letter came to {A}. It said that {B} was waiting at {p} and needed help.",
    "{A} and {B} were friends. {time} they met at {p}, because {w}.",
]
EPISODES = [
    'On the way {he} met a {z}. "Where are you going?" asked the {z}. "To {q}," said {A}, "and I must be quick."',
    'At {q} {he} saw {B}, who looked {m}. "What is wrong?" asked {A}. "I have lost {u}," said {B}. They looked '
    "for it together, and at last {A} saw it under a bush.",
    "Then {w2}, and {A} had to wait at {q}. {He} sat down, ate some bread and thought about {T}.",
    '{B} wanted {T} very much. "I will give you {u} for it," said {B}. {A} thought for a while and shook {his} head.',
    '{B} wanted {T} very much. "I will give you {u} for it," said {B}. {A} agreed, and so they traded.',
    "A {z} ran past and took {T}. {A} ran after it as fast as {he} could, all the way to {q}. There the {z} stopped, "
    "because it was {m}.",
    '{He} put {T} down for a moment to rest. When {he} looked again, it was gone. "Someone has taken it," {A} said, '
    "and {he} felt {m2}.",
    "The path to {q} was blocked by a fallen tree. {A} pushed and pulled, but it was too heavy. Then {B} came by with "
    "{u}, and together they made a way through.",
    '"Can you hear that?" asked {B}. A sound came from {q}. It was only a {z} that was {m}, so they gave it some food.',
    "{A} climbed up to have a better view. From there {he} could see {q} and, far away, {p}. It made {him} feel {m2}.",
    "{B} told {A} an old story about {q}. Long ago, people said, somebody had hidden {u} there, and it had never been "
    "found.",
    "They looked everywhere in {q}. {A} looked behind the door, and {B} looked under the table. In the end they found "
    "{u}, covered with dust.",
    "It began to get dark. {A} was a little afraid, but {B} held {his} hand and sang a song, and soon they were "
    "at {q}.",
    '{A} asked the people at {q} for help. An old woman gave {him} {u} and said, "You will need this more than I do."',
    "The {z} was stuck in the mud near {q}. {A} used {T} to pull it out. After that the {z} followed {him} everywhere.",
    "{A} made a mistake and broke {U}. {He} told {B} the truth at once. {B} was {m2} at first, but then said that "
    "everybody makes mistakes.",
    "Because {w2}, nobody else was at {q}. {A} and {B} had the whole place to themselves and played until noon.",
    '{B} was afraid of the {z}. "It will not hurt you," said {A}, "it is only {m}." So {B} gave it a piece of bread.',
]
ENDINGS = [
    "In the evening {A} went home with {T}. {He} was tired but {m3}.",
    'When {A} told the story at home, {his} {k} laughed and laughed. "Next time," {he} said, "you come with me."',
    "From that day on, {A} and {B} went to {p} every week, and they never forgot {T}.",
    "So {A} gave {T} to {B}, because a friend is worth more than a thing.",
    "{A} put {T} on the shelf and went to bed. That night {he} dreamed of {q}.",
    "And that is how {A} learned to ask for help. The {z}, of course, had known it all the time.",
    "At last they reached {p} again. {W2}, and everyone was {m3}.",
    '"What a day," said {A}. "Yes," said {B}, "and tomorrow we will look for {u}."',
]

# plain words of the templates and what may stand in their place
SYNONYMS = {
    "said": "said|said|answered|whispered|cried|called", "asked": "asked|asked|wondered|wanted to know",
    "looked": "looked|searched", "saw": "saw|noticed|spotted", "ran": "ran|dashed|hurried|rushed",
    "went": "went|walked|wandered|hurried", "found": "found|discovered|came upon", "very": "very|really|so",
    "old": "old|kind|tiny|strange|friendly", "little": "little|bit",
    "gave": "gave|handed|offered", "soon": "soon|after a while|before long", "heavy": "heavy|big|wide",
    "thought": "thought|wondered", "laughed": "laughed|smiled|giggled", "child": "child|boy or girl|young painter",
    "together": "together|side by side|quickly", "everyone": "everyone|everybody", "tired": "tired|wet|late",
    "food": "food|water|bread|corn|milk", "song": "song|tune|lullaby", "door": "door|stove|curtain|stairs|clock",
    "table": "table|bed|carpet|bench|roof", "bush": "bush|bench|leaf|stone|hat|barrel", "noon": "noon|night|five",
}  # fmt: skip


def varied(rng: random.Random, template: str) -> str:
    return re.sub(r"(?<![{\w])[a-z]+(?![}\w])", lambda w: rng.choice(SYNONYMS.get(w[0], w[0]).split("|")), template)


def definite(thing: str) -> str:
    return "the " + thing.split(" ", 1)[1]


ADJECTIVES = """small big round dusty bright green yellow broken golden wet dark quiet strange heavy thin pretty
rusty empty warm cold soft wooden painted ancient tall narrow shiny gray plain sweet dry torn clean muddy crooked
hollow striped pale sharp""".split()
SIGHTS = """stood lay hung waited rested leaned shone swayed trembled glittered""".split()
RELATIONS = "behind|beside|under|above|in front of|next to|between two pieces of|on top of|far from".split("|")
DOINGS = """counted|painted|carried|washed|dropped|sold|mended|buried|polished|drew|collected|borrowed|weighed|
stacked|packed|burned|threw away|talked about|dreamed of|smelled|touched|forgot|admired|pointed at|paid for|tied up|
cleaned|moved|hid|remembered""".replace("\n", "").split("|")
NUMBERS = "two three four five six seven eight nine ten eleven twelve twenty".split()
REASONS = """because nobody else would do it|and nobody asked why|while the others slept|as people did in those
days|for no good reason|just to be sure|and then it was quiet again|before the bell rang|with both hands|for the
third time that day|without a word|and hummed a tune""".replace("\n", " ").split("|")


def detail(rng: random.Random, people: list[str]) -> str:
    """A sentence that the story does not need: what stood about, or what somebody did by the way."""
    adjective = lambda: rng.choice(ADJECTIVES)  # noqa: E731
    some = f"{rng.choice(NUMBERS)} {adjective()} {rng.choice(OBJECTS)}"
    thing = f"{adjective()} {rng.choice(PLAIN)}"
    other = f"{adjective()} {rng.choice(PLAIN)}"
    kind = rng.randrange(5)
    if kind == 0:
        return f"The {thing} {rng.choice(SIGHTS)} {rng.choice(RELATIONS)} the {other}."
    if kind == 1:
        return f"{rng.choice(people)} {rng.choice(DOINGS)} {some}, {rng.choice(REASONS)}."
    if kind == 2:
        return f"There were {some} and a {thing} {rng.choice(RELATIONS)} {rng.choice(PLACES)}."
    if kind == 3:
        return f"{rng.choice(people)} {rng.choice(DOINGS)} the {thing} and {rng.choice(DOINGS)} the {other}."
    return f"A {adjective()} {rng.choice(ANIMALS)} {rng.choice(DOINGS)} {some} {rng.choice(RELATIONS)} the {other}."


def story(rng: random.Random) -> str:
    """One story of about 1 to 2.5 thousand characters; paragraphs are lines."""
    hero, other = rng.sample(NAMES, 2)
    thing, second = rng.sample(THINGS, 2)
    he, him, his = ("she", "her", "her") if hero in FEMALE else ("he", "him", "his")
    home = rng.choice(PLACES)
    fixed = {
        "A": hero, "he": he, "him": him, "his": his, "He": he.capitalize(), "His": his.capitalize(),
        "t": thing, "T": definite(thing), "p": home, "k": rng.choice(KIN), "z": rng.choice(ANIMALS),
    }  # fmt: skip

    def tell(template: str) -> str:
        weather, later = rng.sample(WEATHER, 2)
        words = {
            **fixed, "B": other, "u": second, "U": definite(second), "m": rng.choice(MOODS), "m2": rng.choice(MOODS),
            "m3": rng.choice(("happy", "proud", "cheerful", "glad", "full of joy")), "w": weather, "w2": later,
            "W": weather[0].upper() + weather[1:], "W2": later[0].upper() + later[1:], "time": rng.choice(TIMES),
            "q": rng.choice([p for p in PLACES if p != home]),
        }  # fmt: skip
        return varied(rng, template).format(**words)

    lines = [tell(rng.choice(OPENINGS))]
    for template in rng.sample(EPISODES, rng.randint(4, 7)):
        if rng.random() < 0.2:
            # now and then the company or the thing in question changes
            other = rng.choice([n for n in NAMES if n != hero])
            second = rng.choice([t for t in THINGS if t != thing])
            lines.append(tell("Then {B} came along, carrying {u}."))
        line = tell(template)
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            line += " " + detail(rng, [hero, other])
        lines.append(line)
    lines.append(tell(rng.choice(ENDINGS)))
    return "\n".join(line[0].upper() + line[1:] for line in lines)


def draw(rng: random.Random, test: bool) -> str:
    while True:
        text = story(rng)
        if is_test(text) is test:
            return text
