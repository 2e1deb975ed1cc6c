"""The page with a run inside it: the run comes back whole, and nothing in it is read as HTML or asks a network."""

import json
import re
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.metrics import METRICS
from quantcheck.report.html import PLACE, embed, render
from quantcheck.report.summary import Summary

ROOT = Path(__file__).parents[2]
TEMPLATE = resources.files("quantcheck.report").joinpath("template.html")
HOSTILE = '</script><img src=x onerror="alert(1)"><!-- <script> ]]> & \u2028\u2029 \\u003c'


def reference(**experiment: str) -> Summary:
    summary = Summary.model_validate_json((ROOT / "docs/results/reference/summary.json").read_text(encoding="utf-8"))
    return summary.model_copy(update={"experiment": summary.experiment.model_copy(update=experiment)})


def run_in(page: str) -> str:
    """What a browser takes for the content of the run's element: all up to the first end tag."""
    found = re.search(r'<script type="application/json" id="run">(.*?)</script', page, re.DOTALL | re.IGNORECASE)
    assert found
    return found[1]


def test_the_run_comes_back_whole() -> None:
    summary = reference()
    assert Summary.model_validate_json(run_in(render(summary))) == summary


@pytest.mark.parametrize("field", ["name", "model", "engine"])
def test_hostile_text_stays_text(field: str) -> None:
    inside = run_in(render(reference(**{field: HOSTILE})))
    assert json.loads(inside)["experiment"][field] == HOSTILE
    assert not set(inside) & set("<>&\u2028\u2029")


@given(st.text())
def test_every_text_survives(text: str) -> None:
    assert json.loads(embed(json.dumps(text, ensure_ascii=False))) == text


def test_the_rest_of_the_page_is_the_template() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    before, _, after = template.partition(PLACE)
    page = render(reference())
    assert page.startswith(before)
    assert page.endswith(after)
    assert template.count(PLACE) == 1


def test_the_template_is_small() -> None:
    assert len(TEMPLATE.read_bytes()) < 900_000


def test_the_page_asks_for_nothing() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    markup = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", template, flags=re.DOTALL)
    asked = re.findall(r"""(?<![-\w])(?:src|href)\s*=\s*["']?([^"'\s>]+)""", markup)
    assert asked == ["data:,"]
    assert re.findall(r"url\(|@import", markup) == []
    # React would insert what its own data name: scripts, or chunks of modules.
    data = "".join(re.findall(r"self\.__next_f\.push\((.*?)\)</script>", template, flags=re.DOTALL))
    assert data
    assert re.findall(r'\\"src\\":', data) == []
    assert re.findall(r"I\[\d+,\[[^\]]", data) == []


def test_labels_units_and_directions_are_the_registrys() -> None:
    written = json.loads((ROOT / "web/src/data/metrics.json").read_text(encoding="utf-8"))
    assert written == {key: asdict(metric) for key, metric in METRICS.items()}, \
        "run: python web/metrics.py > web/src/data/metrics.json"
