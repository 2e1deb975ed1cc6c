"""Write docs/dependencies.md: what the locked requirements bring, at which version and under which licence.

    python docs/dependencies.py

Licences are what each installed package's metadata says: run it in the environment that `make test` makes, beside the
environments that are installed then. Of what is installed nowhere here only the version is told.
"""

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

from quantcheck.environments.installed import folder

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "src" / "quantcheck" / "environments" / "locks"
LOCKS = {
    ROOT / "requirements" / "core.txt": "what `pip install quantcheck` brings",
    ROOT / "requirements" / "test.txt": "what the tests need besides",
    ROOT / "requirements" / "build.txt": "what builds the package",
    ROOT / "requirements" / "docs.txt": "what `make docs` needs besides",
    **{path: f"what `quantcheck engines install {path.stem}` brings into an environment of its own"
       for path in sorted(ENVIRONMENTS.glob("*.txt"))},
}


def installed() -> dict[str, Distribution]:
    """By name: of this environment, else of one that quantcheck has installed."""
    beside = [str(path) for path in sorted(folder().glob("*/lib/python3*/site-packages"))]
    found: dict[str, Distribution] = {}
    for one in (*distributions(), *distributions(path=beside)):
        found.setdefault(plain(one.metadata["Name"]), one)
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(package: Distribution | None) -> str:
    """As the package says it: the SPDX expression, else its classifiers, else the first line of its field or file."""
    if package is None:
        return "not installed here"
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or []
                   if line.startswith("License ::")]
    field = (about.get("License") or "").strip().splitlines() or heading(package)
    return ", ".join(classifiers) or (field[0][:80].replace("|", "/") if field else "not told")


def heading(package: Distribution) -> list[str]:
    """The first line of the licence that lies beside the metadata; a text that begins with whose it is has no name."""
    files = sorted(path for path in package.files or [] if re.match(r"(?i)licen[cs]e", path.name))
    lines = (line.strip() for path in files for line in path.read_text(encoding="utf-8").splitlines())
    first = next((line for line in lines if line), "")
    return [f"its file {files[0].name}" if first.lower().startswith("copyright") else first] if first else []


def page() -> str:
    parts = ["<!-- Written by docs/dependencies.py: change the source, not this page. -->\n", "# Dependencies\n",
             "Every package of the locks, with the licence that its own metadata tells. Known weaknesses are found by",
             "`make audit`, which asks a database on the network.\n"]
    packages = installed()
    seen: set[str] = set()
    for lock, what in LOCKS.items():
        pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", lock.read_text(encoding="utf-8"), re.M)
        if lock.parent != ENVIRONMENTS:
            pins = [pin for pin in pins if pin[0] not in seen]
            seen |= {name for name, _ in pins}
        rows = [f"| {name} | {version} | {licence(packages.get(plain(name)))} |" for name, version in pins]
        parts += [f"## {lock.stem}: {what}\n", "| package | version | licence |\n|---|---|---|", *rows, ""]
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "dependencies.md").write_text(page(), encoding="utf-8")
