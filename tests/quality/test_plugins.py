"""Plug-ins: the worked example of examples/plugin installs and scores, and each mistake is one line that names it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.errors import SpecError
from quantcheck.quality.suites import GenerationTask, load_suites
from quantcheck.spec.quality import Quality

Offer = Callable[..., None]
EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Put a package with one entry point and its module on the path."""
    def go(module: str, code: str, point: str = "odd") -> None:
        folder = tmp_path / module
        info = folder / f"{module}-1.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[quantcheck.suites]\n{point} = {module}:suite\n")
        monkeypatch.syspath_prepend(str(folder))
    return go


def refusal(name: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_suites(Quality(suites=[name]))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_example_installs_and_its_items_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "plugin"
    copy.mkdir()
    for file in ("pyproject.toml", "quantcheck_sums.py"):
        (copy / file).write_bytes((EXAMPLE / file).read_bytes())
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path / "site"), str(copy)], check=True, capture_output=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    [task] = load_suites(Quality(suites=["sums/12"], items=30))
    assert isinstance(task, GenerationTask)
    assert (task.name, len(task.items)) == ("sums/12", 30)
    item = task.items[14]
    assert item.prompt.endswith("1 + 2 =")
    assert task.right(item, " 3\n")
    assert not task.right(item, " 4")
    assert "'sums/many'" not in refusal("sums/many")
    assert "quantcheck_sums:suite failed: ValueError" in refusal("sums/many")


def test_the_example_is_as_short_as_it_is_said_to_be() -> None:
    assert sum(len(file.read_text().splitlines()) for file in EXAMPLE.iterdir() if file.is_file()) < 60


@pytest.mark.parametrize(("code", "said"), [
    ("raise RuntimeError('no\\nluck')", "failed: RuntimeError: no luck"),
    ("def suite(name, quality): return 7", "returned int ''"),
    ("def other(): pass", "failed: AttributeError"),
    ("from quantcheck.quality.suite import Corpus\ndef suite(n, q): return Corpus('x', ('t',), None, 'd')",
     "returned Corpus 'x'"),
])
def test_a_plugin_that_fails_is_named_in_one_line(offer: Offer, code: str, said: str) -> None:
    module = f"odd_{abs(hash(code))}"
    offer(module, code)
    message = refusal("odd/one")
    assert f"odd/one: the plug-in {module}:suite {said}" in message


def test_two_plugins_of_one_name_are_refused(offer: Offer) -> None:
    offer("twin_a", "")
    offer("twin_b", "")
    assert "twin_a:suite and twin_b:suite offer the same name" in refusal("odd")


def test_what_ships_is_found_without_loading_a_plugin(offer: Offer) -> None:
    offer("grab", "raise RuntimeError", "reference")
    assert load_suites(Quality(suites=["reference/arithmetic"], items=1))[0].name == "reference/arithmetic"


def test_a_name_that_nobody_has_still_gets_a_proposal() -> None:
    assert "did you mean 'wikitext2'" in refusal("wikitxt2")
