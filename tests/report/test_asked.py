"""Pairs that an experiment asks for: the same figures as an experiment with that baseline has."""

import pytest

from quantcheck.errors import SpecError
from quantcheck.report.markdown import render
from quantcheck.report.summary import AskedRow, Summary
from quantcheck.report.view import build_summary
from quantcheck.spec.document import parse
from tests.report import synthetic
from tests.report.golden_files import check_golden

PAIR = [["Q8_0", "Q4_K_M"], ["Q4_K_M", "Q2_K"]]


def cells() -> list[synthetic.FakeCell]:
    return [*synthetic.cells(), *(synthetic.continuation_cell(name) for name in [*synthetic.TRUTH, synthetic.AGAIN])]


def summary_of(**changes: object) -> Summary:
    quality = {"suites": [*synthetic.TASKS, *synthetic.CORPORA], "continuations": {}}
    experiment = synthetic.experiment(quality=quality, **changes)
    return build_summary(experiment, cells(), synthetic.artifacts(), synthetic.ENVIRONMENT, [])


@pytest.fixture(scope="module")
def asked() -> Summary:
    return summary_of(compare=PAIR)


def rows(summary: Summary, reference: str, variant: str) -> dict[tuple[str, str], AskedRow]:
    return {(row.kind, row.subject): row for row in summary.asked
            if (row.reference, row.variant) == (reference, variant)}


def test_a_pair_has_the_figures_of_an_experiment_with_that_baseline(asked: Summary) -> None:
    found = rows(asked, "Q8_0", "Q4_K_M")
    other = summary_of(baseline="Q8_0", noise_floor=False)
    for task in other.quality:
        if task.variant == "Q4_K_M":
            row = found["task", task.task]
            assert (row.effect, row.lost, row.gained, row.word) == (task.delta, task.lost, task.gained, task.word)
    for corpus in other.corpora:
        if corpus.variant == "Q4_K_M":
            assert found["perplexity", corpus.corpus].effect == corpus.ratio
    for speed in other.speed:
        if speed.variant == "Q4_K_M" and speed.metric == "output_throughput":
            assert found["speed", speed.load].effect == speed.ratio
    whole = next(row for row in other.variants if row.name == "Q4_K_M")
    assert found["all tasks", "all tasks"].effect == whole.quality.delta
    assert found["speed", "all loads"].effect == whole.speed.ratio
    assert found["size", "size"].effect.value == pytest.approx(5_300_000 / 8_210_000)
    same = next(row for row in other.continuations if row.variant == "Q4_K_M")
    assert found["continuations", "continuations"].effect == same.agreement


def test_nothing_is_asked_by_default() -> None:
    assert summary_of().asked == []


def test_what_is_missing_says_why() -> None:
    experiment = synthetic.experiment(compare=PAIR)
    kept = [cell for cell in synthetic.cells() if cell.record["key"]["variant"] != "Q4_K_M"]
    problem = {"variant": "Q4_K_M", "reason": "it burned"}
    summary = build_summary(experiment, kept, {}, synthetic.ENVIRONMENT, [problem])
    for pair in PAIR:
        found = rows(summary, *pair)
        assert found["task", "reference/format"].effect.reason in ("it burned", "baseline: it burned")
        assert found["size", "size"].effect.value is None


def test_markdown(asked: Summary) -> None:
    text = render(asked)
    check_golden("asked.md", text[text.index("### Which tasks lose most") :].partition("\n## ")[0] + "\n")


@pytest.mark.parametrize("pair", ["[F16, F16]", "[F16, Q9]"])
def test_a_pair_must_be_two_variants(pair: str) -> None:
    text = ("model: reference\nbaseline: F16\nvariants: {F16: {scheme: gguf/F16}}\nquality: {continuations: {}}\n"
            f"compare: [{pair}]\n")
    with pytest.raises(SpecError, match="compare: .* are not two of the variants"):
        parse(text, source="x", name="x")
