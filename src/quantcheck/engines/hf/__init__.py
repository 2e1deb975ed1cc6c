"""The transformers library as an engine: a worker under its interpreter, and what asks it from ours.

`worker`, `loading`, `passes`, `timing` and `frames` run where there is torch and no quantcheck; they import nothing of
ours but each other, by their bare names. `frames`, `process` and `scorer` run here.
"""
