"""`quantcheck import` and `compare` of one folder, as a user types them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quantcheck.cli import _cli

DATA = Path(__file__).parents[1] / "importers" / "data"


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(_cli, [str(argument) for argument in arguments])


def test_two_files_in_one_command(tmp_path: Path) -> None:
    done = typed("import", f"F16={DATA / 'guidellm-f16.json'}", f"Q4={DATA / 'guidellm-q4.json'}", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "F16  guidellm@c2  (imported from guidellm)" in done.output
    assert "Q4 against F16: speed" in done.output
    assert (tmp_path / "comparison.md").read_text().startswith("# ")
    assert (tmp_path / "comparison.json").exists()
    again = typed("compare", tmp_path)
    assert again.exit_code == 0, again.output
    assert "Q4 against F16: speed" in again.output


def test_two_commands(tmp_path: Path) -> None:
    first = typed("import", DATA / "llama-bench-f16.json", "--as", "F16", "--out", tmp_path)
    assert "holds one variant, F16" in first.output
    second = typed("import", DATA / "llama-bench-q4.sql", "--as", "Q4", "--out", tmp_path)
    assert second.exit_code == 0, second.output
    assert "Input throughput" in second.output
    assert typed("compare", f"{tmp_path}:Q4").exit_code == 0


def test_what_cannot_be_compared_is_imported_all_the_same(tmp_path: Path) -> None:
    done = typed("import", f"F16={DATA / 'guidellm-f16.json'}", f"Q4={DATA / 'aiperf-q4.json'}", "--out", tmp_path)
    assert done.exit_code == 0
    assert "imported, and not compared: " in done.output


@pytest.mark.parametrize(("arguments", "told"), [
    ([DATA / "guidellm-f16.json"], "which variant is it?"),
    ([DATA / "guidellm-f16.json", "--as", "a", "--name", "b c"], "--name"),
    ([DATA / "guidellm-f16.json", "--as", "a", "--from", "hyperfine"], "--from"),
])
def test_mistakes(arguments: list[object], told: str, tmp_path: Path) -> None:
    done = typed("import", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "out").exists()
