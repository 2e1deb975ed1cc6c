"""Reading GGUF files that may be anything, and writing on disks that may be full."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcheck.errors import ModelError, StoreError
from quantcheck.variants.gguf_file import GgufFile, bits_per_weight, disk_errors, write_gguf
from quantcheck.variants.mix import Tensor
from tests.variants.shapes import Shape

SHAPE = Shape("llama", 1, 4, 2, hidden=32, feed_forward=32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    rng = np.random.default_rng(0)
    SHAPE.write(path, lambda t: rng.standard_normal(t.values).astype(np.float32))
    return path


def test_what_was_written_is_read(whole):
    file = GgufFile(whole)
    assert [t.name for t in file.tensors] == [t.name for t in SHAPE.tensors]
    assert [t.shape for t in file.tensors] == [t.shape for t in SHAPE.tensors]
    assert file.shape == SHAPE.model
    assert file.value("llama.context_length") == 128
    assert file.value("no.such.key", 7) == 7


def test_rows_are_the_tensors_values(whole):
    file = GgufFile(whole)
    raw = file.raw("blk.0.attn_q.weight").view(np.float16).reshape(32, 32)
    assert (file.rows("blk.0.attn_q.weight", 3, 9) == raw[3:9]).all()


def test_bits_per_weight_counts_tensors_only():
    half = Tensor("a", (4, 32), GGMLQuantizationType.F16)
    eight = Tensor("b", (4, 32), GGMLQuantizationType.Q8_0)
    assert bits_per_weight([half]) == 16
    assert bits_per_weight([eight]) == 8.5
    assert bits_per_weight([half, eight]) == 12.25


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.05, 0.3, 0.7, 0.999])
def test_a_file_cut_off_anywhere_is_refused_in_one_line(whole, tmp_path, fraction):
    data = whole.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ModelError) as caught:
        GgufFile(cut)
    assert str(cut) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 900), value=st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_refused_or_read_but_never_crashes(whole, tmp_path_factory, where, value):
    data = bytearray(whole.read_bytes())
    data[where : where + len(value)] = value
    path = tmp_path_factory.mktemp("damaged") / "damaged.gguf"
    path.write_bytes(data)
    try:
        file = GgufFile(path)
    except ModelError as error:
        assert "\n" not in str(error)  # (a damage that changes no structure is not refused)
    else:
        assert file.tensors


def test_one_part_of_several_is_refused(tmp_path):
    tensor = Tensor("a.weight", (2, 32), GGMLQuantizationType.F16)
    path = tmp_path / "model-00001-of-00002.gguf"
    write_gguf(
        path, "llama", lambda w: w.add_uint16("split.count", 2), [(tensor, lambda: np.zeros(128, np.uint8))]
    )
    with pytest.raises(ModelError, match="is one of 2 parts"):
        GgufFile(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ModelError, match="not a GGUF file"):
        GgufFile(path)
    with pytest.raises(ModelError, match="cannot read"):
        GgufFile(tmp_path / "missing.gguf")
    with pytest.raises(ModelError, match="cannot read"):
        GgufFile(tmp_path)


FULL = """
import json, resource, signal, sys
from pathlib import Path
from quantcheck.errors import StoreError
from quantcheck.variants.artifact import Cache
from quantcheck.variants.artifact import MODEL
from tests.variants.shapes import Shape

root = Path(sys.argv[1])
cache = Cache(root)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
def make(folder):
    Shape("llama", 4, 4, 2, hidden=64, feed_forward=64).write(folder / MODEL)
    return {}
try:
    cache.get_or_make("big", {"a": 1}, make)
except StoreError as error:
    print(json.dumps(str(error)))
"""


def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for a full disk, which a test cannot make without privileges."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True, env=_environment()
    )
    message = json.loads(done.stdout)
    assert "\n" not in message
    assert done.stderr == ""
    assert [p.name for p in (tmp_path / "artifacts").rglob("*") if not p.name.endswith(".lock")] == []


def _environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.mark.parametrize("number", [28, 122, None], ids=["ENOSPC", "EDQUOT", "short write of numpy"])
def test_a_full_disk_says_so(tmp_path, number):
    with pytest.raises(StoreError, match="no space left on the disk"), disk_errors(tmp_path / "model.gguf"):
        raise OSError(number, "full") if number else OSError("4096 requested and 0 written")


def test_a_failed_write_leaves_no_file(tmp_path):
    def fail():
        raise ModelError("no such tensor")

    tensor = Tensor("a.weight", (32, 32), GGMLQuantizationType.F16)
    with pytest.raises(ModelError):
        write_gguf(tmp_path / "out.gguf", "llama", lambda writer: None, [(tensor, fail)])
    assert list(tmp_path.iterdir()) == []
