"""From what an experiment names to Hugging Face folders that vLLM or transformers can load: an artifact a variant."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from quantcheck import __version__
from quantcheck.errors import ModelError, SpecError
from quantcheck.spec.variant import Variant
from quantcheck.variants.artifact import Artifact, Cache, OnFailure, cache_root, make_each, recipe_hash
from quantcheck.variants.checkpoint import read_quantization
from quantcheck.variants.compress import compress, compressor_versions, inputs
from quantcheck.variants.gguf_file import disk_errors
from quantcheck.variants.hashing import Hashes
from quantcheck.variants.schemes import LOADED, quantization_config
from quantcheck.variants.shapes import read_config_file, read_config_of
from quantcheck.variants.source import Source, check_model, find_model
from quantcheck.variants.weight_bytes import read_bytes, weight_bytes
from quantcheck.variants.weightless import DTYPES, weightless_quantization, write_weightless

__all__ = ["FOLDER", "prepare_folders"]

FOLDER = "model"
"""The folder of the artifact that holds the model's files."""

# Raise it when the same inputs give other files than before: artifacts are then made anew.
_REVISION = 1
_LINKS_REVISION = 2  # of the recipes of links, which cost nothing to make anew
_PREDICTED = "predicted from the configuration"


def prepare_folders(
    model: str,
    variants: Mapping[str, Variant],
    *,
    random: bool,
    compressor: Callable[[], Path],
    base: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
    on_failure: OnFailure | None = None,
) -> dict[str, Artifact]:
    """Make, or find in the cache, the artifact of every variant of `model`, by variant name; `path` is a folder.

    `random`: only configurations are written, from that of `model` (a folder, a hub name, or shape:NAME).
    `compressor` gives the interpreter that has llm-compressor, and is asked only when something is to be quantized.
    `on_failure`: as `artifact.make_each`.

    A recipe's `engine_args` are options that an engine needs to load the artifact as it is meant. Raises SpecError for
    a scheme, name or local file that cannot be, ModelError for files that are damaged or not supported,
    EngineUnavailable where llm-compressor is needed and not there. Names are checked for all variants before anything
    is made.
    """
    base, root = base or Path.cwd(), cache or cache_root()
    maker = _Maker(model, base, root, compressor, progress or (lambda _line: None))
    for name, variant in variants.items():
        maker.check(name, variant, random=random)
    make = maker.weightless if random else maker.real
    return make_each(variants, make, on_failure)


class _Maker:
    """One call of `prepare_folders`."""

    def __init__(
        self, model: str, base: Path, root: Path, compressor: Callable[[], Path], progress: Callable[[str], None]
    ) -> None:
        self._model, self._base, self._root = model, base, root
        self._cache, self._hashes = Cache(root), Hashes(root / "hashes.json")
        self._compressor, self._progress = compressor, progress

    def check(self, name: str, variant: Variant, *, random: bool) -> None:
        """Raise SpecError for what can be seen to be wrong without reading a model."""
        if variant.checkpoint is not None:
            check_model(variant.checkpoint, self._base)
            return
        if not random:
            check_model(self._model, self._base)
        if variant.scheme in (None, *DTYPES, *LOADED):
            return
        if random or variant.maker == "transformers":
            quantization_config(str(variant.scheme))  # raises for a name that there is not
        elif variant.maker == "llm-compressor":
            inputs(str(variant.scheme), variant.quantize, self._base)  # with the calibration's file
        else:
            raise SpecError(f"variants.{name}: {variant.maker} makes no {variant.scheme}; leave `with:` out")

    def weightless(self, name: str, variant: Variant) -> Artifact:
        """A configuration in the variant's format; the engine fills the weights with random numbers."""
        config, loaded = self._config, LOADED.get(variant.scheme or "")
        scheme = variant.scheme or _SCHEMES.get(str(config.get("torch_dtype") or config.get("dtype")), "bf16")
        plain = {key: value for key, value in config.items() if not key.startswith("_")}
        wanted = {"weights": "random", "config": plain, "scheme": scheme, "revision": _REVISION,
                  "quantization": dict(loaded) if loaded else weightless_quantization(config, scheme)}

        def make(folder: Path) -> dict[str, Any]:
            with disk_errors(folder):
                write_weightless(folder / FOLDER, config, scheme)
            written = _config_in(folder / FOLDER) | ({"quantization_config": dict(loaded)} if loaded else {})
            own = {"quantization": dict(loaded)} if loaded else {"load-format": "dummy"}
            return _facts(written) | {
                "bytes": weight_bytes(written), "bytes_from": _PREDICTED,
                "sha256": recipe_hash(wanted), "engine_args": own}

        return self._cache.get_or_make(f"{scheme}-random", wanted, make, model=FOLDER)

    def real(self, name: str, variant: Variant) -> Artifact:
        """The model or a checkpoint as it is, or the model quantized."""
        if variant.checkpoint is not None:
            return self._linked(find_model(variant.checkpoint, self._base, self._hashes), variant.scheme)
        if variant.scheme in (None, *DTYPES, *LOADED):
            return self._linked(self._source, variant.scheme)
        return self._quantized(name, self._source, variant)

    @cached_property
    def _source(self) -> Source:
        """Found and hashed once, for all variants that are made from it."""
        return find_model(self._model, self._base, self._hashes)

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_config_of(self._model, self._base)

    def _linked(self, source: Source, scheme: str | None) -> Artifact:
        """Link to a folder that the user has, rather than copy it."""
        if source.kind != "huggingface":
            raise ModelError(f"{source.name}: is a GGUF file, and this engine needs a Hugging Face folder; name that")
        found, loaded = read_quantization(source.path), LOADED.get(scheme or "")
        if loaded and found["quant_method"] is not None:
            raise ModelError(f"{source.path} is quantized already ({found['quant_method']}), so that {scheme} cannot "
                             "be made of it: name the original model, or give this one as the variant's `checkpoint:`")
        wanted = {"source": {"kind": source.kind, "sha256": source.sha256}, "scheme": scheme, "ready": True,
                  "revision": _LINKS_REVISION, **({"made": dict(loaded)} if loaded else {})}
        dtype = DTYPES.get(scheme or "")
        own = {"dtype": dtype} if dtype else {"quantization": dict(loaded)} if loaded else {}

        def make(folder: Path) -> dict[str, Any]:
            with disk_errors(folder):
                (folder / FOLDER).symlink_to(source.path.resolve())
            config = _config_in(source.path)
            as_loaded = config | ({"torch_dtype": dtype} if dtype else {})
            as_loaded |= {"quantization_config": dict(loaded)} if loaded else {}
            facts = _facts(as_loaded)
            return facts | _loaded_bytes(source.path, facts, _facts(config), made=bool(loaded)) | {
                "scheme": scheme or found["scheme"] or "as it is", "quantization": dict(loaded) if loaded else found,
                "sha256": source.sha256, "engine_args": own}

        return self._cache.get_or_make("ready", wanted, make, model=FOLDER)

    def _quantized(self, name: str, source: Source, variant: Variant) -> Artifact:
        scheme, how = str(variant.scheme), variant.quantize
        python = Path(how.python) if how.python else self._compressor()
        wanted = {"source": {"kind": source.kind, "sha256": source.sha256}, "scheme": scheme, "revision": _REVISION,
                  "tools": compressor_versions(python), **inputs(scheme, how, self._base)}

        def hear(step: float | str) -> None:
            self._progress(f"{name}: quantize to {scheme}, {step if isinstance(step, str) else format(step, '.0%')}")

        def make(folder: Path) -> dict[str, Any]:
            (folder / FOLDER).mkdir()
            log = self._root / "logs" / f"{name}-llm-compressor.log"
            facts = compress(source.path, folder / FOLDER, scheme, how, python=python, log=log, progress=hear,
                             base=self._base)
            return facts | _facts(_config_in(folder / FOLDER)) | {"bytes": _stored_bytes(folder / FOLDER)}

        return self._cache.get_or_make(scheme, wanted, make, model=FOLDER)


_SCHEMES = {dtype: scheme for scheme, dtype in DTYPES.items()}


def _config_in(folder: Path) -> dict[str, Any]:
    return read_config_file(folder / "config.json")


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says of the model: for prompts, and for the roofline where the family is known."""
    found: dict[str, Any] = {"quantcheck": __version__, "vocabulary": config.get("vocab_size"), "architecture": None}
    try:
        sizes, reads, parameters = read_bytes(config)
    except ModelError:  # another family, or a format whose bytes are not known
        return found
    bits = 8 * sum(reads.values()) / parameters
    return found | {"architecture": sizes, "read_bytes": reads, "parameters": parameters,
                    "bits_per_weight": round(bits, 6)}


def _loaded_bytes(folder: Path, facts: Mapping[str, Any], stored: Mapping[str, Any], *, made: bool) -> dict[str, Any]:
    """Bytes of the weights as they are loaded: the files' own, unless loading gives them another format.

    `made`: the library quantizes them then. 0, which is no size, where it does so to a family that cannot be counted.
    """
    reads = facts.get("read_bytes")
    if reads == stored.get("read_bytes") and not made:
        return {"bytes": _stored_bytes(folder)}
    return {"bytes": sum(reads.values()), "bytes_from": _PREDICTED} if reads else {"bytes": 0}


def _stored_bytes(folder: Path) -> int:
    """Of all weight files."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
