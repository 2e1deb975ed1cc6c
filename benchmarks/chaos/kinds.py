"""What is run in a trial, and who is struck.

A further kind (an engine, a cluster) is one more entry of KINDS: its experiment, the arguments of `quantcheck run`, and
its victims, told by words of their command lines.
"""

import signal
from dataclasses import dataclass

__all__ = ["KINDS", "Kind", "Victim"]

KILL = (signal.SIGKILL,)


@dataclass(frozen=True, slots=True)
class Victim:
    """A process of a run. `words`: all of them are in its command line; none: it is `quantcheck run` itself."""

    name: str
    words: tuple[str, ...] = ()
    signals: tuple[signal.Signals, ...] = KILL
    share: float = 1.0
    """How often it is struck, against the other victims of its kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`share`: of all trials. `same`: sections of summary.json that each run must give alike, to the last digit."""

    name: str
    experiment: str
    victims: tuple[Victim, ...]
    share: float
    arguments: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    fresh_cache: float = 0.0
    """Of its trials, how many begin with no artifact made."""


QUANTCHECK = Victim("quantcheck", (), (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM), share=2.0)
CLIENT = Victim("client", ("quantcheck.load.worker",))

FAKE = """\
model: none
baseline: a
variants:
  a: {scheme: gguf/F16}
  b: {scheme: gguf/Q8_0}
engine: {kind: fake, ttft_ms: 4, itl_ms: 1, processes: 2}
load:
  workloads: {s: {prompt_tokens: 8, output_tokens: 6}}
  concurrency: [1, 3]
  requests: 6
  warmup_requests: 1
noise_floor: false
blocks: 1
"""

LLAMA = """\
model: reference
baseline: F16
variants:
  F16: {scheme: gguf/F16}
  Q4_0: {scheme: gguf/Q4_0}
engine: {kind: llama.cpp}
noise_floor: false
blocks: 1
"""

QUALITY = """\
quality: {items: 8, tokens: 256, context: 128, stride: 64, suites: [reference/stories, reference/arithmetic]}
"""

LOAD = """\
load:
  workloads: {s: {prompt_tokens: 8, output_tokens: 4}}
  concurrency: [1, 2]
  requests: 3
  warmup_requests: 1
"""

KINDS = {
    kind.name: kind for kind in (
        Kind("fake", FAKE, (
            QUANTCHECK,
            CLIENT,
            Victim("engine", ("quantcheck.engines.fake.server",)),
        ), share=0.88),
        Kind("llama.cpp quality", LLAMA + QUALITY, (
            QUANTCHECK,
            Victim("scoring", ("quantcheck.quality.job",)),
        ), share=0.07, same=("quality", "corpora", "worst_tokens"), fresh_cache=0.5),
        Kind("llama.cpp load", LLAMA + LOAD, (
            QUANTCHECK,
            CLIENT,
            Victim("engine", ("quantcheck.engines.llamacpp_server",)),
        ), share=0.05),
    )
}
