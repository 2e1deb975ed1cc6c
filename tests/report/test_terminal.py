"""The report on a terminal, against goldens and rules."""

import io
import re

import pytest

from quantcheck.report.summary import Summary
from quantcheck.report.terminal import render
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.golden_files import check_golden
from tests.report.test_view import SCENARIOS

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [80, 120])
def test_golden(summary: Summary, width: int) -> None:
    check_golden(f"terminal-{width}.txt", render(summary, io.StringIO(), width=width))


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_too_wide_and_nothing_but_ascii_goes_into_a_file(name: str, width: int) -> None:
    text = render(SCENARIOS[name], io.StringIO(), width=width)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(len(line) for line in text.split("\n")) <= width
    assert not [line for line in text.split("\n") if line != line.rstrip()]


def test_sections_come_in_the_order_of_their_importance(summary: Summary) -> None:
    text = render(summary, io.StringIO(), width=100)
    order = [summary.headline.sentence[:40], "Use Q4_K_M", "Verdicts", "Quality by task", "Speed by load", "Memory",
             "Noise floor", "Environment", "How to read it"]  # fmt: skip
    places = [text.index(title) for title in order]
    assert places == sorted(places)
    verdicts = text[text.index("Verdicts") :]
    assert verdicts.index("F16") < verdicts.index("Q8_0") < verdicts.index("Q2_K")


def test_words_are_whole(summary: Summary) -> None:
    text = render(summary, io.StringIO(), width=80)
    for word in ("inconclusive", "arithmetic", "documentation", "proportional", "1.27-1.34", "-14.6 pp, -244 +25"):
        assert word in text


def test_continuations_have_a_line_a_variant() -> None:
    cells = [synthetic.continuation_cell(variant) for variant in ("F16", synthetic.AGAIN, "Q8_0", "Q2_K")]
    experiment = synthetic.experiment(load=None, quality={"continuations": {}})
    summary = build_summary(experiment, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    text = render(summary, io.StringIO(), width=100)
    same, gone, changed = summary.continuations
    assert (same.agreement.value, gone.agreement.value, changed.prompts) == (1.0, None, 40)
    assert f"Q8_0: 100% of 40 ({same.agreement.low:.0%} to 100%) the same to the end\n" in text
    assert f"Q4_K_M: n/a ({gone.agreement.reason})" in text
    assert changed.first_divergence.value is not None
    assert f"the others part at token {changed.first_divergence.value + 1:g} (median" in text
    assert "noise floor, F16 again: 100%" in text


def test_one_block_is_told_what_it_needs_and_no_number() -> None:
    cells = [cell for cell in synthetic.cells() if cell.record["key"]["block"] == 0]
    summary = build_summary(synthetic.experiment(blocks=1), cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    speeds = [row.speed for row in summary.variants if not row.baseline]
    assert {(row.word, row.more_blocks) for row in speeds} == {("inconclusive", None)}
    text = " ".join(render(summary, io.StringIO(), width=120).split())
    assert "inconclusive needs 2 blocks or more" in text
    assert "more block" not in text.split("Exploratory")[0]


def test_a_missing_figure_names_its_reason() -> None:
    text = render(SCENARIOS["one variant failed"], io.StringIO(), width=80)
    assert "[1] engine never became healthy in 120 s" in text
    assert "n/a [1]" in text


def test_colour_on_a_terminal_only_says_what_the_words_say(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = render(summary, Screen(), width=80)
    assert "\x1b[32msafe" in text
    assert "\x1b[31mharmed" in text
    plain = "\n".join(line.rstrip() for line in ANSI.sub("", text).split("\n"))
    rules = re.compile("^ +[-\N{BOX DRAWINGS LIGHT HORIZONTAL}]+$", re.MULTILINE)
    assert rules.sub("", plain) == rules.sub("", render(summary, io.StringIO(), width=80))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in render(summary, Screen(), width=80)
