"""From what an experiment names to files that an engine can load: one artifact for each variant."""

import difflib
import importlib.metadata
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from gguf import LlamaFileType

from quantcheck import __version__
from quantcheck.errors import ModelError, SpecError
from quantcheck.spec.experiment import Variant
from quantcheck.variants.artifact import MODEL, Artifact, Cache, OnFailure, cache_root, make_each
from quantcheck.variants.composition import composition
from quantcheck.variants.convert import convert
from quantcheck.variants.gguf_file import GgufFile, bits_per_weight, disk_errors
from quantcheck.variants.hashing import Hashes, file_sha256
from quantcheck.variants.imatrix import CHUNK_TOKENS, ImportanceMatrix, compute_imatrix
from quantcheck.variants.mix import SCHEMES, Tensor
from quantcheck.variants.quantize import find_llama_quantize, quantize, quantize_with_llama_quantize
from quantcheck.variants.random_gguf import write_random_gguf
from quantcheck.variants.shapes import read_config_of
from quantcheck.variants.source import Source, check_gguf, find_gguf, find_model

__all__ = ["Progress", "prepare", "scheme_of"]

Progress = Callable[[str], None]
"""Hears one line when a stage begins, and in stages that take long, how far it is."""

_PROGRESS_SECONDS = 5.0

# Raise it when the same inputs give other bytes than before: artifacts are then made anew.
_REVISION = 1
_PREFIX = "gguf/"


def prepare(
    model: str,
    variants: Mapping[str, Variant],
    *,
    base: Path | None = None,
    cache: Path | None = None,
    random: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    on_failure: OnFailure | None = None,
) -> dict[str, Artifact]:
    """Make, or find in the cache, the artifact of every variant of `model`, by variant name.

    Args:
        model: `reference`, a Hugging Face folder, a GGUF file, hub:REPOSITORY, hub:REPOSITORY/FILE.gguf or a plain
            hub name. It is looked for only when a variant is made from it.
        base: folder that relative paths start from; default the current one.
        cache: instead of `artifact.cache_root()`.
        random: valid files of random weights, from nothing but the model's configuration.
        threads: for quantizing and importance matrices; default all cores.
        on_failure: as `artifact.make_each`.

    Raises SpecError for a scheme, name or local file that cannot be, ModelError for files that are damaged or not
    supported, StoreError when the disk is full. Names are checked for all variants before anything is made.
    """
    maker = _Maker(model, base or Path.cwd(), cache or cache_root(), threads, progress)
    for name, variant in variants.items():
        maker.check(name, variant)
    make = maker.random if random else maker.make
    return make_each(variants, lambda name, variant: maker.described(make(name, variant)), on_failure)


def scheme_of(name: str, variant: str = "") -> str:
    """The ladder's name (`Q4_K_M`) in a scheme (`gguf/Q4_K_M`); SpecError naming the nearest when there is none."""
    known = [_PREFIX + scheme for scheme in SCHEMES]
    if name in known:
        return name.removeprefix(_PREFIX)
    lower = {k.lower(): k for k in known}
    guess = name.lower() if name.lower().startswith(_PREFIX) else _PREFIX + name.lower()
    near = difflib.get_close_matches(guess, lower, n=1, cutoff=0.0)
    of = f" of variant {variant!r}" if variant else ""
    raise SpecError(f"unknown scheme {name!r}{of}: did you mean {lower[near[0]]!r}? (known: {', '.join(known)})")


class _Maker:
    """One call of `prepare`: what its variants share is found or computed once, when it is first needed."""

    def __init__(self, model: str, base: Path, root: Path, threads: int | None, progress: Progress | None) -> None:
        self._model = model
        self._base = base
        self._cache = Cache(root)
        self._hashes = Hashes(root / "hashes.json")
        self._threads = threads
        self._progress = progress
        self._opened: GgufFile | None = None
        self._matrices: dict[tuple[str, int], ImportanceMatrix] = {}

    def check(self, name: str, variant: Variant) -> None:
        """Raise SpecError for what can be seen to be wrong without reading a model."""
        if variant.checkpoint is not None:
            check_gguf(variant.checkpoint, self._base)
            return
        scheme_of(variant.scheme or "", name)
        if variant.maker == "llama-quantize":
            find_llama_quantize()
        if variant.quantize.imatrix is not None and not self._text(variant.quantize.imatrix).is_file():
            raise SpecError(f"imatrix {variant.quantize.imatrix!r} of variant {name!r} is not there: name a text file")

    def make(self, name: str, variant: Variant) -> Artifact:
        """The variant's artifact, from the cache or made now."""
        if variant.checkpoint is not None:
            return self._ready(find_gguf(variant.checkpoint, self._base, self._hashes), variant.scheme)
        scheme = scheme_of(variant.scheme or "", name)
        if scheme == "F16" and variant.maker == "quantcheck" and not variant.quantize.tensors:
            return self._f16(name)
        return self._quantized(name, scheme, variant)

    def random(self, name: str, variant: Variant) -> Artifact:
        """A file of the variant's scheme with random weights."""
        config = read_config_of(self._model, self._base)
        scheme, matrix = scheme_of(variant.scheme or "", name), variant.quantize.imatrix is not None
        inputs = {
            "weights": "random", "config": config, "scheme": _PREFIX + scheme, "imatrix": matrix, "revision": _REVISION,
            "tools": {tool: importlib.metadata.version(tool) for tool in ("gguf", "xllamacpp", "numpy")},
        }

        def make(folder: Path) -> dict[str, Any]:
            return _measured(write_random_gguf(config, folder / MODEL, scheme, imatrix=matrix,
                                               progress=self._hear(name, f"random weights in {scheme}")))

        return self._cache.get_or_make(f"{scheme}-random", inputs, make)

    def described(self, artifact: Artifact) -> Artifact:
        """With its composition in the recipe; artifacts of older versions get it now."""
        return self._cache.amended(artifact, lambda path: composition(GgufFile(path)), "architecture")

    @cached_property
    def _source(self) -> Source:
        return find_model(self._model, self._base, self._hashes)

    def _text(self, name: str) -> Path:
        return self._base / Path(name).expanduser()

    def _hear(self, variant: str, what: str) -> Callable[[float], None]:
        if self._progress is None:
            return lambda _fraction: None
        told, last = self._progress, time.monotonic()
        told(f"{variant}: {what}")

        def hear(fraction: float) -> None:
            nonlocal last
            if time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                told(f"{variant}: {what}, {fraction:.0%}")

        return hear

    def _inputs(self, scheme: str, tools: Mapping[str, str], **more: Any) -> dict[str, Any]:
        source = {"kind": self._source.kind, "sha256": self._source.sha256}
        return {"source": source, "scheme": _PREFIX + scheme, "tools": dict(tools), "revision": _REVISION, **more}

    def _f16(self, name: str) -> Artifact:
        """The F16 file that everything else is made from, too."""
        source = self._source
        inputs = self._inputs("F16", {"gguf": importlib.metadata.version("gguf")})

        def make(folder: Path) -> dict[str, Any]:
            self._keep_tokenizer(source, folder)
            if source.kind == "huggingface":
                return _measured(convert(source.path, folder / MODEL, progress=self._hear(name, "convert to F16")))
            file = self._float_file(name)
            if file.value("general.file_type") == LlamaFileType.MOSTLY_F16:
                return _linked(source, file, folder)
            hear = self._hear(name, "convert to F16")
            return _measured(quantize(file, folder / MODEL, "F16", threads=self._threads, progress=hear))

        return self._cache.get_or_make("F16", inputs, make)

    def _float_file(self, name: str) -> GgufFile:
        """The model with all its precision, opened once: the reader takes seconds for a large vocabulary."""
        if self._opened is None:
            gguf = self._source.kind == "gguf"
            self._opened = GgufFile(self._source.path if gguf else self._f16(name).path)
        return self._opened

    def _quantized(self, name: str, scheme: str, variant: Variant) -> Artifact:
        how = variant.quantize
        own = variant.maker == "quantcheck"
        tools = {"gguf": importlib.metadata.version("gguf"), "xllamacpp": importlib.metadata.version("xllamacpp")}
        if not own:
            tools["llama-quantize sha256"] = file_sha256(find_llama_quantize())
        calibration = None
        if how.imatrix is not None:
            data = self._text(how.imatrix)
            calibration = {
                "data_sha256": file_sha256(data),
                "tokens": how.imatrix_tokens,
                "chunk_tokens": CHUNK_TOKENS,
            }
        inputs = self._inputs(scheme, tools, **{"with": variant.maker, "imatrix": calibration})
        if how.tensors:
            inputs["tensors"] = dict(how.tensors)

        def make(folder: Path) -> dict[str, Any]:
            facts: dict[str, Any] = {}
            self._keep_tokenizer(self._source, folder)
            source, target = self._float_file(name), folder / MODEL
            matrix = None
            if how.imatrix is not None:
                matrix = self._matrix(name, how.imatrix, how.imatrix_tokens, source.path)
                matrix.save(folder / "imatrix.gguf", Path(how.imatrix).name)
                facts["imatrix_tokens"] = matrix.tokens
                facts["imatrix_tokens_sha256"] = matrix.tokens_sha256
            hear = self._hear(name, f"quantize to {scheme}")
            if own:
                means = matrix.means if matrix else None
                made = quantize(source, target, scheme, imatrix=means, own=how.tensors, threads=self._threads,
                                progress=hear)
            else:
                saved = folder / "imatrix.gguf" if matrix else None
                quantize_with_llama_quantize(source.path, target, scheme, imatrix=saved, threads=self._threads)
                made = GgufFile(target).tensors
            return facts | _measured(made)

        label = scheme + ("-imatrix" if calibration else "") + ("-own" if how.tensors else "")
        return self._cache.get_or_make(label, inputs, make)

    def _matrix(self, name: str, file: str, tokens: int, model: Path) -> ImportanceMatrix:
        if (file, tokens) not in self._matrices:
            try:
                text = self._text(file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SpecError(f"imatrix {file!r} cannot be read as UTF-8 text: {error}") from error
            self._matrices[file, tokens] = compute_imatrix(
                model, text, tokens=tokens, threads=self._threads, progress=self._hear(name, "importance matrix")
            )
        return self._matrices[file, tokens]

    def _ready(self, source: Source, scheme: str | None) -> Artifact:
        """A ready GGUF file as an artifact."""
        inputs = {"source": {"kind": source.kind, "sha256": source.sha256}, "scheme": scheme, "ready": True}

        def make(folder: Path) -> dict[str, Any]:
            file = GgufFile(source.path)
            self._keep_tokenizer(source, folder)
            return {"scheme": scheme or _PREFIX + _file_type(file)} | _linked(source, file, folder)

        return self._cache.get_or_make("ready", inputs, make)

    @staticmethod
    def _keep_tokenizer(source: Source, folder: Path) -> None:
        if source.tokenizer is not None:
            with disk_errors(folder):
                shutil.copyfile(source.tokenizer, folder / "tokenizer.json")


def _linked(source: Source, file: GgufFile, folder: Path) -> dict[str, Any]:
    """Link to a file that the user has, rather than copy it."""
    with disk_errors(folder / MODEL):
        (folder / MODEL).symlink_to(source.path.resolve())
    return {"sha256": source.sha256, "ready": True} | _measured(file.tensors)


def _measured(tensors: Iterable[Tensor]) -> dict[str, Any]:
    """What a recipe says of the tensors that were made, and by which quantcheck."""
    tensors = list(tensors)
    return {
        "quantcheck": __version__,
        "bits_per_weight": round(bits_per_weight(tensors), 6),
        "parameters": sum(t.values for t in tensors),
        "tensor_types": dict(sorted(Counter(t.type.name for t in tensors).items())),
    }


def _file_type(file: GgufFile) -> str:
    number = file.value("general.file_type")
    if number is None:
        raise ModelError(f"{file.path} does not say its format: give the variant a `scheme:` beside `checkpoint:`")
    try:
        return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return f"type-{number}"
