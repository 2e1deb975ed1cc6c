"""Examples and hand-written pages: what they show can be typed, what they say of keys and defaults is so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from quantcheck.metrics import METRICS
from quantcheck.quality.suites import SUITES, Corpus, load_suites
from quantcheck.runner.plan import make_plan
from quantcheck.spec import experiment as spec
from quantcheck.spec.document import parse, read
from quantcheck.spec.load import Arrival, Load, Workload
from quantcheck.spec.policy import Margin, Policy, Price
from tests.test_architecture import FOUNDATION, MAY_IMPORT

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGES = [DOCS / name for name in ("methodology.md", "architecture.md", "experiments.md", "load.md")]

NAMED: dict[str, type[BaseModel]] = {
    "variants": spec.Variant, "load.workloads": Workload, "quality.texts": spec.TextSuite,
}
"""Mappings whose keys the user chooses, and what their values are."""
PARTS: dict[str, type[BaseModel]] = {
    "variants.NAME.quantize": spec.Quantize, "load": Load, "load.arrival": Arrival, "quality": spec.Quality,
    "quality.continuations": spec.Continuations, "quality.sampling": spec.Sampling,
    "policy": Policy, "policy.margin": Margin, "policy.price": Price,
}

MINIMAL = """\
model: reference
baseline: F16
variants:
  F16: {scheme: gguf/F16}
load:
  workloads: {short: {prompt_tokens: 8, output_tokens: 8}}
"""


def fenced(page: Path) -> list[tuple[str, str]]:
    """(words after the fence, text) of the page's YAML blocks."""
    return re.findall(r"^```yaml ?(.*?)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, default) of every key that an experiment may have, without those of an engine's kind."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if key not in ("variants.NAME.quantize", "policy", "policy.margin", "load.arrival"):  # sections
            yield key, field.get_default(call_default_factory=True)
        if key in NAMED:
            yield from keys(NAMED[key], f"{key}.NAME.")
        if key in PARTS:
            yield from keys(PARTS[key], f"{key}.")


def documented(heading: str) -> dict[str, str]:
    """Key to default of the first table after `heading` in experiments.md."""
    text = (DOCS / "experiments.md").read_text(encoding="utf-8").split(heading, 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def shown(key: str, default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, spec.LlamaCppEngine):
        return "{kind: llama.cpp}"
    text = yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()
    assert yaml.safe_load(text) == default, key
    return text


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
    # `plugin` is a package, with a test of its own.
    assert {path.name for path in (ROOT / "examples").iterdir()} == {"plugin", *(path.name for path in EXAMPLES)}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_an_experiment_and_says_its_use(path: Path) -> None:
    assert re.match(r"# [A-Z].{30,}\n", path.read_text(encoding="utf-8"))
    experiment = read(path)
    assert experiment.name == path.stem
    assert len(experiment.variants) >= 2
    if experiment.quality is not None:
        assert set(experiment.quality.suites) <= set(SUITES)


@pytest.mark.parametrize("path", [p for p in EXAMPLES if read(p).model == "reference"], ids=lambda path: path.stem)
def test_an_example_on_the_reference_model_can_be_planned(path: Path) -> None:
    assert len(make_plan(read(path))) > 0


def test_the_smoke_test_is_small() -> None:
    experiment = read(ROOT / "examples" / "ci-smoke.yaml")
    assert len(make_plan(experiment)) <= 30
    assert experiment.quality is not None
    for suite in load_suites(experiment.quality):
        assert (suite.tokens or 10**9) <= 4096 if isinstance(suite, Corpus) else len(suite.items) <= 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_on_a_page_is_accepted(page: Path) -> None:
    for words, text in fenced(page):
        if words == "complete":
            parse(text, source=str(page), name="page")
        else:  # a part: it takes the place of the same keys of a small experiment
            whole = {**yaml.safe_load(MINIMAL), **yaml.safe_load(text)}
            parse(yaml.safe_dump(whole, sort_keys=False), source=f"{page}: {text.splitlines()[0]}", name="page")


def test_pages_show_complete_experiments_and_parts() -> None:
    kinds = [words for words, _ in fenced(DOCS / "experiments.md")]
    assert kinds.count("complete") >= 2
    assert set(kinds) == {"complete", ""}


def test_every_key_is_documented_with_its_default() -> None:
    expected = {key: shown(key, default) for key, default in keys(spec.Experiment)}
    found = documented("## Every key")
    assert found.pop("engine.kind") == spec.LlamaCppEngine().kind
    assert expected.pop("name") == "required"  # `read` takes it from the file
    assert found.pop("name") == "the file's name without its ending"
    assert found == expected


@pytest.mark.parametrize(("kind", "model"), [
    ("llama.cpp", spec.LlamaCppEngine), ("vllm", spec.VllmEngine), ("fake", spec.FakeEngine),
    ("openai", spec.OpenAIEngine)])
def test_every_key_of_an_engine_is_documented_with_its_default(kind: str, model: type[BaseModel]) -> None:
    expected = {key: shown(key, default) for key, default in keys(model, "engine.") if key != "engine.kind"}
    assert documented(f"With `engine.kind: {kind}`") == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
                for line in text.splitlines() if line.startswith("#")}
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    packages = "|".join(sorted(MAY_IMPORT))
    named = set(re.findall(rf"`((?:tests|{packages})/[\w/]+(?:\.py)?)`", page.read_text(encoding="utf-8")))
    suites = set(SUITES)
    for name in named - suites:
        assert (ROOT / name).exists() or (ROOT / "src" / "quantcheck" / name).exists(), name


def test_tests_that_the_methodology_cites_are_there() -> None:
    cited = re.findall(r"`(test_\w+)`", (DOCS / "methodology.md").read_text(encoding="utf-8"))
    source = (ROOT / "tests" / "stats" / "test_ratio.py").read_text(encoding="utf-8")
    assert cited
    for name in cited:
        assert f"def {name}(" in source, name


def test_the_methodology_explains_every_metric() -> None:
    text = (DOCS / "methodology.md").read_text(encoding="utf-8")
    assert [key for key in METRICS if f"`{key}`" not in text] == []
    assert [metric.label for metric in METRICS.values() if metric.label not in text] == []


def test_the_map_is_the_one_that_is_enforced() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([\w ,-]+) \|$", text, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for package, names in rows.items():
        parts = set() if names == "-" else set(names.split(", "))
        found[package] = parts - {"foundation"} | (FOUNDATION if "foundation" in parts else set())
    assert found == {package: may for package, may in MAY_IMPORT.items() if not package.startswith("__")}
