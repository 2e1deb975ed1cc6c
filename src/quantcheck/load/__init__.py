"""Load: prompts of exact length, a closed-loop streaming client, raw records, and the figures of one window."""

from quantcheck.load.client import LoadResult, measure
from quantcheck.load.prompts import window_seed

__all__ = ["LoadResult", "measure", "window_seed"]
