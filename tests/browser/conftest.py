"""A browser without a network, and pages of stored runs opened in it over file://."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quantcheck.report.html import render
from quantcheck.report.summary import Summary
from tests.browser.made import made

ROOT = Path(__file__).parents[2]


@dataclass
class Opened:
    """A page, what it was made from, and what went wrong in it."""

    page: Any
    summary: Summary
    address: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def show(self, state: str) -> None:
        """Go to `state` of the page's address, such as `latency?scale=log`."""
        self.page.goto(f"{self.address}#{state}")
        self.page.wait_for_selector(f"#view-{state.partition('?')[0]}")

    def pick(self, mark: Any) -> None:
        """Click a chart's mark, whatever lies over it. A chart that was out of sight takes no click before its first
        frame in sight."""
        mark.scroll_into_view_if_needed()
        self.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        mark.click(force=True)
        self.page.wait_for_selector(".picked")

    def focused(self, name: str) -> str:
        """The id of the element with the focus, once that is `name`: a key's effect may come a frame later."""
        self.page.wait_for_function("name => document.activeElement.id === name", arg=name, timeout=10_000)
        found: str = self.page.evaluate("document.activeElement.id")
        return found

    def count(self, selector: str) -> int:
        found: int = self.page.locator(selector).count()
        return found

    def intervals(self) -> int:
        """How many intervals are drawn: many may share a path."""
        found: int = self.page.evaluate(
            "[...document.querySelectorAll('.whisker')].map(one => one.getAttribute('d').match(/[VH]/g).length)"
            ".reduce((all, some) => all + some, 0)")
        return found

    def open_all(self) -> None:
        """Open whatever is closed in the view, and what that brings."""
        for _ in range(2):
            self.page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
            self.page.wait_for_timeout(100)

    @property
    def asked_for(self) -> list[str]:
        """What the page asked of anybody but itself."""
        return [url for url in self.requests if not url.startswith(("data:", self.address))]


def serious(page: Any) -> list[tuple[str, str]]:
    """What axe-core, which is in the page, finds: the rule and an element. It need not tell of what passes."""
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [(v["id"], v["nodes"][0]["html"][:120]) for v in found["violations"]
            if v["impact"] in ("serious", "critical")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Not of the session: as long as it is open an event loop runs in this thread, and nobody can start another."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed; apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """axe-core's script: of the page's own packages where they are installed, else fetched alone."""
    script = Path("node_modules/axe-core/axe.min.js")
    if (ROOT / "web" / script).is_file():
        return ROOT / "web" / script
    if shutil.which("npm") is None:
        pytest.skip("axe-core needs npm")
    folder = tmp_path_factory.mktemp("axe")
    version = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))["devDependencies"]["axe-core"]
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", f"axe-core@{version}"], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / script


@pytest.fixture
def open_run(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens a summary's page: `open_run(summary)`."""
    contexts = []

    def open_page(summary: Summary, **context: Any) -> Opened:
        file = tmp_path / "report.html"
        file.write_text(render(summary), encoding="utf-8")
        contexts.append(chromium.new_context(offline=True, **context))
        opened = Opened(contexts[-1].new_page(), summary, file.as_uri())
        opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.show("verdict")
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def stored() -> Callable[[str], Summary]:
    """The summary of a run that is kept under docs/results; `made` is one that is made up."""
    def read(name: str) -> Summary:
        if name == "made":
            return made()
        text = (ROOT / "docs" / "results" / name / "summary.json").read_text(encoding="utf-8")
        return Summary.model_validate_json(text)

    return read
