"""The sections of comparison.md about damage: a golden, and Markdown's special characters in texts."""

from quantcheck.report.markdown import render
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.golden_files import check_golden


def test_outputs_side_by_side() -> None:
    cells = [synthetic.continuation_cell(variant) for variant in [*synthetic.TRUTH, synthetic.AGAIN]]
    experiment = synthetic.experiment(load=None, quality={"continuations": {}})
    summary = build_summary(experiment, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    text = render(summary)
    check_golden("continuations.md", text[text.index("## Outputs side by side") : text.index("## Memory")])


def test_texts_of_tokens_cannot_break_a_table() -> None:
    cells = synthetic.cells(load=False)
    for cell in cells:
        for token in cell.record["result"].get("worst_tokens", []):
            token["token"] = "`|\n\r\u2028<b>*x*"
    summary = build_summary(synthetic.experiment(load=None), cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    text = render(summary)
    section = text[text.index("### Worst tokens") :].partition("\n##")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6
    assert all(line.replace("\\|", "").count("|") == 10 for line in lines)
