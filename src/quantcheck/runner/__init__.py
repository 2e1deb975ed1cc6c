"""From an experiment to a report: plan, walk, resume."""
