"""What ships: every preset is an experiment that plans, and has a page that says what it is for."""

from pathlib import Path

import pytest

from quantcheck import presets
from quantcheck.runner.plan import make_plan
from quantcheck.spec.document import parse

DOCS = Path(__file__).parents[2] / "docs"
PARTS = ("**The question.**", "**The source.**", "## The matrix", "## Needs", "## Run it", "## The stored run",
         "## What it cannot tell")


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_plans_and_has_a_page(name: str) -> None:
    experiment = presets.load(name)
    assert len(make_plan(experiment)) > 0
    page = (DOCS / "presets" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}: ")
    assert [part for part in PARTS if part not in page] == []
    command = "quantcheck run" if name == presets.DEFAULT else f"quantcheck run {name}"
    assert f"```\n{command}\n```" in page
    assert f"[{name}](presets/{name}.md)" in (DOCS / "experiments.md").read_text(encoding="utf-8")


def test_no_page_is_left_over() -> None:
    assert {path.stem for path in (DOCS / "presets").glob("*.md")} == set(presets.names())


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_opens_with_what_it_is_and_what_it_needs(name: str) -> None:
    text = presets.text(name)
    assert text.startswith("# ")
    assert parse(text, source=name, name=name) == presets.load(name)
    if presets.load(name).engine.kind == "vllm":
        assert "`quantcheck engines install vllm" in " ".join(line.strip("# ") for line in text.splitlines())
