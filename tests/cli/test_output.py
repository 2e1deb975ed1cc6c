"""A named file is written whole or not at all, and what is no file is not replaced by one."""

import os
from pathlib import Path

import pytest

from quantcheck.cli.output import write_whole
from quantcheck.errors import StoreError


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("old", encoding="utf-8")
    write_whole(tmp_path / "r.json", "new")
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("r.json", "new")]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(tmp_path / "pipe", "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert not (tmp_path / "pipe").is_file()


@pytest.mark.parametrize("name", ["none/r.json", "."])
def test_what_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_whole(tmp_path / name, "text")
    assert list(tmp_path.iterdir()) == []
