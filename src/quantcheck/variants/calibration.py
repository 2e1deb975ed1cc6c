"""Calibration samples for quantizers that look at activations: checked, hashed and drawn before anything is started.

A JSONL file has `text` or `messages` on every line, one sample a line. Any other file is one plain text, which the job
cuts into samples once it has the model's tokenizer. `hub:OWNER/NAME` is a data set of the Hugging Face hub, which the
job fetches; `reference/stories` and `reference/documentation` are texts that ship with the reference model.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.spec.variant import Calibration
from quantcheck.variants.hashing import file_sha256

__all__ = ["CalibrationData", "calibration_inputs", "calibration_text", "has_chat_template", "read_calibration"]

_HUB_NAME = re.compile(r"hub:([A-Za-z0-9][\w.-]*/[\w.-]+)")
_SHIPPED = "reference/"
_JSONL = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class CalibrationData:
    """What the job is given: `rows` of a JSONL file, in the order drawn; the whole `text`; or a data set's name."""

    kind: Literal["rows", "text", "hub"]
    name: str
    sha256: str | None  # of the file; None for a data set of the hub
    rows: tuple[dict[str, Any], ...] = ()
    text: str = ""


def calibration_inputs(how: Calibration, base: Path) -> dict[str, Any]:
    """What goes into an artifact's hash: the data's SHA-256 (the name, for a hub's data set), samples, tokens, seed.

    Raises `SpecError` when the file is not there.
    """
    name = _HUB_NAME.fullmatch(how.dataset)
    data = {"hub": name[1]} if name else {"data_sha256": file_sha256(_file(how, base))}
    return {**data, "samples": how.samples, "tokens": how.tokens, "seed": how.seed}


def calibration_text(how: Calibration, base: Path) -> str | None:
    """What the quantizer may read, as one text; None for a hub's data set. Raises as `read_calibration`."""
    data = read_calibration(how, base)
    if data.kind == "hub":
        return None
    rows = (row["text"] if "text" in row else " ".join(m["content"] for m in row["messages"]) for row in data.rows)
    return data.text or "\n".join(rows)


def read_calibration(how: Calibration, base: Path, source: Path | None = None) -> CalibrationData:
    """The samples of `how`, drawn by its seed; `source` is the folder of the model, whose chat template matters.

    Raises `SpecError` for a file that is missing, empty, unreadable or has too few samples, and for `messages` where
    the model has no chat template. Whether a plain text is long enough is for the job to tell.
    """
    if hub := _HUB_NAME.fullmatch(how.dataset):
        return CalibrationData("hub", hub[1], None)
    path = _file(how, base)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"calibration {how.dataset!r} cannot be read as UTF-8 text: {error}") from error
    if not text.strip():
        raise SpecError(f"calibration {how.dataset!r} is empty: give a file with text")
    digest = file_sha256(path)
    if path.suffix not in _JSONL:
        return CalibrationData("text", path.name, digest, text=text)
    rows = [_row(how.dataset, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(rows) < how.samples:
        raise SpecError(f"calibration {how.dataset!r} holds {len(rows)} samples, {how.samples} are asked for: "
                        f"lower quantize.calibration.samples or use a larger file")
    if source is not None and any("messages" in row for row in rows) and not has_chat_template(source):
        raise SpecError(f"calibration {how.dataset!r} holds `messages`, but the model has no chat template: "
                        "give `text` on every line instead")
    drawn = random.Random(how.seed).sample(range(len(rows)), how.samples)
    return CalibrationData("rows", path.name, digest, tuple(rows[i] for i in drawn))


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in the Hugging Face folder knows how a conversation is written."""
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def _file(how: Calibration, base: Path) -> Path:
    if how.dataset.startswith("hub:"):
        raise SpecError(f"calibration {how.dataset!r} is no hub name: write hub:OWNER/NAME")
    path = base / Path(how.dataset).expanduser()
    if not path.is_file():
        shipped = how.dataset.removeprefix(_SHIPPED)
        if how.dataset.startswith(_SHIPPED) and shipped in reference.CORPORA:
            return reference.corpus_path(shipped)
        raise SpecError(f"calibration {how.dataset!r} is not there ({path}): name a JSONL or text file")
    return path


def _row(name: str, number: int, line: str) -> dict[str, Any]:
    where = f"calibration {name!r}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SpecError(f"{where} is no JSON ({error}): a file of plain text must not end in .jsonl") from error
    if isinstance(row, dict):
        text, messages = row.get("text"), row.get("messages")
        if isinstance(text, str) and text.strip():
            return {"text": text}
        if isinstance(messages, list) and messages and all(_is_message(message) for message in messages):
            return {"messages": [{"role": m["role"], "content": m["content"]} for m in messages]}
    raise SpecError(f"{where} has neither `text` (not empty) nor `messages` (each with `role` and `content`)")


def _is_message(message: Any) -> bool:
    return (isinstance(message, dict) and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str))
