"""The report in a real browser, over file:// and with the network cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.report import figures
from quantcheck.report.summary import Summary
from tests.browser.conftest import Opened, serious
from tests.browser.made import crowded

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

MOST_KEYS = 60
VIEWS = ["verdict", "size", "throughput", "latency", "memory", "cost", "tasks", "roofline", "run"]


def test_what_is_missing_says_why(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("vllm-awq-18-h200"))
    opened.show("tasks")
    assert "n/a (random weights)" in opened.page.locator("main").inner_text()


@pytest.mark.parametrize("right", [-45, -47, -55, 47, 1, 0, -1, 3, 245])
def test_a_figure_is_rounded_as_in_the_tables_of_text(right: int, open_run: Open, stored: Read) -> None:
    """Of 2,000 items every fifth change lies between two tenths of a point; so do figures that almost do."""
    document = stored("reference").model_dump(mode="json")
    change = right / 2000
    for row in document["variants"][1:]:
        row["quality"]["delta"] |= {"value": change, "low": change - 0.007, "high": change + 0.0065}
    summary = Summary.model_validate(document)
    delta = summary.variants[1].quality.delta
    shown = open_run(summary).page.locator("main table").first.inner_text()
    assert figures.points(delta).replace("-", "\N{MINUS SIGN}") in shown
    assert figures.points_interval(delta).replace("-", "\N{MINUS SIGN}") in shown


def test_a_warning_leaves_names_as_they_are(open_run: Open, stored: Read) -> None:
    document = stored("reference").model_dump(mode="json")
    task = document["quality"][0]["task"]
    document["variants"][1]["name"] = "low"
    begins = {"low is open": "low is open.", f"{task} has few items": f"{task} has few items.",
              "some blocks differ": "Some blocks differ."}
    document["warnings"] = [{**document["warnings"][0], "key": text, "text": text} for text in begins]
    page = open_run(Summary.model_validate(document)).page
    assert page.locator(".warning p:first-child").all_inner_texts() == list(begins.values())


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


STATES = {
    "size?quality=kl&changes=linear": ["KL divergence", "linear"],
    "throughput?percentile=p95&scale=log&hide=Q2_K": ["p95", "log", "F16", "Q8_0", "Q4_K_M"],
    "latency?scale=log&hide=F16,Q2_K": ["log", "Q8_0", "Q4_K_M"],
    "cost?price=2&tpot=3.6&at=p90&hide=Q8_0": ["p90", "F16", "Q4_K_M", "Q2_K"],
    "tasks?changes=log&of=Q4_K_M": ["log beyond the margin", "Q4_K_M", "Q4_K_M"],
    "roofline?hide=F16": ["Q8_0", "Q4_K_M", "Q2_K"],
}


@pytest.mark.parametrize("state", STATES)
def test_an_address_says_what_is_pressed(state: str, open_run: Open, stored: Read) -> None:
    """A link, a reload and the way back all come to the same."""
    opened = open_run(stored("reference" if state.startswith("roofline") else "made"))
    opened.show(state)
    pressed = opened.page.locator('main [aria-pressed="true"]')
    assert pressed.all_inner_texts() == STATES[state]
    opened.page.reload()
    opened.page.wait_for_selector('[role="tabpanel"]')
    assert pressed.all_inner_texts() == STATES[state]
    opened.page.locator("#tab-run").click()
    opened.page.wait_for_selector("#view-run")
    opened.page.go_back()
    opened.page.wait_for_selector(f"#view-{state.partition('?')[0]}")
    assert pressed.all_inner_texts() == STATES[state]


def test_tabs_are_walked_by_keys(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    opened.page.locator("#tab-verdict").focus()
    keys = ["ArrowRight"] * len(VIEWS) + ["ArrowLeft", "Home", "End", "ArrowRight"]
    ways = [*VIEWS[1:], "verdict", "run", "verdict", "run", "verdict"]
    for key, view in zip(keys, ways, strict=True):
        opened.page.keyboard.press(key)
        opened.focused(f"tab-{view}")
        opened.page.wait_for_selector(f'#view-{view}[role="tabpanel"]')
        assert opened.page.locator('[role="tab"][aria-selected="true"]').get_attribute("id") == f"tab-{view}"
        assert (opened.count('[role="tabpanel"]'), opened.count('[role="tab"][tabindex="0"]')) == (1, 1)
    opened.page.keyboard.press("Tab")
    assert opened.focused("view-verdict") == "view-verdict"


@pytest.mark.parametrize("view", VIEWS)
def test_all_that_can_be_done_in_a_view_is_done_by_keys(view: str, open_run: Open, stored: Read) -> None:
    """The Tab key comes to every control, link and scrolling table, in the order in which they are seen."""
    opened = open_run(stored("reference" if view == "roofline" else "made"))
    opened.show(view)
    opened.page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
    opened.page.wait_for_timeout(100)
    wanted = opened.page.evaluate(
        "() => [...document.querySelectorAll('main :is(a[href], button, input, select, summary, [tabindex=\"0\"])')]"
        ".filter(one => one.getClientRects().length).map((one, at) => { one.dataset.at = at; return at; })")
    opened.page.locator(f"#tab-{view}").focus()
    walked = []
    for _ in wanted[:MOST_KEYS]:
        opened.page.keyboard.press("Tab")
        walked.append(opened.page.evaluate("Number(document.activeElement.dataset.at ?? -1)"))
    assert len(wanted) > 1
    assert walked == wanted[:MOST_KEYS]


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


def test_a_chart_that_is_far_away_is_drawn_when_it_comes_near(open_run: Open, stored: Read) -> None:
    summary = crowded(stored("reference"), 3)
    opened = open_run(summary, viewport={"width": 1440, "height": 600})
    opened.show("latency")
    variants, loads = len(summary.variants), len({row.load for row in summary.loads})
    page, last = opened.page, opened.page.locator("#view-latency figure").last.locator(".mark")
    mine = loads // page.locator("#view-latency section").first.locator("figure").count()
    assert mine > 1
    page.locator("#view-latency figure").first.locator(".mark").first.wait_for()
    assert last.count() == 0
    page.locator("#view-latency figure").last.scroll_into_view_if_needed()
    last.first.wait_for()
    assert last.count() == variants * mine
    page.evaluate("window.scrollTo(0, 0)")
    page.get_by_role("button", name="Q2_K").click()
    page.wait_for_timeout(200)
    page.locator("#view-latency figure").last.scroll_into_view_if_needed()
    page.wait_for_function("wanted => [...document.querySelectorAll('#view-latency figure')].at(-1)"
                           ".querySelectorAll('.mark').length === wanted", arg=(variants - 1) * mine, timeout=10_000)
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, axe: Path, open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"), color_scheme=scheme)
    opened.page.add_script_tag(path=str(axe))
    found = []
    for view in VIEWS:
        opened.show(view)
        opened.open_all()
        if opened.count("[data-point]"):
            opened.pick(opened.page.locator("[data-point]").first)
        found += [(view, *one) for one in serious(opened.page)]
    assert found == []
    # What axe is there for, it sees: the test would fail.
    opened.page.evaluate("""document.querySelector('main').insertAdjacentHTML('beforeend',
        '<img src="data:,"><p style="color: #888; background: #999">pale</p>')""")
    assert {name for name, _ in serious(opened.page)} == {"image-alt", "color-contrast"}
