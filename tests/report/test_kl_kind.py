"""A divergence from the likeliest tokens is called a lower bound wherever it is shown, and never mixed with another."""

import io
from typing import Any

from quantcheck.report.compare import compare_runs
from quantcheck.report.markdown import render as render_markdown
from quantcheck.report.summary import Summary
from quantcheck.report.terminal import render as render_terminal
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.stored_runs import in_memory
from tests.report.synthetic import FakeCell


def of_kind(**kind: Any) -> list[FakeCell]:
    """The quality cells with divergences of one kind."""
    cells = synthetic.cells(load=False)
    for cell in cells:
        if "kl" in cell.tables.get("tokens", {}):
            cell.record["result"] |= kind
    return cells


BOUND = {"kl_kind": "top-k lower bound", "kl_top": 64}
FULL = {"kl_kind": "full"}


def summary(**kind: Any) -> Summary:
    return build_summary(synthetic.experiment(load=None), of_kind(**kind), synthetic.artifacts(), synthetic.ENVIRONMENT,
                         [])


def test_a_lower_bound_says_so_in_every_rendering() -> None:
    bound, full = summary(**BOUND), summary(**FULL)
    assert {row.kl_top for row in bound.corpora if row.variant != "F16"} == {64}
    assert "KL (lower bound, top 64): the engine tells the likeliest tokens only" in render_markdown(bound)
    assert "Perplexity (ratio, KL (lower bound, top 64) in nats)" in render_terminal(bound, io.StringIO(), width=120)
    assert {row.kl_top for row in full.corpora} == {None}
    assert "lower bound, top" not in render_markdown(full)
    assert "Perplexity (ratio, KL divergence in nats)" in render_terminal(full, io.StringIO(), width=120)


def reasons(a: dict[str, Any], b: dict[str, Any]) -> set[str | None]:
    """Why no divergence is compared between runs of two kinds, for Q2_K."""
    found = compare_runs(in_memory(of_kind(**a), changes={"load": None}),
                         in_memory(of_kind(**b), "b", changes={"load": None}))
    row = next(one for one in found.variants if one.b == "Q2_K")
    assert all(corpus.kl_divergence.value is None for corpus in row.corpora)
    return {corpus.kl_divergence.reason for corpus in row.corpora}


def test_two_runs_divergences_of_unlike_kinds_are_named_apart() -> None:
    alike = reasons(BOUND, BOUND)
    assert alike == reasons(FULL, FULL) == {"stored is only what each run has against its own baseline"}
    assert reasons(FULL, BOUND) == {
        "two kinds of divergence: run A's is over the full vocabulary, run B's is a lower bound from the top 64 tokens"}
    assert reasons(BOUND, {**BOUND, "kl_top": 32}) == {
        "two kinds of divergence: run A's is a lower bound from the top 64 tokens, run B's is a lower bound from the "
        "top 32 tokens"}


def test_kept_distributions_say_what_is_known_of_the_full_divergence() -> None:
    kept = {**BOUND, "kl_top": 256, "kl_error": 0.00034, "kl_gap": 0.0123, "kl_gap_tokens": 1024}
    text = render_markdown(summary(**kept))
    assert "KL (lower bound, top 256): only the baseline's likeliest tokens were kept, in half precision" in text
    assert ("Q2_K, stories: the full divergence is +0.012 nats above the bound over 1,024 tokens, spread over the "
            "corpus, whose whole distributions were kept; half precision moves the mean by at most "
            "0.00034 nats." in text)
    assert "the gap was not measured" in render_markdown(summary(**{**kept, "kl_gap": None, "kl_gap_tokens": 0}))
    assert "half precision" not in render_markdown(summary(**BOUND))
