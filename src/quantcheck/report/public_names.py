"""Names and texts for the eyes of others: nothing of where somebody's files lie."""

import re
import shlex
from pathlib import Path

__all__ = ["NOT_SHOWN", "hub_repository", "public_command", "public_model", "public_name", "public_text"]

NOT_SHOWN = "see the run's own report"
"""In place of a text that names a place on somebody's machine."""

HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
SUFFIX = r"\.(?:gguf|jsonl?|ndjson|ya?ml|txt|csv|parquet|safetensors|bin|pt|onnx|py|sh|log)"
FOLDERS = {"models", "model", "checkpoints", "checkpoint", "weights", "results", "runs", "data", "datasets", "out",
           "output", "outputs", "work", "tmp", "home", "mnt", "cache", "experiments"}  # fmt: skip
"""Begins of relative paths that look like a repository's owner."""

PLACE = re.compile(
    r"(?<![\w./<:])(?:~|\.{1,2})?/[^\s/]"  # absolute, a home's, or up and down; no end of an element, no URL
    r"|:/[^\s/]|(?<!\w)~\w*/"
    r"|\b[A-Za-z]:\\|\\\\\w"
    rf"|[^\s/]/\S*{SUFFIX}\b",
    re.IGNORECASE,
)


def _is_path(name: str) -> bool:
    if "\\" in name:
        return True
    if "/" not in name or name.startswith("hub:"):
        return False
    if HUB.fullmatch(name) is None or re.search(SUFFIX + "$", name, re.IGNORECASE):
        return True
    return name.split("/")[0].lower() in FOLDERS


def public_name(name: str) -> str:
    """`name`, on one line; of anything with a slash its last part, but of `OWNER/NAME` and what begins with `hub:`."""
    line = " ".join(name.split())
    if not _is_path(line):
        return line
    return re.split(r"[/\\]", line.rstrip("/\\"))[-1].strip() or "n/a"


def public_model(name: str) -> str:
    """The hub's name of a model, else its `public_name`. `OWNER/NAME` is a path where a folder OWNER is here."""
    repository = hub_repository(name)
    if repository is None or (repository == name and Path(name).parent.is_dir()):
        return public_name(name).rsplit("/", 1)[-1]
    return repository


def hub_repository(name: str) -> str | None:
    """OWNER/NAME, where `name` may be that of a repository on the Hugging Face hub; None for anything else."""
    if name.startswith("hub:"):
        repository = "/".join(name.removeprefix("hub:").split("/")[:2])
        return repository if HUB.fullmatch(repository) else None
    return name if HUB.fullmatch(name) and not _is_path(name) else None


def public_text(text: str) -> str:
    """`text`, on one line; one that names a place on a machine is not shown at all, as its end cannot be told."""
    line = " ".join(text.split())
    return NOT_SHOWN if PLACE.search(line) else line


def public_command(command: str) -> str:
    """A command whose every argument is a `public_name`, and the value of `--option=VALUE` and `key=VALUE`, too."""
    try:
        parts = shlex.split(command)
    except ValueError:  # an open quote
        parts = command.split()
    return shlex.join(_argument(part) for part in parts)


def _argument(part: str) -> str:
    option, equals, value = part.partition("=")
    return f"{public_name(option)}={public_name(value)}" if equals else public_name(part)
