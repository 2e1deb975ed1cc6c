"""Running code that a model wrote: only inside bubblewrap, within bounds, and never without it."""

from quantcheck.sandbox.pool import run, run_all
from quantcheck.sandbox.probe import why_no_sandbox
from quantcheck.sandbox.program import Ending, Limits, Outcome, Program

__all__ = ["Ending", "Limits", "Outcome", "Program", "run", "run_all", "why_no_sandbox"]
