"""Known perplexity corpora out of plain files."""

import gzip
import json
from pathlib import Path

import pytest

from quantcheck.errors import SpecError
from quantcheck.tasks import read_corpus
from tests.conftest import real_data


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["test.txt", "wiki.test.raw", "test.txt.gz"])
def test_wikitext_is_one_text_as_it_is(name: str, tmp_path: Path) -> None:
    text = " \n = Title = \n \n A sentence . \n"
    content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    path = put(tmp_path, f"wikitext-2-raw/{name}", content)
    assert read_corpus(tmp_path, "wikitext2") == ((text,), (path,))


def test_c4_is_a_text_a_row(tmp_path: Path) -> None:
    rows = [{"text": "one\ntwo", "url": "u"}, {"text": " "}, {"text": "three"}]
    put(tmp_path, "c4/c4-validation.00000-of-00008.json.gz",
        gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert read_corpus(tmp_path, "c4")[0] == ("one\ntwo", "three")


def test_the_sample_of_c4_is_a_text_a_line(tmp_path: Path) -> None:
    put(tmp_path, "calibration/c4.utf8", b"one\n\ntwo")
    assert read_corpus(tmp_path, "c4")[0] == ("one", "two")


@pytest.mark.parametrize(("name", "content", "said"), [
    ("c4/c4-validation.json", b'{"text": 3}\n', "line 1: `text` is missing"),
    ("c4/c4-validation.json", b'{"text": " "}\n', "holds no text"),
    ("calibration/other.utf8", b"", "has no c4; put it there as one of"),
    ("calibration/c4.utf8", b"\xff", "not UTF-8"),
])
def test_what_is_wrong_is_said(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    put(tmp_path, name, content)
    with pytest.raises(SpecError, match=said):
        read_corpus(tmp_path, "c4")


@pytest.mark.realdata
def test_the_real_files() -> None:
    found = {"wikitext2": "wikitext-2-raw/test.txt", "c4": "calibration/c4.utf8"}
    assert [len(read_corpus(real_data(path).parents[1], name)[0]) for name, path in found.items()] == [1, 584]
