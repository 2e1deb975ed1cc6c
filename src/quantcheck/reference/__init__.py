"""Where the reference model, its skill items and its held-out corpora lie in the installed package.

How they were made is in the repository's `reference/` folder; what they are is in `model/README.md`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORPORA", "SKILLS", "corpus_path", "model_dir", "skill_path"]

SKILLS = ("arithmetic", "expressions", "knowledge", "format")
CORPORA = ("documentation", "stories")

_HERE = Path(__file__).resolve().parent


def model_dir() -> Path:
    """The Hugging Face folder of the model: configuration, tokenizer, float16 weights, model card."""
    return _HERE / "model"


def skill_path(name: str) -> Path:
    """The items of one of SKILLS: one JSON object a line. Raises KeyError for another name."""
    return _known(name, SKILLS, "skills")


def corpus_path(name: str) -> Path:
    """The documents of one of CORPORA: one `{"id", "text"}` a line. Raises KeyError for another name."""
    return _known(name, CORPORA, "corpora")


def _known(name: str, names: tuple[str, ...], folder: str) -> Path:
    if name not in names:
        raise KeyError(f"{name!r} is not in the reference {folder}: {', '.join(names)}")
    return _HERE / folder / f"{name}.jsonl"
