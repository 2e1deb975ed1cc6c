"""What a stranger may read: names, but not where files lie."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.report.public_names import (
    NOT_SHOWN,
    hub_repository,
    public_command,
    public_model,
    public_name,
    public_text,
)


@pytest.mark.parametrize(("name", "shown"), [
    ("Q4_K_M", "Q4_K_M"), ("reference/stories", "reference/stories"), ("gguf/Q4_K_M", "gguf/Q4_K_M"),
    ("owner/name", "owner/name"), ("hub:owner/name", "hub:owner/name"), ("shape:mistral-7b", "shape:mistral-7b"),
    ("/home/me/llama", "llama"), ("~/llama/", "llama"), ("./llama", "llama"), ("../a/llama", "llama"),
    ("models/llama", "llama"), ("a/b/llama", "llama"), ("tasks/mine.jsonl", "mine.jsonl"), ("C:\\x\\llama", "llama"),
    ("/", "n/a"), ("a\n b", "a b"),
])  # fmt: skip
def test_of_a_path_the_last_part(name: str, shown: str) -> None:
    assert public_name(name) == shown


@given(st.lists(st.from_regex(r"[\w .-]*[\w-][\w .-]*", fullmatch=True), min_size=2, max_size=5))
def test_no_folder_of_an_absolute_path_is_shown(parts: list[str]) -> None:
    shown = public_name("/" + "/".join(parts))
    assert "/" not in shown
    assert shown == " ".join(parts[-1].split())


@pytest.mark.parametrize(("name", "repository", "shown"), [
    ("owner/name", "owner/name", "owner/name"), ("hub:owner/name", "owner/name", "owner/name"),
    ("hub:owner/name/file.gguf", "owner/name", "owner/name"), ("hub:name", None, "hub:name"),
    ("/x/owner/name", None, "name"), ("models/name", None, "name"), ("a/x.gguf", None, "x.gguf"),
    ("reference", None, "reference"),
])  # fmt: skip
def test_names_of_the_hub(name: str, repository: str | None, shown: str) -> None:
    assert hub_repository(name) == repository
    assert public_model(name) == shown


def test_a_name_that_is_a_folder_here_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert public_model("mine/llama") == "mine/llama"
    (tmp_path / "mine").mkdir()
    assert public_model("mine/llama") == "llama"


@pytest.mark.parametrize("text", [
    "'/home/me/x' is not there", "log:/home/me", "see ~/x", "see ~me/x", "full log: /a b/c.log", "at ../x", "C:\\x is",
    "calib/mine.jsonl is empty", "(/tmp)",
])  # fmt: skip
def test_a_text_with_a_place_is_not_shown(text: str) -> None:
    assert public_text(text) == NOT_SHOWN


@pytest.mark.parametrize("text", [
    "247 tok/s, n/a (24 requests; p90 needs 64)", "variant / baseline", "reference/stories: ~60 more items",
    "hub:owner/name: 48 samples", "</script><img src=x>", "https://a.b/c", "I/O, 1/2",
])  # fmt: skip
def test_other_texts_are(text: str) -> None:
    assert public_text(text) == text


@pytest.mark.parametrize(("command", "shown"), [
    ("quantcheck run vllm-awq-18", "quantcheck run vllm-awq-18"),
    ("quantcheck run /home/me/x.yaml --out=/data/r --out results/y", "quantcheck run x.yaml --out=r --out y"),
    ("quantcheck run '/home/my files/x.yaml'", "quantcheck run x.yaml"),
    ("/home/me/.venv/bin/quantcheck run 'my runs/x.yaml'", "quantcheck run x.yaml"),
    ("quantcheck run 'open /home/me/secret", "quantcheck run ''\"'\"'open' secret"),
    ("quantcheck run x --set model=/a/b", "quantcheck run x --set model=b"),
])  # fmt: skip
def test_commands(command: str, shown: str) -> None:
    assert public_command(command) == shown
