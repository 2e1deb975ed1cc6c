"""Traces are read exactly, or refused with their line."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.errors import SpecError
from quantcheck.load.traces import read_trace
from tests.conftest import real_data

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319601,3180,8
2023-11-16 18:17:04,110,27
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(text.encode())
    return path


def test_azures_form_to_the_tenth_of_a_microsecond(tmp_path: Path) -> None:
    path = write(tmp_path, AZURE)
    trace = read_trace(path)
    assert trace.due_ns.tolist() == [0, 20_040_000, 52_000_100]
    assert trace.prompt_tokens.tolist() == [4808, 110, 3180]
    assert trace.output_tokens.tolist() == [10, 27, 8]
    assert (trace.due_ns.dtype, trace.prompt_tokens.dtype, trace.output_tokens.dtype) == (np.int64, np.int32, np.int32)
    assert (len(trace), trace.adjusted) == (3, 0)
    assert trace.sha256 == hashlib.sha256(AZURE.encode()).hexdigest()


def test_time_scale(tmp_path: Path) -> None:
    path = write(tmp_path, AZURE)
    assert read_trace(path, 2.0).due_ns.tolist() == [0, 10_020_000, 26_000_050]
    assert read_trace(path, 0.5).due_ns.tolist() == [0, 40_080_000, 104_000_200]


@pytest.mark.parametrize("time", ["time", "Timestamp", "arrival_time", "ARRIVED_AT"])
@pytest.mark.parametrize("prompt", ["input_tokens", "Prompt_Tokens", "context_tokens", "num_prefill_tokens"])
@pytest.mark.parametrize("output", ["output_tokens", "generated_tokens", "num_decode_tokens"])
def test_columns_by_name_in_any_place(tmp_path: Path, time: str, prompt: str, output: str) -> None:
    path = write(tmp_path, f"\ufeffsession,{output}, {prompt} ,{time}\r\nx,7,300,1.5\r\n\r\ny,8.0,5,1.25\r\n")
    trace = read_trace(path)
    assert trace.due_ns.tolist() == [0, 250_000_000]
    assert trace.prompt_tokens.tolist() == [5, 300]
    assert trace.output_tokens.tolist() == [8, 7]


def test_seconds_since_1970_are_exact_and_ties_keep_their_order(tmp_path: Path) -> None:
    rows = "1700000000.000000001,2,1\n1700000000,1,1\n1700000000,9,1\n"
    trace = read_trace(write(tmp_path, "time,input_tokens,output_tokens\n" + rows))
    assert trace.due_ns.tolist() == [0, 0, 1]
    assert trace.prompt_tokens.tolist() == [1, 9, 2]


def test_time_zones(tmp_path: Path) -> None:
    rows = "2024-01-01T01:00:00+01:00,1,1\n2024-01-01T00:00:00.5Z,2,1\n"
    assert read_trace(write(tmp_path, "time,input_tokens,output_tokens\n" + rows)).due_ns.tolist() == [0, 500_000_000]


def test_no_tokens_stand_as_one_and_are_counted(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "time,input_tokens,output_tokens\n0,0,0\n1,5,0\n2,5,5\n"))
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([1, 5, 5], [1, 1, 5])
    assert trace.adjusted == 2


HEAD = "time,input_tokens,output_tokens\n"


@pytest.mark.parametrize(("text", "message"), [
    ("time,foo,output_tokens\n", "line 1: no column of input tokens among: time, foo, output_tokens; name it"),
    ("a,b\n", "line 1: no column of time among: a, b; name it timestamp, time, arrival_time or arrived_at"),
    ("", "line 1: no column of time among: none"),
    (HEAD, "no line after the header"),
    (HEAD + "0,1,1\n1,x,1\n", "line 3: 'x' is not a number of tokens"),
    (HEAD + "0,1,1\n1,,1\n", "line 3: '' is not a number of tokens"),
    (HEAD + "0,-1,1\n", "line 2: '-1' is not a number of tokens"),
    (HEAD + "0,1,1.5\n", "line 2: '1.5' is not a number of tokens"),
    (HEAD + "0,nan,1\n", "line 2: 'nan' is not a number of tokens"),
    (HEAD + "0,1,99999999999\n", "line 2: '99999999999' is not a number of tokens"),
    (HEAD + "soon,1,1\n", "line 2: 'soon' is not a time in seconds"),
    (HEAD + "inf,1,1\n", "line 2: 'inf' is not a time in seconds"),
    (HEAD + "-1e2222222222,1,1\n", "line 2: '-1e2222222222' is not a time in seconds"),
    (HEAD + "0,1e2222222222,1\n", "line 2: '1e2222222222' is not a number of tokens"),
    (HEAD + "1700000000000,1,1\n", "line 2: '1700000000000' is not a time in seconds"),
    (HEAD + "2024-01-01 00:00:00,1,1\n5,1,1\n", "line 3: '5' is not a time like 2023-11-16"),
    (HEAD + "5,1,1\n2024-01-01 00:00:00,1,1\n", "line 3: '2024-01-01 00:00:00' is not a time in seconds"),
    (HEAD + "2024-13-01 00:00:00,1,1\n", "line 2: month must be in 1..12"),
    (HEAD + "\n0,1\n", "line 3: 2 values, and column 3 is needed"),
    (HEAD + "0001-01-01 00:00:00,1,1\n9999-01-01 00:00:00,1,1\n", "longer than a clock can tell"),
])
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as error:
        read_trace(path)
    assert message in str(error.value)
    assert f"trace {path}" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(SpecError, match="cannot be read"):
            read_trace(path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_trace(tmp_path / "binary.csv")


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 10**15), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1),
       scale=st.floats(0.01, 100))
def test_any_trace_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]],
                              scale: float) -> None:
    text = "".join(f"{ns // 10**9}.{ns % 10**9:09d},{prompt},{output}\n" for ns, prompt, output in rows)
    path = write(tmp_path_factory.mktemp("trace"), HEAD + text)
    expected = sorted(rows, key=lambda row: row[0])
    trace = read_trace(path)
    assert trace.due_ns.tolist() == [row[0] - expected[0][0] for row in expected]
    assert trace.prompt_tokens.tolist() == [row[1] for row in expected]
    assert trace.output_tokens.tolist() == [row[2] for row in expected]
    scaled = read_trace(path, scale).due_ns
    assert np.abs(scaled - trace.due_ns / scale).max() <= 1 + trace.due_ns[-1] / scale * 1e-15
    assert (np.diff(scaled) >= 0).all()


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "rows"), [("code", 8819), ("conv", 19_366)])
def test_azures_traces(name: str, rows: int) -> None:
    path = real_data(f"azure-llm-trace/AzureLLMInferenceTrace_{name}.csv")
    trace = read_trace(path)
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert (len(trace), trace.adjusted) == (rows, 0)
    assert trace.prompt_tokens.tolist() == [int(line[1]) for line in lines]
    assert trace.output_tokens.tolist() == [int(line[2]) for line in lines]
    first, last = (datetime.fromisoformat(lines[at][0]).replace(tzinfo=UTC) for at in (0, -1))
    assert trace.due_ns[-1] / 1000 == pytest.approx((last - first) / timedelta(microseconds=1), abs=1)
    assert (np.diff(trace.due_ns) >= 0).all()
