"""The server: what it shows, to whom, and that it changes nothing."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest

from quantcheck.dashboard import figures
from quantcheck.dashboard.job import answer
from quantcheck.dashboard.server import HEADERS, Dashboard, serve
from quantcheck.errors import QuantcheckError, SpecError
from quantcheck.report.comparison import RunComparison
from quantcheck.report.summary import Summary
from quantcheck.store import Store
from tests.conftest import left_running
from tests.dashboard.conftest import CELLS, store_cell

ALL = ["again", "broken", "deep/whole", "foreign", "half", "whole"]
PATHS = ["/", "/events", "/summary?run=whole", "/comparison?a=whole&b=again"]


class Client:
    """Sends requests as they are, and reads what comes."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._session = session

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
        url = aiohttp.client.URL(self.address.rstrip("/") + path, encoded=True)
        async with self._session.request(method, url, headers={k.replace("_", "-"): v for k, v in headers.items()},
                                         allow_redirects=False) as found:
            endless = found.content_type == "text/event-stream"
            body = (await found.content.readuntil(b"\n\n")) if endless else await found.read()
            return found.status, body.decode(), found.headers

    @asynccontextmanager
    async def events(self, query: str = "") -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
        async with self._session.get(f"{self.address}events{query}") as found:
            async def following(event: str = "message") -> dict[str, Any]:
                named = ""
                while True:
                    line = (await asyncio.wait_for(found.content.readline(), 60)).decode()
                    assert line, "the stream ended"
                    if line.startswith("event: "):
                        named = line[7:].strip()
                    elif line.startswith("data: ") and named == event:
                        told: dict[str, Any] = json.loads(line[6:])
                        return told

            yield following


async def in_this_process(request: str) -> tuple[bool, bytes]:
    """What a child would answer, without waiting for its imports."""
    try:
        return True, (await asyncio.to_thread(answer, json.loads(request))).encode()
    except QuantcheckError as error:
        return False, json.dumps({"reason": str(error)}).encode()


def serving(folder: Path, test: Callable[[Client], Awaitable[None]], *, children: bool = False) -> None:
    """`children`: documents are made as in earnest, each in a process of its own."""
    async def body() -> None:
        with nullcontext() if children else patch.object(figures, "_child", in_this_process):
            await served()

    async def served() -> None:
        async with Dashboard([folder], 0) as dashboard, aiohttp.ClientSession() as session:
            client = Client(dashboard.address, session)
            async with client.events() as following:
                while not (await following())["searched"]:
                    pass
            await test(client)

    asyncio.run(body())
    assert left_running() == []


def test_the_page_and_its_documents(results: Path) -> None:
    async def test(client: Client) -> None:
        status, page, _ = await client.get("/")
        assert status == 200
        assert '<script type="application/json" id="live">{}</script>' in page
        for name in ("whole", "half", "deep%2Fwhole"):
            status, text, _ = await client.get(f"/summary?run={name}")
            assert (status, Summary.model_validate_json(text).experiment.name) == (200, "reference")
        status, text, _ = await client.get("/comparison?a=whole&b=again")
        assert status == 200
        assert [row.a for row in RunComparison.model_validate_json(text).variants] == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
        status, text, _ = await client.get("/comparison?a=whole&b=again&of=nonesuch")
        assert (status, "has no variant 'nonesuch'" in json.loads(text)["reason"]) == (422, True)

    serving(results, test)


def test_raw_records_are_named_by_run_and_cell(results: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary")
    (results / "whole/cells/odd").mkdir()
    (results / "whole/cells/odd/cell.json").symlink_to(tmp_path / "secret.txt")
    cell = sorted(path.name for path in (results / "half/cells").iterdir())[0]

    async def test(client: Client) -> None:
        status, text, _ = await client.get(f"/record?run=half&cell={cell}")
        assert (status, text) == (200, (results / "half/cells" / cell / "cell.json").read_text())
        for name in ("", ".", "..", "../../whole", f"{cell}/../{cell}", "/etc", "%2e%2e", "odd", "nonesuch", "%00"):
            for run in ("half", "whole"):
                status, text, _ = await client.get(f"/record?run={run}&cell={name}")
                assert (status, list(json.loads(text))) == (404, ["reason"]), (run, name)

    serving(results, test)


def test_broken_folders_are_listed_with_the_reason_and_harm_nobody(results: Path) -> None:
    async def test(client: Client) -> None:
        async with client.events() as following:
            runs = {run["name"]: run for run in (await following())["runs"]}
        assert sorted(runs) == ALL
        assert "experiment.json: cannot be read" in runs["broken"]["reason"]
        assert "holds no experiment that this version reads" in runs["foreign"]["reason"]
        assert all(runs[name]["reason"] is None for name in ALL if name not in ("broken", "foreign"))
        status, text, _ = await client.get("/summary?run=broken")
        assert (status, "cannot be read" in json.loads(text)["reason"]) == (422, True)

    serving(results, test)


def test_a_new_cell_is_told_and_then_its_figures(results: Path) -> None:
    async def test(client: Client) -> None:
        async with client.events("?run=half") as following:
            told = await following()
            while told["run"]["figures"] is None:
                told = await following()
            before = told["run"]["figures"]
            new = next(k for k, cell in enumerate(CELLS) if cell.record["key"]["block"] == 1)
            key = store_cell(Store(results / "half"), new)
            stored: list[Any] = []
            while len(stored) != 11:
                stored = [cell[:3] for cell in (await following("cells"))["cells"] if cell[3] is not None]
            assert [key.variant, key.subject, key.block] in stored
            while told["run"]["figures"] == before:
                told = await following()
        _, text, headers = await client.get("/summary?run=half")
        assert headers["ETag"] == f'"{told["run"]["figures"]}"'
        cells = Summary.model_validate_json(text).cells
        assert cells is not None
        assert (cells.stored, cells.planned) == (11, 20)

    serving(results, test, children=True)


def test_a_run_that_starts_later_appears(tmp_path: Path, results: Path) -> None:
    empty = tmp_path / "later"

    async def test(client: Client) -> None:
        async with client.events() as following:
            assert (await following())["runs"] == []
            (results / "whole").rename(tmp_path / "moved")
            empty.mkdir()
            (tmp_path / "moved").rename(empty / "whole")
            assert [run["name"] for run in (await following())["runs"]] == ["whole"]

    serving(empty, test)


def test_only_this_machines_own_names_are_answered(results: Path) -> None:
    async def test(client: Client) -> None:
        for path in PATHS:
            await only_own(client, path)

    async def only_own(client: Client, path: str) -> None:
        port = client.address.rstrip("/").rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
            assert (await client.get(path, Host=host))[0] == 200, host
        foreign = ["evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1", "localhost:1",
                   "", f"localhost:{port}.evil.example", f"127.0.0.1:{port}@evil.example", f"0.0.0.0:{port}"]
        for host in foreign:
            status, text, _ = await client.get(path, Host=host)
            assert (status, list(json.loads(text))) == (403, ["reason"]), host

    serving(results, test)


def test_other_sites_pages_get_nothing(results: Path) -> None:
    async def test(client: Client) -> None:
        for path in PATHS[1:]:
            for site in ("cross-site", "same-site"):
                assert (await client.get(path, Sec_Fetch_Site=site))[0] == 403
            assert (await client.get(path, Sec_Fetch_Site="same-origin"))[0] == 200
        for path in PATHS:
            status, _, headers = await client.get(path, Origin="http://evil.example")
            assert (status, [name for name in headers if name.lower().startswith("access-control")]) == (200, [])

    serving(results, test)


def test_it_only_shows(results: Path) -> None:
    async def test(client: Client) -> None:
        for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            for path in (*PATHS, "/other"):
                status, _, headers = await client.get(path, method)
                assert (status, headers.get("Allow")) == (405, "GET")

    serving(results, test)


def test_no_path_leads_out_of_the_list(results: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary")
    inside = [str(results / "whole"), "./whole", "whole/", "whole/.", "deep/../whole", "../results/whole", "/etc",
              "..", "", "whole%00", "%2e%2e%2fsecret.txt", "..%5Csecret.txt", "whole/cells"]
    plain = ["/../secret.txt", "/%2e%2e/secret.txt", "//etc/passwd", "/summary/../../secret.txt", "/experiment.json",
             "/whole/experiment.json", "/_next/static/x.js", "/favicon.ico", f"/{tmp_path}/secret.txt"]

    async def test(client: Client) -> None:
        named = [f"/{what}{name}" for what in ("summary?run=", "comparison?a=whole&b=") for name in inside]
        for path in [*named, *plain]:
            status, text, _ = await client.get(path)
            assert (status, list(json.loads(text))) == (404, ["reason"]), path
        async with client.events(f"?run={inside[0]}") as following:
            assert (await following())["run"] is None

    serving(results, test)


def test_every_answer_carries_the_headers(results: Path) -> None:
    async def test(client: Client) -> None:
        answers = [await client.get(path) for path in (*PATHS, "/other", "/summary?run=broken")]
        answers += [await client.get("/", Host="evil.example"), await client.get("/", "POST")]
        for _, _, headers in answers:
            assert {name: headers[name] for name in HEADERS} == HEADERS
            assert "'none'" in headers["Content-Security-Policy"]
        policy = dict(rule.split(" ", 1) for rule in answers[0][2]["Content-Security-Policy"].split("; "))
        assert re.fullmatch(r"('sha256-[A-Za-z0-9+/]{43}=' ?)+", policy["script-src"])
        assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")

    serving(results, test)


def test_no_key_of_the_environment_is_in_an_answer(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "sk-canary-7d1f0b"
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "QUANTCHECK_KEY"):
        monkeypatch.setenv(name, canary)

    async def test(client: Client) -> None:
        for path in (*PATHS, "/other", "/summary?run=broken", "/comparison?a=whole&b=half"):
            _, text, headers = await client.get(path)
            assert canary not in text + str(headers)
        async with client.events("?run=half") as following:
            assert canary not in json.dumps(await following())

    serving(results, test, children=True)


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file and folder with its bytes' hash and its time."""
    return {str(path.relative_to(folder)): (sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
                                            path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_nothing_in_the_folders_is_changed(results: Path) -> None:
    before = tree(results)

    async def test(client: Client) -> None:
        for path in (*PATHS, "/summary?run=half", "/summary?run=broken", "/comparison?a=whole&b=half"):
            await client.get(path)
        async with client.events("?run=half") as following:
            await following()

    serving(results, test)
    assert tree(results) == before


def test_a_watch_that_fails_ends_the_server(results: Path) -> None:
    async def body() -> None:
        with patch("quantcheck.dashboard.watch.find_runs", side_effect=ZeroDivisionError):
            await serve([results], 0, lambda _address: None)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(asyncio.wait_for(body(), 60))


def test_a_port_in_use_is_a_mistake_to_mend(results: Path) -> None:
    async def test(client: Client) -> None:
        port = int(client.address.rstrip("/").rpartition(":")[2])
        with pytest.raises(SpecError, match=f"port {port} is in use; give another one with --port"):
            async with Dashboard([results], port):
                pass

    serving(results, test)
