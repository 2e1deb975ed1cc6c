"""Child processes that are ended for certain."""
