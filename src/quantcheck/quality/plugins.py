"""Suites of other packages: entry points of the group `quantcheck.suites`, loaded only for unknown names."""

import importlib.metadata

from quantcheck.errors import SpecError
from quantcheck.quality.suite import OwnSuite
from quantcheck.spec.quality import Quality

__all__ = ["GROUP", "plugged"]

GROUP = "quantcheck.suites"


def plugged(name: str, quality: Quality) -> OwnSuite | None:
    """The suite `name` of an installed plug-in; None when there is none for it.

    The entry point is called what stands before the first "/" of `name`. It names a function that takes `name` and
    `quality` and returns a `Corpus`, `GenerationTask`, `ChoiceTask` or `Continued` called `name`, whose digest stands
    for all that the answers rest on. It is called in every process that scores, and must return the same each time.

    Raises `SpecError` when two packages offer the entry point, when it cannot be loaded, when the function fails, and
    when it returns anything else.
    """
    found = importlib.metadata.entry_points(group=GROUP, name=name.partition("/")[0])
    if not found:
        return None
    where = f"quality.suites: {name}: the plug-in {' and '.join(sorted(point.value for point in found))}"
    if len(found) > 1:
        raise SpecError(f"{where} offer the same name; uninstall all but one")
    [point] = found
    try:
        suite: object = point.load()(name, quality)
    except Exception as error:
        words = " ".join(str(error).split())
        raise SpecError(f"{where} failed: {type(error).__name__}: {words}; ask its author, or leave it out") from error
    if not isinstance(suite, OwnSuite) or suite.name != name or not suite.digest:
        kind = type(suite).__name__
        raise SpecError(f"{where} returned {kind} {getattr(suite, 'name', '')!r}; it must return a suite of that name, "
                        "with a digest")
    return suite
