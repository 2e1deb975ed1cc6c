"""What is fuzzed: every reader of bytes that came from elsewhere. Each target takes bytes, and fails by raising.

A reader may refuse its input by its declared error, in one line that names the file. Anything else is a fault: another
exception, a hang, or, for the parser of server-sent events, another answer when the same bytes come in other pieces.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

from quantcheck.errors import ModelError, SpecError
from quantcheck.importers.registry import read_file
from quantcheck.load.sse import events, exact_events
from quantcheck.load.traces import read_trace
from quantcheck.spec import document
from quantcheck.variants.checkpoint import read_quantization
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.weights import Weights

__all__ = ["TARGETS", "inputs", "prepare"]

FOLDER = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path.cwd()
HERE = Path(__file__).parent
OWN = {"importers": ("tests/importers/data",), "spec": ("src/quantcheck/presets", "examples")}
"""The project's own files that a target reads: they are inputs as they are, beside those that are kept."""
MOST_BYTES = 4_096
LONGEST_LINE = 5_000
VALUES = 4_096
"""Tensors with more values are not read: a valid head may name a terabyte."""


def inputs(target: str) -> list[Path]:
    """Every file that is kept for the target, and the project's own, as far as they are short enough."""
    own = [path for folder in OWN.get(target, ()) for path in (HERE.parent / folder).rglob("*")
           if path.is_file() and path.suffix != ".py" and path.stat().st_size <= MOST_BYTES]
    return sorted((HERE / "corpus" / target).glob("*")) + sorted(own)


def prepare() -> Path:
    """This process's own folder for the files that readers get."""
    folder = FOLDER / f"quantcheck-fuzz-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    return folder


def _written(name: str, data: bytes) -> Path:
    path = prepare() / name
    path.write_bytes(data)
    return path


def _refused(error: Exception, path: Path) -> None:
    text = str(error)
    if str(path.parent) not in text or "\n" in text or len(text) > LONGEST_LINE:
        raise AssertionError(f"no clear line: {text[:300]!r}") from error


def sse(data: bytes) -> None:
    """The first byte says how long the pieces are; the whole, the pieces and the plain rules must agree."""
    if not data:
        return
    size, body = data[0] % 7 + 1, data[1:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    whole, cut = events([body]), events(pieces)
    if (whole.data, whole.names, whole.unfinished) != (cut.data, cut.names, cut.unfinished):
        raise AssertionError("fragmentation changes the events")
    exact = exact_events(pieces)
    if cut != exact:
        raise AssertionError("the short way and the standard's rules disagree")
    if cut.reads != sorted(cut.reads) or any(read >= len(pieces) for read in cut.reads):
        raise AssertionError("an event before its read")


def spec(data: bytes) -> None:
    path = _written("experiment.yaml", data)
    try:
        document.read(path)
    except SpecError as error:
        _refused(error, path)


def gguf(data: bytes) -> None:
    path = _written("model.gguf", data)
    try:
        file = GgufFile(path)
        list(file.fields)
        for tensor in file.tensors:
            if math.prod(tensor.shape) <= VALUES:
                file.rows(tensor.name, 0, math.prod(tensor.shape[:-1]))
        _ = file.alignment, file.shape
    except ModelError as error:
        _refused(error, path)


def safetensors(data: bytes) -> None:
    """The first byte's parity: the bytes are the weights, or the configuration beside good weights."""
    folder = prepare() / "checkpoint"
    folder.mkdir(exist_ok=True)
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    good = len(head).to_bytes(8, "little") + head + b"\0\0\0\0"
    as_weights = not data or data[0] % 2 == 0
    (folder / "model.safetensors").write_bytes(data[1:] if as_weights else good)
    (folder / "config.json").write_bytes(b'{"torch_dtype": "float16"}' if as_weights else data[1:])
    try:
        read_quantization(folder)
        weights = Weights(folder)
        for name in weights.names:
            if 0 < math.prod(weights.shape(name)) <= VALUES:
                weights.float32(name)
    except ModelError as error:
        _refused(error, folder / "x")


def importers(data: bytes) -> None:
    path = _written("results.json", data)
    try:
        read_file(path)
    except SpecError as error:
        _refused(error, path)


def trace(data: bytes) -> None:
    path = _written("trace.csv", data)
    try:
        read_trace(path)
    except SpecError as error:
        _refused(error, path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (sse, spec, gguf, safetensors, importers, trace)
}
