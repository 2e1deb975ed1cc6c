"""The page over all stored runs, live: found, watched and served on loopback, and never written to."""
