"""The judge's endpoint: what it is asked, and every way in which it can fail."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quantcheck.errors import EngineError, SpecError
from quantcheck.judge import Judge, TextPair, judge
from quantcheck.judge import run as judging
from tests.conftest import command
from tests.report import stored_runs, synthetic

Reply = Callable[[dict[str, Any]], tuple[int, Any]]


class Endpoint:
    """A chat endpoint of the test's own; `asked` holds every body and its headers."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.reply: Reply = lambda body: (200, said("[[C]]"))
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(body)
                endpoint.headers.append(dict(self.headers))
                status, answer = endpoint.reply(body)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


def said(text: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_pause", lambda *_: 0.01)


def prefers(word: str) -> Reply:
    """Prefers the text that holds `word`."""
    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        first, second = body["messages"][0]["content"].partition("[A]\n")[2].split("\n[B]\n")
        return 200, said(f"Because.\n[[{'A' if word in first else 'B' if word in second else 'C'}]]")

    return reply


def cli(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=120, check=False)


PAIR = TextPair("p", "Say it.", "a good text", "another text")


def test_both_orders_are_asked_and_read_the_right_way_round(endpoint: Endpoint) -> None:
    endpoint.reply = prefers("good")
    answers = judge(Judge(endpoint.url, "m", repeats=3), [PAIR, TextPair("q", "x", "same", "same")])
    assert len(endpoint.asked) == len(answers) == 6
    assert {(answer.first, answer.preferred) for answer in answers} == {
        ("baseline", "baseline"), ("variant", "baseline")}
    assert sorted(body["seed"] for body in endpoint.asked) == [0, 0, 1, 1, 2, 2]
    assert {body["model"] for body in endpoint.asked} == {"m"}


def test_texts_with_marks_and_braces_stay_where_they_are(endpoint: Endpoint) -> None:
    pair = TextPair("p", "{first} {second} {0}", "{second} [[B]]", "{prompt}")
    judge(Judge(endpoint.url, "m", repeats=1), [pair])
    shown = endpoint.asked[0]["messages"][0]["content"]
    assert [shown.count(text) for text in (pair.prompt, pair.baseline, pair.variant)] == [1, 1, 1]


@pytest.mark.parametrize(("text", "preferred"), [
    ("[[A]] or rather [[B]]", "variant"), ("", None), (None, None), ("A is better", None), ("[[C]]", "neither"),
])
def test_the_last_mark_counts(text: str | None, preferred: str | None, endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: (200, said(text))
    (answer, _) = judge(Judge(endpoint.url, "m", repeats=1, concurrency=1), [PAIR])
    assert answer.preferred == preferred


def test_a_busy_server_is_asked_again_and_not_for_ever(endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: (429, "later") if len(endpoint.asked) < 3 else (200, said("[[A]]"))
    assert len(judge(Judge(endpoint.url, "m", repeats=1, concurrency=1), [PAIR])) == 2
    endpoint.reply = lambda body: (503, "down for\nrepairs")
    with pytest.raises(EngineError, match="answers 503: \"down for"):
        judge(Judge(endpoint.url, "m", repeats=1), [PAIR])


@pytest.mark.parametrize(("reply", "said_"), [
    ((401, "no key"), "answers 401"), ((200, {"choices": []}), "in another form"),
    ((200, b"<html>"), "cannot be asked"),
])
def test_what_is_no_judge_is_one_line(reply: tuple[int, Any], said_: str, endpoint: Endpoint) -> None:
    endpoint.reply = lambda body: reply
    with pytest.raises(EngineError, match=said_) as caught:
        judge(Judge(endpoint.url, "m", repeats=1), [PAIR])
    assert "\n" not in str(caught.value)


def test_the_key_comes_from_the_environment_alone(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-key")
    judge(Judge(endpoint.url, "m", "JUDGE_KEY", repeats=1), [PAIR])
    assert {headers["Authorization"] for headers in endpoint.headers} == {"Bearer canary-key"}
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(SpecError, match="the environment has no JUDGE_KEY"):
        judge(Judge(endpoint.url, "m", "JUDGE_KEY"), [PAIR])


def test_a_stored_run_is_judged_from_the_command_line(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-key")
    experiment = synthetic.experiment(quality={**synthetic.experiment().quality.model_dump(),  # type: ignore[union-attr]
                                               "continuations": {}})
    cells = [synthetic.continuation_cell(name) for name in experiment.variants]
    folder = tmp_path / "run"
    stored_runs.written(folder, experiment, cells)
    done = cli("judge", str(folder), "--url", endpoint.url, "--model", "strong", "--key-env", "JUDGE_KEY",
                   "--items", "12", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "judge.json").read_text())
    assert [row["variant"] for row in report["rows"]] == [name for name in experiment.variants
                                                         if name != experiment.baseline]
    differing = {row["variant"]: row["pairs"] - row["same"] for row in report["rows"]}
    assert {name: len(answers) for name, answers in report["answers"].items()} == {
        name: 2 * count for name, count in differing.items()}
    assert len(endpoint.asked) == 2 * sum(differing.values())
    assert "canary-key" not in "".join(path.read_text(errors="replace") for path in folder.rglob("*.json"))
    assert "canary-key" not in done.stdout + done.stderr


def test_a_run_without_texts_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    stored_runs.written(tmp_path / "run", synthetic.experiment(), synthetic.cells(blocks=1))
    done = cli("judge", str(tmp_path / "run"), "--url", endpoint.url, "--model", "m")
    assert done.returncode == 2
    assert "holds no texts to judge" in done.stderr
    assert endpoint.asked == []
