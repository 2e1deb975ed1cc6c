"""Scoring: perplexity, divergence from the baseline, and tasks, on token ids."""
