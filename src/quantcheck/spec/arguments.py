"""Engine options in which a variant differs from the baseline, beyond its number format."""

from typing import Any

from quantcheck.spec.experiment import Experiment

__all__ = ["FORMAT", "unlike_arguments"]

FORMAT = frozenset({"dtype", "quantization", "kv-cache-dtype", "calculate-kv-scales", "tokenizer", "trust-remote-code"})
"""Options that say which numbers a variant has or how its files are read: differing there is what is compared."""


def unlike_arguments(experiment: Experiment) -> dict[str, str]:
    """Variant to what its engine is told otherwise than the baseline's, in words; those told alike are left out.

    `max-num-seqs 64 (fp16: 256)`: such options change speed by themselves, so that a ratio is not the format's alone.
    """
    shared = getattr(experiment.engine, "args", {})
    told = {name: {**shared, **variant.args} for name, variant in experiment.variants.items()}
    base, found = told[experiment.baseline], {}
    for name, own in told.items():
        unlike = sorted(option for option in (own.keys() | base.keys()) - FORMAT if own.get(option) != base.get(option))
        if unlike:
            found[name] = ", ".join(f"{option} {_value(own.get(option))} ({experiment.baseline}: "
                                    f"{_value(base.get(option))})" for option in unlike)
    return found


def _value(value: Any) -> str:
    return "the default" if value is None else str(value)
