"""`quantcheck report`: the reports, the tables, the model card, and one line for a mistake."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard

from quantcheck.cli import main
from quantcheck.cli.report import command
from quantcheck.errors import SpecError, StoreError
from tests.report import synthetic
from tests.report.stored_runs import written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run without speed, which is quick to read."""
    root = tmp_path / "run"
    experiment = synthetic.experiment(load=None)
    written(root, experiment, synthetic.cells(load=False), artifacts=synthetic.artifacts())
    return root


def report(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=True)


def test_tables_lie_in_the_run(folder: Path) -> None:
    done = report(folder, "--csv")
    assert (done.exit_code, done.stderr) == (0, f"{len(list((folder / 'tables').iterdir()))} tables in "
                                                f"{folder / 'tables'} (columns.csv explains them)\n")
    with (folder / "tables" / "quality.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(synthetic.TASKS) * (len(synthetic.TRUTH) - 1)
    assert (folder / "comparison.md").is_file()
    assert done.stdout.strip().startswith("reference")


def test_tables_lie_where_they_are_asked_for(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    assert report(folder, "--csv", place).exit_code == 0
    assert (place / "columns.csv").is_file()
    assert not (folder / "tables").exists()
    assert not list(place.glob(".*"))


def test_a_file_in_the_folders_place_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("mine")
    done = report(folder, "--csv", place)
    assert isinstance(done.exception, StoreError)
    assert "give another folder to --csv" in str(done.exception)
    assert place.read_text() == "mine"


def test_the_card_is_all_that_is_printed(folder: Path) -> None:
    done = report(folder, "--model-card", "Q4_K_M")
    assert done.exit_code == 0
    card = ModelCard(done.stdout)
    assert card.data.to_dict()["model-index"][0]["name"] == "reference-Q4_K_M"
    assert done.stderr == ("base_model is 'reference', which is no repository of the Hugging Face hub: write "
                           "OWNER/NAME there before you publish\n")
    assert not (folder / "comparison.md").exists()


def test_card_and_tables_together(folder: Path) -> None:
    done = report(folder, "--model-card", "Q8_0", "--csv")
    assert done.exit_code == 0
    assert done.stdout.startswith("---\n")
    assert (folder / "tables" / "columns.csv").is_file()


def test_a_variant_that_is_not_there_is_a_mistake(folder: Path) -> None:
    done = report(folder, "--model-card", "Q9")
    assert isinstance(done.exception, SpecError)
    assert done.stdout == ""


def test_a_mistake_is_one_line_and_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["quantcheck", "report", str(folder), "--model-card", "Q9"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Q9" in told
    assert len(told.strip().splitlines()) == 1


def test_a_folder_without_a_run_is_a_mistake(tmp_path: Path) -> None:
    done = report(tmp_path, "--csv")
    assert isinstance(done.exception, StoreError)
    assert list(tmp_path.iterdir()) == []
