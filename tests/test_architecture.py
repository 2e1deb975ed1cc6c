"""The import rule: who may know whom. An arrow that is not listed here is a design change, not an accident."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "quantcheck"

FOUNDATION = {"errors", "metrics", "spec"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "metrics": set(),
    "spec": {"errors"},
    "presets": {"spec", "errors"},
    "reference": set(),
    "ggml": {"errors"},
    "process": {"errors"},
    "sandbox": {"errors", "process"},
    "tasks": {"errors"},
    "variants": FOUNDATION | {"ggml", "reference", "process", "store"},
    "environments": {"errors", "process", "telemetry", "variants"},
    "engines": FOUNDATION | {"ggml", "variants", "process"},
    "telemetry": FOUNDATION,
    "load": FOUNDATION | {"engines", "process"},
    "quality": FOUNDATION | {"engines", "ggml", "harness", "reference", "stats", "tasks", "variants"},
    "harness": FOUNDATION | {"engines", "sandbox", "tasks"},
    "judge": FOUNDATION | {"report", "stats"},
    "store": {"errors"},
    "stats": set(),
    "report": FOUNDATION | {"store", "stats"},
    "runner": FOUNDATION | {"ggml", "process", "reference", "variants", "environments", "engines", "load", "quality",
                            "telemetry", "store", "stats", "report"},
    "dashboard": FOUNDATION | {"process", "store", "report"},
    "importers": FOUNDATION | {"stats", "store"},
    "distributed": FOUNDATION | {"load", "quality", "runner", "store", "telemetry", "variants"},
    "cli": FOUNDATION | {"presets", "environments", "importers", "load", "runner", "distributed", "report", "store",
                         "dashboard", "judge"},
    "library": FOUNDATION | {"report", "store", "tracking"},
    "tracking": FOUNDATION | {"report"},
    "pytest_plugin": {"library"},
    "__main__": {"cli"},
    "__init__": set(),
}


def imports(file: Path) -> set[str]:
    """The parts of quantcheck that `file` imports; imports for type checking alone do not count."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "quantcheck" else node.module
                     for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("quantcheck.")}
    return found - {"__version__"}


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_the_arrows_hold(part: str) -> None:
    files = sorted((SOURCE / part).rglob("*.py")) or [SOURCE / f"{part}.py"]
    for file in files:
        unexpected = imports(file) - MAY_IMPORT[part] - {part}
        assert not unexpected, f"{file.relative_to(SOURCE)} imports {', '.join(sorted(unexpected))}"


def test_every_part_is_on_the_map() -> None:
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts == set(MAY_IMPORT)


def test_no_module_is_longer_than_one_idea() -> None:
    long = {str(file.relative_to(SOURCE)): count for file in SOURCE.rglob("*.py")
            if (count := len(file.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
