"""Models for scoring: tiny random ones, and the reference model in two formats, made once for this folder."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType as Kind

from quantcheck.spec.experiment import Variant
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.make import prepare
from tests.ggml.tiny import TinyModel, TinyShape, write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TinyModel]:
    """The same random weights in F32 and rounded to Q4_0."""
    folder: Path = tmp_path_factory.mktemp("quality-tiny")
    kinds = (Kind.F32, Kind.Q4_0)
    return {kind.name: write_tiny(folder / f"{kind.name}.gguf", TinyShape(), kind=kind) for kind in kinds}


@pytest.fixture(scope="session")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    """The shipped model as F16 and Q2_K."""
    variants = {name: Variant(scheme=f"gguf/{name}") for name in ("F16", "Q2_K")}
    return prepare("reference", variants, cache=tmp_path_factory.mktemp("quality-cache"), threads=1)
