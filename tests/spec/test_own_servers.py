"""Servers that the user runs: what a variant needs, and what cannot be asked of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from quantcheck.errors import SpecError
from quantcheck.spec.document import content_hash, parse
from quantcheck.spec.experiment import Experiment, OpenAIEngine

URL = "http://127.0.0.1:8001/v1"
LOAD = {"workloads": {"w": {"prompt_tokens": 8, "output_tokens": 4}}}


def document(**changes: Any) -> dict[str, Any]:
    return {"name": "e", "model": "m", "baseline": "a", "engine": {"kind": "openai"}, "load": LOAD,
            "variants": {"a": {"url": URL, "model": "x"}, "b": {"url": URL + "/", "model": "y"}}, **changes}


def test_the_smallest_experiment() -> None:
    found = Experiment.model_validate(document())
    assert isinstance(found.engine, OpenAIEngine)
    assert [variant.url for variant in found.variants.values()] == [URL, URL]


@pytest.mark.parametrize(("changes", "message"), [
    ({"variants": {"a": {"url": URL}}}, r"variants\.a: .* needs `url:`"),
    ({"variants": {"a": {"model": "x"}}}, r"needs `url:`"),
    ({"variants": {"a": {"url": URL, "model": "x", "scheme": "fp16"}}}, r"leave all but `url:` and `model:` out"),
    ({"variants": {"a": {"url": URL, "model": "x", "args": {"max-num-seqs": 4}}}}, r"leave all but"),
    ({"engine": {"kind": "llama.cpp"}}, r"the engine is llama\.cpp; take `engine: \{kind: openai\}`"),
    ({"weights": "random"}, r"leave `weights:` out"),
    ({"quality": {"suites": ["reference/stories"]}}, r"quality needs token ids; add `tokenizer: FOLDER`"),
    ({"quality": {"suites": ["reference/stories"]}, "engine": {"kind": "openai", "tokenizer": "t", "api": "chat"}},
     r"quality needs /v1/completions"),
    ({"quality": {"suites": ["reference/stories"], "divergence": "full"},
      "engine": {"kind": "openai", "tokenizer": "t"}}, r"likeliest tokens only"),
    *[({"variants": {"a": {"url": url, "model": "x"}}}, r"url: give an http or https URL")
      for url in ("127.0.0.1:8001", "ftp://h/v1", "http://", "http://h:port/v1", "http://h/v1?key=1", "http://h/ v1")],
])
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Experiment.model_validate(document(**changes))


@pytest.mark.parametrize("changes", [
    {"engine": {"kind": "openai", "api_key_env": "sk-s3cret"}},
    {"variants": {"a": {"url": "http://user:s3cret@h/v1", "model": "x"}}},
])
def test_a_key_that_is_written_down_is_refused_and_not_repeated(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="environment variable") as caught:
        parse(yaml.safe_dump(document(**changes)), source="e.yaml", name="e")
    assert "s3cret" not in str(caught.value)


def test_the_tokenizer_lies_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    text = yaml.safe_dump(document(engine={"kind": "openai", "tokenizer": "t"}))
    found = parse(text, source="e.yaml", name="e", folder=tmp_path)
    assert isinstance(found.engine, OpenAIEngine)
    assert found.engine.tokenizer == str(tmp_path / "t")
    assert content_hash(found) != content_hash(Experiment.model_validate(document()))
