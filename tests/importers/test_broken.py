"""Broken files: one line that names the file, and never anything but the declared error."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcheck.errors import SpecError
from quantcheck.importers.registry import TOOLS, read_file, recognised

DATA = Path(__file__).parent / "data"
FILES = sorted(path for path in DATA.rglob("*") if path.is_file())
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(path: Path, **more: Any) -> str:
    with pytest.raises(SpecError) as error:
        read_file(path, **more)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_file_that_is_cut_off(file: Path, tmp_path: Path) -> None:
    """At a third; a log and SQL may be whole in part, but then say what they lack or hold less."""
    data = file.read_bytes()
    cut = tmp_path / file.name
    cut.write_bytes(data[: len(data) // 3])
    if file.suffix == ".sql":
        with pytest.raises(SpecError):
            read_file(cut)
        return
    refused(cut)


@pytest.mark.parametrize("text", ["", " \n", "{}", "[]", "null", "3", "[[[", "not json", "\x00\x01\xff", "{" * 100_000,
                                  "[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "9" * 10_000])
@pytest.mark.parametrize("tool", [None, *TOOLS])
def test_no_result_file(text: str, tool: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    refused(path, tool=tool)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_another_tools_file(file: Path, tool: str) -> None:
    content, found = read_file(file)
    own = recognised(content)
    assert own is not None
    assert found.parts
    if tool != own:
        assert f"as {tool}: " in refused(file, tool=tool)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "gone.json")
    assert "cannot be read" in refused(tmp_path)


def changed(name: str, place: list[Any], value: Any, tmp_path: Path) -> Path:
    document = json.loads((DATA / name).read_text())
    at = document
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    path = tmp_path / name
    path.write_text(json.dumps(document))
    return path


G = ["benchmarks", 0, "metrics"]
PLACES = [
    ("guidellm-f16.json", ["benchmarks"]), ("guidellm-f16.json", [*G, "request_totals", "successful"]),
    ("guidellm-f16.json", [*G, "output_tokens_per_second", "successful", "mean"]),
    ("guidellm-f16.json", [*G, "time_to_first_token_ms", "successful", "median"]),
    ("guidellm-f16.json", ["benchmarks", 0, "config", "strategy", "streams"]),
    ("guidellm-f16.json", ["benchmarks", 0, "requests", "successful", 0, "inter_token_latency_ms"]),
    ("vllm-bench-f16-1.json", ["duration"]), ("vllm-bench-f16-1.json", ["output_throughput"]),
    ("vllm-bench-f16-1.json", ["median_ttft_ms"]), ("vllm-bench-f16-1.json", ["completed"]),
    ("vllm-bench-f16-1.json", ["request_rate"]), ("vllm-bench-f16-1.json", ["input_lens"]),
    ("aiperf-f16.json", ["time_to_first_token", "p50"]), ("aiperf-f16.json", ["request_latency", "unit"]),
    ("aiperf-f16.json", ["output_token_throughput", "unit"]), ("aiperf-f16.json", ["input_config", "phases"]),
    ("llama-bench-f16.json", [1, "avg_ns"]), ("llama-bench-f16.json", [0, "avg_ts"]),
    ("llama-bench-f16.json", [0, "n_prompt"]), ("llama-bench-f16.json", [0, "build_number"]),
]  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, True, [1], {"a": 1}, "", 10**400])
@pytest.mark.parametrize(("name", "place"), PLACES, ids=lambda value: str(value))
def test_a_wrong_value_is_named(name: str, place: list[Any], value: Any, tmp_path: Path) -> None:
    if place[-1] == "request_rate" and value == float("inf"):
        return  # vllm's own word for all at once
    refused(changed(name, place, value, tmp_path))


def test_nan_in_lm_evals_score(tmp_path: Path) -> None:
    file = next((DATA / "lm-eval-f16").glob("results_*.json"))
    document = json.loads(file.read_text())
    document["results"]["ref_color"]["acc,none"] = float("nan")
    path = tmp_path / file.name
    path.write_text(json.dumps(document))
    assert "results.ref_color.acc,none is nan, not a finite number" in refused(path)


def test_samples_that_are_no_right_or_wrong(tmp_path: Path) -> None:
    file = next((DATA / "lm-eval-f16").glob("samples_ref_color_*.jsonl"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["acc"] = 0.4
    path = tmp_path / file.name
    path.write_text("\n".join(map(json.dumps, rows)))
    assert "is not right or wrong" in refused(path)
    rows[3]["acc"], rows[3]["doc_id"] = 1.0, 2
    path.write_text("\n".join(map(json.dumps, rows)))
    assert "drawn answers" in refused(path)


def test_two_models_of_llama_bench(tmp_path: Path) -> None:
    rows = [row for name in ("f16", "q4") for row in json.loads((DATA / f"llama-bench-{name}.json").read_text())]
    path = tmp_path / "both.json"
    path.write_text(json.dumps(rows))
    assert "F16.gguf, Q4_K_M.gguf; name one with --model" in refused(path)
    assert len(read_file(path, model="Q4")[1].parts) == 3
    assert "no file of it fits" in refused(path, model="Q8")


def test_tests_of_llama_bench_that_differ_in_a_setting(tmp_path: Path) -> None:
    rows = json.loads((DATA / "llama-bench-f16.json").read_text())[:1] * 2
    path = tmp_path / "twice.json"
    path.write_text(json.dumps(rows))
    assert "holds one test twice" in refused(path)
    path.write_text(json.dumps([rows[0], {**rows[0], "n_threads": 2}]))
    assert [part.subject for part in read_file(path)[1].parts] == ["pp64.n_threads=1", "pp64.n_threads=2"]


@QUICK
@given(st.binary(max_size=300), st.sampled_from([None, *TOOLS]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, tool: str | None) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    try:
        read_file(path, tool)
    except SpecError as error:
        assert "\n" not in str(error)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
                    max_leaves=6)
SMALL = [DATA / name for name in ("vllm-bench-f16-1.json", "llama-bench-f16.json", "aiperf-f16.json",
                                  "guidellm-f16.json")] + list((DATA / "lm-eval-f16").glob("*"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SMALL), st.data(), JSON)
def test_any_value_in_any_place(tmp_path: Path, file: Path, data: st.DataObject, value: Any) -> None:
    """A real file with one value replaced, wherever it lies."""
    lines = file.suffix == ".jsonl"
    document = [json.loads(line) for line in file.read_text().splitlines()] if lines else json.loads(file.read_text())
    at: Any = document
    for _ in range(data.draw(st.integers(0, 5))):
        keys = sorted(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(at[key], dict | list) or not at[key]:
            break
        at = at[key]
    at[data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))] = value
    path = tmp_path / file.name
    path.write_text("\n".join(map(json.dumps, document)) if lines else json.dumps(document))
    try:
        read_file(path)
    except SpecError as error:
        assert "\n" not in str(error)


@QUICK
@given(st.sampled_from([path for path in FILES if path.suffix in (".log", ".sql", ".jsonl")]), st.data())
def test_damaged_text(tmp_path: Path, file: Path, data: st.DataObject) -> None:
    raw = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / file.name
    path.write_bytes(bytes(raw))
    try:
        read_file(path)
    except SpecError as error:
        assert "\n" not in str(error)
