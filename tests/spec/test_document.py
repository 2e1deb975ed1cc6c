"""Every mistake in an experiment's YAML: named with its line and the remedy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck import presets
from quantcheck.errors import SpecError
from quantcheck.spec.document import content_hash, parse, read
from quantcheck.spec.experiment import Experiment

GOOD = """\
model: reference
baseline: F16
variants:
  F16: {scheme: gguf/F16}
  Q8_0: {scheme: gguf/Q8_0}
load:
  workloads:
    short: {prompt_tokens: 16, output_tokens: 8}
"""


def mistake(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(text, source="x.yaml", name="x")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_good_experiment_is_read_and_named_after_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    experiment = read(file)
    assert experiment.name == "mine"
    assert experiment.variants["Q8_0"].scheme == "gguf/Q8_0"
    assert experiment.load is not None
    assert experiment.load.workloads["short"].prompt_tokens == 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "enginee: {}\n", "x.yaml:9: unknown key 'enginee'; did you mean 'engine'?"),
        (GOOD + "  concurency: [1]\n", "x.yaml:9: unknown key 'load.concurency'; did you mean 'concurrency'?"),
        (GOOD.replace("{scheme: gguf/Q8_0}", "{sheme: gguf/Q8_0}"),
         "x.yaml:5: unknown key 'variants.Q8_0.sheme'; did you mean 'scheme'?"),
        (GOOD + "engine: {kind: llama.cpp, thread: 2}\n",
         "x.yaml:9: unknown key 'engine.thread'; did you mean 'threads'?"),
        (GOOD + "engine: {kind: lama}\n",
         "x.yaml:9: engine: `kind:` must be one of 'llama.cpp', 'fake', 'vllm', 'transformers', 'openai'"),
        (GOOD.replace("baseline: F16\n", ""), "x.yaml:1: 'baseline' is missing; add it"),
        (GOOD.replace("baseline: F16", "baseline: f16"),
         "x.yaml:1: baseline 'f16' is not among the variants (F16, Q8_0)"),
        (GOOD + "  concurrency: [1, 0]\n",
         "x.yaml:9: load.concurrency.1: input should be greater than 0 (got 0)"),
        (GOOD + "model: twice\n", "x.yaml:9: 'model' is given twice (first on line 1); keep one"),
        (GOOD + "description: &a [*a]\n", "x.yaml:9: an anchor that holds its own alias; write it out"),
        (GOOD + "description: &a [b]\nx: &c [" + "*a, " * 400 + "]\ny: [" + "*c, " * 400 + "]\n",
         "x.yaml:11: aliases that stand for 320,401 values; write out what is meant"),
        ("a: [", "x.yaml:1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("- 1\n", "x.yaml: an experiment is a mapping (model: ..., baseline: ..., variants: ...)"),
        ("", "x.yaml: an experiment is a mapping (model: ..., baseline: ..., variants: ...)"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(text: str, expected: str) -> None:
    assert mistake(text) == expected


def test_a_variant_that_comes_from_nowhere_is_refused() -> None:
    assert "needs `scheme:`" in mistake(GOOD.replace("{scheme: gguf/Q8_0}", "{}"))


def test_an_experiment_that_measures_nothing_is_refused() -> None:
    assert "nothing to measure" in mistake(GOOD.split("load:")[0])


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read(tmp_path / "none.yaml")


def test_files_beside_the_experiment_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "text.txt").write_text("words")
    (tmp_path / "here" / "mine.yaml").write_text(GOOD + "quality: {texts: {own: {text: text.txt}}}\n")
    monkeypatch.chdir(tmp_path)
    experiment = read(Path("here/mine.yaml"))
    assert experiment.quality is not None
    assert Path(experiment.quality.texts["own"].text).read_text() == "words"


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_an_experiment(name: str) -> None:
    assert presets.load(name).name == name


def test_the_hash_ignores_order_and_sees_content() -> None:
    one = parse(GOOD, source="a", name="x")
    lines = GOOD.splitlines(keepends=True)
    other = parse("".join(lines[1:2] + lines[0:1] + lines[2:]), source="b", name="x")
    assert content_hash(one) == content_hash(other)
    assert content_hash(one) != content_hash(parse(GOOD + "seed: 1\n", source="a", name="x"))
    assert Experiment.model_validate(one.model_dump(mode="json", by_alias=True)) == one


@given(st.text(max_size=200))
def test_no_text_at_all_raises_anything_else(text: str) -> None:
    try:
        parse(text, source="x", name="x")
    except SpecError as error:
        assert "\n" not in str(error)
