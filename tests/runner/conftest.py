"""Kept while tests move to tests/conftest.py."""

from tests.conftest import Run, command, left_running

__all__ = ["Run", "command", "left_running"]
