"""What is said beside a divergence that is a lower bound: why it is one, and how much is known to lie above it."""

from collections.abc import Iterator

from quantcheck.report.cells import short_names
from quantcheck.report.quality import kl_label
from quantcheck.report.summary import Summary

__all__ = ["bound_words", "gap_lines"]


def bound_words(summary: Summary) -> str:
    """Why the divergences of `summary` are lower bounds: one sentence."""
    kept = any(row.kl_error is not None for row in summary.corpora)
    why = ("only the baseline's likeliest tokens were kept, in half precision" if kept else
           "the engine tells the likeliest tokens only")
    return (f"{kl_label(summary.corpora)}: {why}, so that the column KL holds the divergence after all others were "
            "merged into one, which never exceeds the full one.")


def gap_lines(summary: Summary) -> list[str]:
    """For each divergence out of kept distributions: its gap to the full one where both are known, its rounding."""
    return list(_lines(summary))


def _lines(summary: Summary) -> Iterator[str]:
    names = short_names(dict.fromkeys(row.corpus for row in summary.corpora))
    for row in summary.corpora:
        if row.kl_error is None:
            continue
        rounding = f"half precision moves the mean by at most {row.kl_error:.2g} nats"
        known = row.kl_gap is not None and row.kl_gap_tokens
        gap = (f"the full divergence is {row.kl_gap:+.2g} nats above the bound over {row.kl_gap_tokens:,} tokens, "
               "spread over the corpus, whose whole distributions were kept" if known else "the gap was not measured")
        yield f"{row.variant}, {names[row.corpus]}: {gap}; {rounding}."
