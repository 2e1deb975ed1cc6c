"""The report in a real browser, over file:// and with the network cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.report.summary import Figure, Summary
from tests.browser.conftest import Opened

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

RUNS = ["reference", "vllm-awq-18"]
VIEWS = ["verdict", "size", "throughput", "latency", "memory", "cost", "tasks", "roofline", "run"]


def known(*figures: Figure) -> bool:
    return all(figure.value is not None for figure in figures)


def marks(summary: Summary) -> dict[str, dict[str, int]]:
    """How often each view must draw each mark, counted from the data."""
    speed = {(row.metric, row.variant, row.load): row.value for row in summary.speed}
    others = [row for row in summary.corpora if row.variant != summary.experiment.baseline]
    judged = any(row.frontier == "quality against size" and row.on is not None for row in summary.frontiers)
    sizes = [row for row in summary.frontiers if row.frontier == "quality against size" and known(row.x, row.y)]
    host = [figure for row in summary.memory for figure in (row.weights_bytes, row.kv_cache_bytes)]
    return {
        "verdict": {"table.wide tbody tr": len(summary.variants), ".decision": len(summary.decisions),
                    ".warning": len(summary.warnings)},
        "size": {".mark": len(sizes) if judged else 0},
        "throughput": {".mark": sum(known(speed["output_throughput", row.variant, row.load],
                                          speed["tpot", row.variant, row.load]) for row in summary.loads)},
        "latency": {".mark": sum(known(figure) for (metric, _, _), figure in speed.items()
                                 if metric in ("output_throughput", "ttft", "itl", "e2e"))},
        "memory": {".part": sum(known(figure) for figure in host)},
        "cost?price=2": {".part": sum(known(speed["output_throughput", row.variant, row.load]) for row in summary.loads
                                      if row.load.endswith("@c1"))},
        "tasks": {".mark": sum(known(row.delta) for row in summary.quality) + sum(known(row.ratio) for row in others)},
        "roofline": {".mark": sum(known(*phase) for row in summary.roofline
                                  for phase in ((row.mbu, row.mfu), (row.prefill_mbu, row.prefill_mfu)))},
        "run": {".warning": len(summary.warnings)},
    }


@pytest.mark.parametrize("name", RUNS)
def test_every_view_draws_what_the_run_holds(name: str, open_run: Open, stored: Read) -> None:
    opened = open_run(stored(name))
    for view, expected in marks(opened.summary).items():
        opened.show(view)
        opened.page.wait_for_timeout(50)
        assert {selector: opened.count(selector) for selector in expected} == expected, view
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", opened.address))] == []


def test_every_mark_says_its_n_and_interval(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    for view, words in {"latency": ("95% CI", "48 requests in 4 blocks"), "tasks": ("95% CI",)}.items():
        opened.show(view)
        titles = opened.page.locator(".mark title").all_text_contents()
        assert titles
        assert all(word in title for title in titles for word in words)


def test_what_is_missing_says_why(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("vllm-awq-18"))
    opened.show("tasks")
    assert "n/a (no quality in the experiment)" in opened.page.locator("main").inner_text()


def test_a_link_restores_the_state(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    opened.show("latency")
    whole = opened.count(".mark")
    opened.page.get_by_role("button", name="Q2_K").click()
    opened.page.get_by_role("button", name="log", exact=True).click()
    link = opened.page.url
    again = open_run(opened.summary)
    again.page.goto(link)
    again.page.wait_for_selector('#view-latency')
    assert again.count(".mark") == whole * 3 // 4
    assert again.page.get_by_role("button", name="log", exact=True).get_attribute("aria-pressed") == "true"


def test_tabs_are_walked_by_keys(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    opened.page.locator("#tab-verdict").focus()
    seen = []
    for view in VIEWS:
        seen.append(opened.focused(f"tab-{view}"))
        opened.page.keyboard.press("ArrowRight")
    assert seen == [f"tab-{view}" for view in VIEWS]
    assert opened.focused("tab-verdict") == "tab-verdict"
    opened.page.keyboard.press("Tab")
    assert opened.focused("view-verdict") == "view-verdict"


def test_hostile_text_stays_text(open_run: Open, stored: Read) -> None:
    hostile = "</script><img src=x onerror=\"document.title='owned'\">"
    summary = stored("reference")
    changed = summary.model_copy(update={"experiment": summary.experiment.model_copy(update={"name": hostile})})
    opened = open_run(changed)
    assert opened.page.locator("h1").inner_text() == hostile
    assert opened.count("img") == 0
    assert opened.page.title() != "owned"


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_page(width: int, open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"), viewport={"width": width, "height": 900})
    for view in VIEWS:
        opened.show(view)
        opened.page.wait_for_timeout(50)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_paper_has_every_view(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.count('[role="tabpanel"]') == len(VIEWS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, axe: Path, open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"), color_scheme=scheme)
    opened.page.add_script_tag(path=str(axe))
    found = []
    for view in VIEWS:
        opened.show(view)
        result = opened.page.evaluate("axe.run()")
        found += [(view, v["id"], v["nodes"][0]["html"][:120]) for v in result["violations"]
                  if v["impact"] in ("serious", "critical")]
    assert found == []
