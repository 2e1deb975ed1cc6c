"""The report in a real browser, over file:// and with the network cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.report.summary import Summary
from tests.browser.conftest import Opened

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

VIEWS = ["verdict", "size", "throughput", "latency", "memory", "cost", "tasks", "roofline", "run"]


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
    assert 0 < again.count(".mark") == whole * 3 // 4
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


def test_what_the_reader_set_is_in_the_address(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"))
    opened.show("cost")
    opened.page.get_by_label("TTFT at most").fill("70")
    price = opened.page.get_by_label("An hour of one machine")
    price.fill("")
    price.press_sequentially("0.35")
    opened.page.get_by_role("button", name="p50").click()
    link = opened.page.url
    again = open_run(opened.summary)
    again.page.goto(link)
    again.page.wait_for_selector("#view-cost")
    assert again.page.get_by_label("TTFT at most").input_value() == "70"
    assert again.page.get_by_label("An hour of one machine").input_value() == "0.35"
    assert again.page.get_by_role("button", name="p50").get_attribute("aria-pressed") == "true"


def test_what_is_closed_opens_by_key_and_holds_links(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"))
    opened.show("throughput")
    summary = opened.page.locator(".behind > summary").first
    summary.focus()
    opened.page.keyboard.press("Enter")
    raw = opened.page.locator(".raw > summary").first
    raw.focus()
    opened.page.keyboard.press("Enter")
    opened.page.locator(".raw a").first.wait_for()  # they are made when it opens
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.getAttribute('href')").startswith("cells/")


def test_paper_has_every_view(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.count('[role="tabpanel"]') == len(VIEWS)


@pytest.mark.parametrize("name", ["reference", "made"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, name: str, axe: Path, open_run: Open, stored: Read) -> None:
    opened = open_run(stored(name), color_scheme=scheme)
    opened.page.add_script_tag(path=str(axe))
    found = []
    for view in VIEWS:
        opened.show(view)
        opened.open_all()
        if opened.count("[data-point]"):
            opened.page.locator("[data-point]").first.click(force=True)
        result = opened.page.evaluate("axe.run()")
        found += [(view, v["id"], v["nodes"][0]["html"][:120]) for v in result["violations"]
                  if v["impact"] in ("serious", "critical")]
    assert found == []
