"""Load: schedules, the client that sends them, raw records, and the figures of one window."""
