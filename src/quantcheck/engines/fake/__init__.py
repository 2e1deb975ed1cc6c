"""The `fake` engine: an OpenAI-compatible server with scripted, logged timings, faults and answers.

Its log says when each chunk was handed to the kernel, on the clock that all processes of a machine share: the
truth that a client's own figures are tested against. It also says how late the server itself was.
"""
