"""Pictures of every view, for people: light and dark, on a desk and in the hand. They lie in `pictures/` here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.report.summary import Summary
from tests.browser.conftest import Opened

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

PICTURES = Path(__file__).parent / "pictures"
VIEWS = ["verdict", "size", "throughput", "latency", "memory", "cost?price=2", "tasks", "roofline", "run"]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["reference", "vllm-awq-18-h200", "made"])
def test_a_picture_of_every_view(name: str, scheme: str, width: int, open_run: Open, stored: Read) -> None:
    opened = open_run(stored(name), viewport={"width": width, "height": 900}, color_scheme=scheme)
    folder = PICTURES / name
    folder.mkdir(parents=True, exist_ok=True)
    backs = set()
    for view in VIEWS:
        opened.show(view)
        opened.page.wait_for_timeout(50)
        file = folder / f"{view.partition('?')[0]}-{width}-{scheme}.png"
        opened.page.screenshot(path=file, full_page=True)
        assert file.stat().st_size > 10_000
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, view
        backs.add(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert backs == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)"}
    assert opened.complaints == []
