from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType

from tests.ggml.tiny import TinyModel, TinyShape, write_tiny


@pytest.fixture(scope="session")
def tiny_f32(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    folder: Path = tmp_path_factory.mktemp("tiny")
    return write_tiny(folder / "f32.gguf", TinyShape(), kind=GGMLQuantizationType.F32)
