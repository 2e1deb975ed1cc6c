"""The dashboard in a real browser, before, during and after an experiment on the fake engine."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantcheck.report.compare import compare_runs
from quantcheck.report.stored import read_run
from quantcheck.store import CellKey, Store
from tests.browser.conftest import serious
from tests.conftest import command, left_running

EXPERIMENT = """\
model: none
baseline: a
variants:
  a: {scheme: gguf/F16}
  b: {scheme: gguf/Q8_0}
engine: {kind: fake, ttft_ms: 20, itl_ms: 4}
load:
  workloads:
    short: {prompt_tokens: 8, output_tokens: 12}
  concurrency: [1, 3]
  requests: 12
  warmup_requests: 1
blocks: 3
"""
CELLS = 3 * 2 * 3
SLOW_MS = 120_000


def start(folder: Path, *args: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(command(*args), cwd=folder, text=True, env={
        **os.environ, "QUANTCHECK_CACHE": str(folder / "cache")}, **more)


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[str]:
    """Its address; it shows `results` in `tmp_path`, which is not there yet."""
    server = start(tmp_path, "dashboard", "--port", "0", "--no-open", stdout=subprocess.PIPE)
    assert server.stdout is not None
    yield server.stdout.readline().split()[1]
    server.terminate()
    assert server.wait(timeout=30) == 0
    # The browser runs on, from a folder that may be called quantcheck: only what the server started is looked for.
    assert [line for line in left_running() if "-m quantcheck" in line] == []


class Looked:
    """A page of the dashboard; what went wrong in it, and what it asked for."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW_MS)
        self.address = address
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        # Until Next.js has taken the page over it puts back an address that was changed meanwhile.
        self.page.locator(".live").wait_for()

    def show(self, state: str) -> None:
        self.page.evaluate("state => { window.location.hash = state }", state)

    def wait_for(self, expression: str) -> None:
        self.page.wait_for_function(expression)

    def close(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith((self.address, "data:"))] == []
        self.context.close()


def put_in_place(finished: Path, folder: Path) -> None:
    """All at once: a page that finds the first run alone shows that one, and stays with it."""
    shutil.copytree(finished / "results", folder / "copying")
    (folder / "copying").rename(folder / "results")


@pytest.mark.slow
def test_a_cell_appears_without_a_reload(dashboard: str, tmp_path: Path, chromium: Any, axe: Path) -> None:
    looked = Looked(chromium, dashboard, color_scheme="dark", bypass_csp=True)
    page = looked.page
    page.get_by_text("There is no run in results yet").wait_for()
    page.evaluate("window.untouched = true")
    (tmp_path / "exp.yaml").write_text(EXPERIMENT)
    run = start(tmp_path, "run", "exp.yaml", "--quiet")
    try:
        page.locator(".live option", has_text="exp: running").first.wait_for(state="attached")
        looked.wait_for(f"document.querySelectorAll('.cell').length === {CELLS}")
        page.get_by_text("now:").wait_for()
        looked.wait_for("document.querySelectorAll('.cell.stored').length >= 1")
        page.locator("#view-verdict .sentence", has_text="Not finished").wait_for()
        page.add_script_tag(path=str(axe))
        assert serious(page) == []
        looked.show("latency?run=exp&scale=log")
        page.locator("#view-latency").wait_for()
        page.get_by_role("button", name="log", exact=True).wait_for()
        page.evaluate("window.scrollTo(0, 150)")
        before = page.locator(".cell.stored").count()
        assert 0 < before < CELLS
        looked.wait_for(f"document.querySelectorAll('.cell.stored').length > {before}")
        assert run.wait(timeout=240) == 0
    finally:
        run.terminate()
        run.wait()
    looked.wait_for(f"document.querySelectorAll('.cell.stored').length === {CELLS}")
    page.locator(".live option", has_text=f"exp: finished, {CELLS} cells").wait_for(state="attached")
    assert page.url == f"{dashboard}#latency?run=exp&scale=log"
    assert page.get_by_role("button", name="log", exact=True).get_attribute("aria-pressed") == "true"
    assert page.evaluate("[window.untouched, window.scrollY]") == [True, 150]
    looked.show("verdict?run=exp")
    page.locator("#view-verdict").wait_for()
    page.locator(".sentence", has_text="Not finished").wait_for(state="detached")
    assert page.evaluate("window.untouched") is True
    looked.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: `exp`, and a copy under another name; and a folder that is none."""
    folder = tmp_path_factory.mktemp("finished")
    short = EXPERIMENT.replace("blocks: 3", "blocks: 2").replace("requests: 12", "requests: 4")
    (folder / "exp.yaml").write_text(short)
    assert start(folder, "run", "exp.yaml", "--quiet").wait(timeout=240) == 0
    shutil.copytree(folder / "results/exp", folder / "results/copy")
    file = folder / "results/copy/summary.json"
    file.write_text(file.read_text().replace('"name": "exp"', '"name": "the copy"', 1))
    (folder / "results/foreign").mkdir()
    (folder / "results/foreign/experiment.json").write_text("{}")
    return folder


@pytest.mark.slow
def test_runs_are_picked_and_held_against_each_other(
    finished: Path, tmp_path: Path, dashboard: str, chromium: Any, axe: Path
) -> None:
    put_in_place(finished, tmp_path)
    looked = Looked(chromium, dashboard, viewport={"width": 390, "height": 900}, bypass_csp=True)
    page = looked.page
    picker = page.get_by_label("Run", exact=True)
    looked.wait_for("document.querySelectorAll('.live option').length === 3")
    for name, title in (("exp", "exp"), ("copy", "the copy")):
        picker.select_option(name)
        page.locator("h1", has_text=title).wait_for()
        assert f"run={name}" in page.url
    picker.select_option("foreign")
    page.get_by_text("holds no experiment that this version reads").wait_for()
    page.go_back()
    page.locator("h1", has_text="the copy").wait_for()

    page.get_by_role("tab", name="Latency").click()
    for _ in range(3):
        page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
        page.wait_for_timeout(100)
    link = page.locator("a[href^='record?']").first
    record = page.evaluate("address => fetch(address).then(answer => answer.json())", link.get_attribute("href"))
    assert CellKey(**record["key"]).id == link.text_content()

    page.get_by_role("tab", name="A against B").click()
    page.locator("#view-against table").first.wait_for()
    runs = [read_run(Store(tmp_path / "results" / name)) for name in ("copy", "exp")]
    found = compare_runs(*runs)
    verdicts = page.locator("#view-against table.wide tbody tr")
    assert verdicts.count() == len(found.variants)
    for one, told in zip(found.variants, verdicts.all_inner_texts(), strict=True):
        assert one.speed is not None
        assert str(one.speed.word) in told
    throughput = [row for one in found.variants for row in one.loads if row.metric == "output_throughput"]
    assert page.locator("#view-against table").last.locator("tbody tr").count() == len(throughput)
    page.add_script_tag(path=str(axe))
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("variant of A").select_option("a")
    page.get_by_label("variant of B").select_option("b")
    looked.wait_for("document.querySelectorAll('#view-against table.wide tbody tr').length === 1")
    assert verdicts.inner_text().startswith("b / a")
    looked.close()


@pytest.mark.slow
def test_the_policy_lets_the_page_and_nothing_else_run(
    finished: Path, tmp_path: Path, dashboard: str, chromium: Any
) -> None:
    put_in_place(finished, tmp_path)
    looked = Looked(chromium, dashboard)
    page = looked.page
    page.wait_for_url(re.compile("run=(exp|copy)$"))  # not the foreign one, which changed last
    for view in ("verdict", "throughput", "tasks", "run", "against"):
        looked.show(f"{view}?run=exp")
        page.locator(f"#view-{view}").wait_for()
    assert looked.complaints == []
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.foreign = true";
        document.body.append(script);
    }""")
    assert page.evaluate("window.foreign") is None
    assert "Content Security Policy" in looked.complaints.pop()
    looked.close()
