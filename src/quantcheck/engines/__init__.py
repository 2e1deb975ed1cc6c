"""Engines: start one, wait until it is healthy, describe it, and end it for certain; or score with it in-process."""
