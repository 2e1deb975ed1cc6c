"""Text of models and prompts stays text, whatever it holds and however long it is."""

from collections.abc import Callable

from quantcheck.report.summary import Summary, WorstTokenRow
from tests.browser.conftest import Opened
from tests.browser.made import changed

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"
VIEWS = ["verdict", "size", "throughput", "latency", "memory", "cost", "tasks", "roofline", "run"]


def named(summary: Summary, old: str, new: str) -> Summary:
    """The same run with `old` under another name, everywhere."""
    as_json = new.replace("\\", "\\\\").replace('"', '\\"')
    return Summary.model_validate_json(summary.model_dump_json().replace(old, as_json))


def test_a_hostile_name_stays_text_in_every_view(open_run: Open, stored: Read) -> None:
    opened = open_run(named(stored("made"), "Q4_K_M", HOSTILE))
    for view in VIEWS:
        opened.show(view)
        opened.open_all()
        if opened.count("[data-point]"):
            opened.pick(opened.page.locator("[data-point]").nth(1))
        assert opened.count("img") == 0, view
    assert opened.page.title() != "owned"
    assert opened.complaints == []
    assert opened.asked_for == []
    opened.show("verdict")
    assert HOSTILE in opened.page.locator("table.wide").inner_text()


def test_the_experiments_name_is_a_heading(open_run: Open, stored: Read) -> None:
    summary = stored("reference")
    opened = open_run(summary.model_copy(update={
        "experiment": summary.experiment.model_copy(update={"name": HOSTILE})}))
    assert opened.page.locator("h1").inner_text() == HOSTILE
    assert opened.count("img") == 0
    opened.page.wait_for_function("name => document.title === name + ': quantcheck'", arg=HOSTILE, timeout=10_000)


def test_prompts_tokens_and_outputs_with_html_stay_text(open_run: Open, stored: Read) -> None:
    worst = WorstTokenRow(
        corpus="c", variant="Q2_K", rank=1, document=0, position=1, kl_divergence=3.0, before=HOSTILE, token="<b>",
        baseline_p=0.5, variant_p=1e-9, baseline_likeliest="<i>", baseline_likeliest_p=0.5, variant_likeliest=HOSTILE,
        variant_likeliest_p=0.9,
    )  # fmt: skip
    row = changed("Q2_K", 1, f"a {HOSTILE} b", "a <b>c</b>", prompt=f"<h1>{HOSTILE}")
    opened = open_run(stored("made").model_copy(update={"worst_tokens": [worst], "most_changed": [row]}))
    opened.show("tasks")
    assert opened.count("main img") + opened.count("main h1") + opened.count(".outputs i, .tokens i") == 0
    assert HOSTILE in opened.page.locator(".outputs .prompt").inner_text()
    assert HOSTILE in opened.page.locator(".outputs .pair").inner_text()
    assert opened.page.locator("code.token").inner_text() == "<b>"
    assert opened.complaints == []


def test_outputs_of_ten_megabytes_open(open_run: Open, stored: Read) -> None:
    same = "the same again and again " * 200_000
    row = changed("Q2_K", 1, same + "here <b>one</b>" + "x " * 2_500_000, same + "there <b>two</b>" + "y " * 2_500_000)
    assert len(row.baseline_text) > 10_000_000 < len(row.variant_text)
    opened = open_run(stored("made").model_copy(update={"most_changed": [row]}))
    opened.show("tasks")
    shown = opened.page.locator(".outputs .pair pre")
    assert "here <b>one</b>" in shown.first.inner_text()
    assert "characters more]" in shown.last.inner_text()
    assert len(shown.first.inner_text()) < 5_000
    opened.show("run")
    opened.page.get_by_text("Raw JSON").click()
    assert len(opened.page.locator("details[open] pre").inner_text()) == 200_000
    assert opened.complaints == []


def test_what_only_one_output_has_is_marked(open_run: Open, stored: Read) -> None:
    row = changed("Q2_K", 1, "one two three four", "one 2 three 4 five")
    opened = open_run(stored("made").model_copy(update={"most_changed": [row]}))
    opened.show("tasks")
    sides = opened.page.locator(".outputs .pair pre")
    assert [text.strip() for text in sides.first.locator("mark").all_text_contents()] == ["two", "four"]
    assert [text.strip() for text in sides.last.locator("mark").all_text_contents()] == ["2", "4 five"]
