"""Whole runs whose speed GuideLLM measures: a script in its place, and itself where an environment has it."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import quantcheck
from quantcheck import Experiment, reference
from quantcheck.environments import python_of
from quantcheck.errors import EngineError, EngineUnavailable, SpecError
from quantcheck.runner.plan import make_plan
from quantcheck.store import Store

PROGRAM = """#!{python}
import json, pathlib, sys, time, urllib.request
if sys.argv[1] == "-c":
    print("0.8.1")
    sys.exit()
if {fails}:
    print("no such backend")
    sys.exit(2)
spec = json.loads(pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).read_text())["spec"]
backend, data = spec["backend"], spec["data"][0]
done = []
for place in range(spec["constraints"][0]["count"]):
    prompt = f"1 {{place}} m0 " + "word " * data["prompt_tokens"]
    body = {{"model": backend["model"], "prompt": prompt, "max_tokens": data["output_tokens"], "stream": True}}
    begin = time.time()
    stamps = []
    request = urllib.request.Request(backend["target"] + backend["request_format"], json.dumps(body).encode(),
                                     {{"Content-Type": "application/json"}})
    with urllib.request.urlopen(request) as answer:
        stamps = [time.time() for line in answer if line.startswith(b"data: {{")]
    done.append({{"request_args": json.dumps({{"body": body}}), "prompt_tokens": data["prompt_tokens"],
                 "output_tokens": data["output_tokens"], "info": {{"timings": {{
                     "request_start": begin, "first_token_iteration": stamps[0], "last_token_iteration": stamps[-1],
                     "request_end": time.time(), "targeted_start": begin}}}}}})
pathlib.Path(spec["outputs"][0]["path"]).write_text(json.dumps({{
    "metadata": {{"guidellm_version": "0.8.1"}}, "benchmarks": [{{"requests": {{"successful": done}}}}]}}))
"""


def program(folder: Path, *, fails: bool = False) -> Path:
    path = folder / "python"
    path.write_text(PROGRAM.format(python=sys.executable, fails=fails))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def document(python: Path | None, **load: Any) -> dict[str, Any]:
    return {
        "name": "x", "model": "none", "baseline": "a", "blocks": 2, "noise_floor": False,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
        "engine": {"kind": "fake", "ttft_ms": 20, "itl_ms": 5, "speed": {"b": 2.0}},
        "load": {"with": "guidellm", "python": str(python) if python else None,
                 "tokenizer": str(reference.model_dir()), "requests": 6, "warmup_requests": 1,
                 "workloads": {"s": {"prompt_tokens": 8, "output_tokens": 9}}, **load},
    }


def test_its_figures_are_paired_judged_and_marked(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(document(program(tmp_path)))
    summary = quantcheck.run(experiment, tmp_path / "out").summary
    row = next(r for r in summary.speed if (r.variant, r.metric) == ("b", "tpot"))
    assert row.word in ("faster", "inconclusive")
    assert row.ratio.value is not None
    assert row.ratio.value < 0.9
    assert row.blocks == 2
    assert next(r for r in summary.speed if (r.variant, r.metric) == ("b", "itl")).value.value is None
    warning = next(w for w in summary.warnings if w.key == "other_client")
    assert "GuideLLM 0.8.1" in warning.text
    cells = list(Store(tmp_path / "out").cells())
    assert len(cells) == 4
    for cell in cells:
        result = cell.record["result"]
        assert result["measured_by"] == "guidellm"
        assert result["requests"] == 6
        assert cell.table("requests")["phase"].tolist() == ["warmup"] + ["measured"] * 6 + ["tail"] * 2
    again = quantcheck.run(experiment, tmp_path / "out")
    assert len(list(Store(tmp_path / "out").cells())) == 4
    assert again.summary.speed == summary.speed


def test_who_measures_is_a_part_of_the_cell_s_key(tmp_path: Path) -> None:
    from quantcheck.runner.artifacts import artifacts_of
    from quantcheck.runner.progress import Silent

    ours = document(None)
    del ours["load"]["with"], ours["load"]["python"], ours["load"]["tokenizer"]
    digests = []
    for told in (ours, document(program(tmp_path))):
        experiment = Experiment.model_validate(told)
        artifacts, _ = artifacts_of(experiment, Silent())
        digests.append([key.digest for _, _, key in make_plan(experiment).keys(artifacts)])
    assert not set(digests[0]) & set(digests[1])


def test_its_failure_ends_the_run_in_one_line_and_names_its_log(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="exit status 2.*no such backend.*guidellm.log") as told:
        quantcheck.run(Experiment.model_validate(document(program(tmp_path, fails=True))), tmp_path / "out")
    assert "\n" not in str(told.value)
    assert not list(Store(tmp_path / "out").cells())


def test_without_a_tokenizer_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="tokenizer: FOLDER"):
        quantcheck.run(Experiment.model_validate(document(program(tmp_path), tokenizer=None)), tmp_path / "out")
    with pytest.raises(SpecError, match=r"holds no tokenizer\.json"):
        quantcheck.run(Experiment.model_validate(document(program(tmp_path), tokenizer=str(tmp_path))),
                       tmp_path / "out")


@pytest.mark.parametrize(("load", "says"), [
    ({"workloads": {"s": {"prompt_tokens": {"min": 1, "max": 9}, "output_tokens": 9}}}, "prompts of one length"),
    ({"workloads": {"s": {"trace": "x.csv"}}}, "prompts of one length"),
    ({"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 9, "free": True}}}, "our own client's"),
    ({"rate": [1], "arrival": {"process": "gamma"}}, "constant and poisson"),
    ({"with": "quantcheck"}, "are GuideLLM's"),
    ({"with": "wrk"}, "guidellm"),
])
def test_what_it_cannot_do_is_refused(load: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Experiment.model_validate(document(Path("p"), **load))


def test_no_key_is_given_to_it_and_no_engine_without_a_server() -> None:
    told = document(Path("p")) | {"engine": {"kind": "openai", "api_key_env": "KEY"}, "variants": {
        name: {"url": "http://127.0.0.1:1/v1", "model": name} for name in "ab"}}
    with pytest.raises(ValueError, match="keys reach no file"):
        Experiment.model_validate(told)
    with pytest.raises(ValueError, match="no server"):
        Experiment.model_validate(document(Path("p")) | {"engine": {"kind": "transformers"}, "variants": {
            "a": {}, "b": {"scheme": "bnb-int8"}}, "model": "folder"})


def has_guidellm() -> Path:
    """The environment's interpreter, or the one that QUANTCHECK_GUIDELLM_PYTHON names; skips without either."""
    named = os.environ.get("QUANTCHECK_GUIDELLM_PYTHON")
    if named:
        return Path(named)
    try:
        return python_of("guidellm")
    except EngineUnavailable as error:
        pytest.skip(f"{error}, or name an interpreter in QUANTCHECK_GUIDELLM_PYTHON")


@pytest.mark.timeout(900)
def test_guidellm_itself_against_the_reference_model(tmp_path: Path) -> None:
    told = document(has_guidellm()) | {
        "model": "reference", "blocks": 1, "engine": {"kind": "llama.cpp"},
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q4_0"}}}
    told["load"] |= {"concurrency": [2], "tokenizer": None}
    quantcheck.run(Experiment.model_validate(told), tmp_path / "out")
    records = [cell.record for cell in Store(tmp_path / "out").cells()]
    assert len(records) == 2
    assert len({record["result"]["prompts_sha256"] for record in records}) == 1
    for record in records:
        result = record["result"]
        assert result["client"]["tool"] == "guidellm"
        assert result["outcomes"] == {"ok": 6}
        assert 0 < result["metrics"]["ttft"] < result["metrics"]["e2e"]
        assert result["metrics"]["output_throughput"] > 0
        assert result["window"]["length_s"] > 0
        json.dumps(result, allow_nan=False)
