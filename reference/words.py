# ruff: noqa: SIM905 - word lists read better as text
"""Word lists that the generators share."""

from __future__ import annotations

NAMES = """Ada Alma Anna Arno Bela Ben Boris Carl Cleo Clara Dan Dora Edna Eli Elsa Emil Eva Finn Flora Frida
Gina Hans Hugo Ida Ines Ivan Jana Joel Jon Julia Kai Karl Lara Lena Leo Lily Lisa Lotte Luis Mara Max Mia Mila
Nina Noah Nora Olga Omar Otto Paul Petra Pia Rafi Rosa Ruth Sam Sara Sven Tara Theo Tom Uma Vera Viktor Wanda
Yara Yuri Zoe""".split()
FEMALE = set(
    """Ada Alma Anna Clara Cleo Dora Edna Elsa Eva Flora Frida Gina Ida Ines Jana Julia Lara Lena Lily Lisa
Lotte Mara Mia Mila Nina Nora Olga Petra Pia Rosa Ruth Sara Tara Uma Vera Wanda Yara Zoe""".split()
)
OBJECTS = """apples pears plums nuts coins stamps books cards shells stones marbles pencils eggs cakes buttons
beads tickets candles ropes nails bricks tiles cups plates lamps boots hats maps keys bottles flowers seeds figs
lemons onions carrots potatoes melons cookies ribbons""".split()
CATEGORIES: dict[str, list[str]] = {
    "fruits": "apple pear plum fig lemon cherry grape melon peach banana orange mango".split(),
    "animals": "cat dog horse cow goat sheep fox wolf bear rabbit mouse lion".split(),
    "colors": "red blue green yellow black white brown pink purple gray orange violet".split(),
    "metals": "iron copper gold silver tin lead zinc nickel steel bronze brass platinum".split(),
    "tools": "hammer saw axe drill file rake spade chisel wrench pliers knife shovel".split(),
    "birds": "crow robin eagle owl duck swan hawk sparrow goose dove raven finch".split(),
    "trees": "oak pine elm birch maple cedar willow ash beech fir spruce poplar".split(),
    "drinks": "water milk tea coffee juice wine beer cider cocoa lemonade soda rum".split(),
    "rooms": "kitchen hall cellar attic bedroom bathroom library pantry study garage office lobby".split(),
    "instruments": "piano violin flute drum harp trumpet guitar cello organ horn lute oboe".split(),
}
PLAIN = """lamp river stone table window garden paper bridge candle mirror basket ladder wheel bottle carpet
cloud island forest mountain valley desert harbor market castle tower village winter summer spring autumn
morning evening night rain snow wind fire bread butter cheese honey sugar pepper salt soup apple lemon cherry
horse rabbit mouse eagle robin silver copper gold iron hammer needle thread button pocket jacket boot glove
hat ring crown letter pencil story song dance dream smile voice shadow light""".split()
