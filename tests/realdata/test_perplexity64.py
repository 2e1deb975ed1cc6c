"""WikiText-2 at a context of 2,048 by our engines, against a model in float64 that shares no code with them.

The reference model was trained for 512 tokens; a copy of its configuration says 2,048, so that its perplexity there is
poor and as exact as any. Three windows of 2,048/512 (3,071 tokens) and two disjoint ones (4,094), the first in common.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quantcheck import reference
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.hf.scorer import TransformersScorer
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import Scorer
from quantcheck.quality.perplexity import score_windows
from quantcheck.quality.windows import Window, windows
from quantcheck.variants.convert import convert
from tests.conftest import needs_environment, real_data
from tests.realdata.llama64 import Llama64

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(600)]

CONTEXT = 2048
CUTS = {"stride 512": (512, CONTEXT - 1 + 2 * 512), "disjoint": (CONTEXT - 1, 2 * (CONTEXT - 1))}
"""Tokens scored in a window, and in all."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("long") / "model"
    shutil.copytree(reference.model_dir(), copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    return copy


@pytest.fixture(scope="module")
def cuts(folder: Path) -> dict[str, list[Window]]:
    text = real_data("wikitext-2-raw/test.txt").read_text(encoding="utf-8")[:40_000]
    tokens = FolderTokenizer(folder).encode(text, bos=True)
    found = {name: list(windows([tokens], CONTEXT, *cut)) for name, cut in CUTS.items()}
    assert {name: [window.scored for window in cut] for name, cut in found.items()} == {
        "stride 512": [2047, 512, 512], "disjoint": [2047, 2047]}
    return found


def agree(scorer: Scorer, cuts: Mapping[str, list[Window]], model: Llama64, most: float) -> None:
    known: dict[tuple[bytes, int], NDArray[np.float64]] = {}
    for cut in cuts.values():
        for window in cut:
            key = window.tokens.tobytes(), window.scored
            if key not in known:
                known[key] = model.nll(window.tokens, window.scored)
    assert len(known) == 4
    for name, cut in cuts.items():
        ours = score_windows(scorer, cut)
        theirs = np.concatenate([known[window.tokens.tobytes(), window.scored] for window in cut])
        assert len(ours.nll) == len(theirs) == CUTS[name][1]
        assert ours.perplexity == pytest.approx(float(np.exp(theirs.mean())), rel=most), name


def test_transformers_gives_the_perplexity_of_float64(
    folder: Path, cuts: Mapping[str, list[Window]], tmp_path: Path
) -> None:
    loaded = Loaded(python=needs_environment("transformers"), folder=folder, dtype="float32", device="cpu")
    with TransformersScorer(loaded, log=tmp_path / "worker.log") as scorer:
        agree(scorer, cuts, Llama64(folder), 1e-4)


def test_llama_cpp_gives_that_of_the_files_own_weights(
    folder: Path, cuts: Mapping[str, list[Window]], tmp_path: Path
) -> None:
    """Its keys and values are float16, and so are what its matrices are multiplied with."""
    convert(folder, tmp_path / "f16.gguf")
    with LlamaCppScorer(tmp_path / "f16.gguf", context=CONTEXT) as scorer:
        agree(scorer, cuts, Llama64(folder, half=True), 1e-3)
