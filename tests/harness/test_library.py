import importlib.metadata

import pytest

from quantcheck.errors import EngineUnavailable
from quantcheck.harness import library
from quantcheck.harness.run import answer
from tests.harness.byte_model import ByteModel, ByteTokens


def test_without_lm_eval_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(library.importlib.metadata, "version", missing)
    with pytest.raises(EngineUnavailable, match=r"not installed: pip install 'quantcheck\[eval\]'$"):
        list(answer(ByteModel(), ByteTokens(), ["mmlu"], context=8))


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.importlib.metadata, "version", lambda _: "0.4.12")
    with pytest.raises(EngineUnavailable, match=r"need lm-eval 0\.4\.13, and 0\.4\.12 is installed"):
        library.need()
