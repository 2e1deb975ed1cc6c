"""Environments of their own for engines and quantizers that cannot share one: made by uv from shipped lock files."""

from quantcheck.environments.installed import Environment, installed, python_of
from quantcheck.environments.lock import NAMES, PURPOSE, Lock, lock_of
from quantcheck.environments.make import install, remove

__all__ = ["NAMES", "PURPOSE", "Environment", "Lock", "install", "installed", "lock_of", "python_of", "remove"]
