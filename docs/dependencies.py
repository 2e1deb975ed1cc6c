"""Write docs/dependencies.md: what the locked requirements bring, at which version and under which licence.

    python docs/dependencies.py

Licences are what each installed package's metadata says: run it in the environment that `make test` makes.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = {"core": "what `pip install quantcheck` brings", "test": "what the tests need besides"}


def licence(name: str) -> str:
    """As the package says it: the SPDX expression, else its classifiers, else the first line of its field."""
    try:
        about = distribution(name).metadata
    except PackageNotFoundError:
        return "not installed here"
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or []
                   if line.startswith("License ::")]
    field = (about.get("License") or "").strip().splitlines()
    return ", ".join(classifiers) or (field[0][:80] if field else "not told")


def page() -> str:
    parts = ["<!-- Written by docs/dependencies.py: change the source, not this page. -->\n", "# Dependencies\n",
             "Every package of the locks, with the licence that its own metadata tells. Known weaknesses are found by",
             "`make audit`, which asks a database on the network.\n"]
    seen: set[str] = set()
    for lock, what in LOCKS.items():
        text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        pins = [pin for pin in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", text, re.M) if pin[0] not in seen]
        seen |= {name for name, _ in pins}
        rows = [f"| {name} | {version} | {licence(name)} |" for name, version in pins]
        parts += [f"## {lock}: {what}\n", "| package | version | licence |\n|---|---|---|", *rows, ""]
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "dependencies.md").write_text(page(), encoding="utf-8")
