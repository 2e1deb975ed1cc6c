"""Speed of servers that run already, as a user runs it: the fake server stands in for them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quantcheck
from quantcheck import EngineError, Experiment, SpecError, reference
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from quantcheck.report.markdown import escape
from quantcheck.runner.estimate import estimate
from quantcheck.store import Store
from tests.conftest import left_running

LOAD = {"workloads": {"w": {"prompt_tokens": 12, "output_tokens": 4}}, "concurrency": [2], "requests": 6,
        "warmup_requests": 1}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, FakeServer]]:
    """Three that run: a, b, and one that takes no token ids."""
    with (FakeServer(Script(model="m", ttft_s=0.004, itl_s=0.001), log=tmp_path / "a.log") as a,
          FakeServer(Script(model="m", ttft_s=0.002, itl_s=0.001), log=tmp_path / "b.log") as b,
          FakeServer(Script(model="m", ttft_s=0.002, itl_s=0.001, reject_ids=True), log=tmp_path / "t.log") as texts):
        yield {"a": a, "b": b, "texts": texts}


def experiment(servers: dict[str, FakeServer], *names: str, **changes: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "e", "model": "thing", "baseline": names[0], "blocks": 2, "load": LOAD,
        "engine": {"kind": "openai", "tokenizer": str(reference.model_dir()), **changes.pop("engine", {})},
        "variants": {name: {"url": servers[name].endpoint.base_url + "/v1", "model": "m"} for name in names},
        **changes,
    })


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))


def test_rounds_over_servers_that_keep_running(
    tmp_path: Path, servers: dict[str, FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret")
    out = tmp_path / "out"
    plan = experiment(servers, "a", "b", engine={"api_key_env": "THE_KEY"})
    running = {server.pid for server in servers.values()}
    outcome = quantcheck.run(plan, out)
    assert (outcome.measured, outcome.problems) == (6, [])
    assert {server.pid for server in servers.values()} == running
    for server in servers.values():
        server.check()  # none was ended

    cells = sorted(Store(out).cells(), key=lambda cell: float(cell.record["started_at"]))
    assert [(cell.key.variant, cell.key.block) for cell in cells] == [
        ("a", 0), ("b", 0), ("a@again", 0), ("a@again", 1), ("b", 1), ("a", 1)]
    for cell in cells:
        result = cell.record["result"]
        assert result["outcomes"] == {"ok": 6}
        assert (result["ready_s"], result["memory"]) == (None, {})
        assert result["engine"]["served"]["id"] == "m"
        assert result["prompt_tokens"] == 6 * 12, "token ids, of a known number"
    report = (out / "comparison.md").read_text()
    assert "blocks are rounds over them in reversed order" in report
    assert "neither its files nor its memory are seen" in report
    assert escape(f"you: m at {servers['b'].endpoint.base_url}/v1") in report
    assert "roofline: your own servers" in report
    kept = [file for file in out.rglob("*") if file.is_file() and b"s3cret" in file.read_bytes()]
    assert kept == []
    assert any("rounds over servers that keep running (2 blocks)" in line
               for line in estimate(plan, Store(out), allow_probe=False).lines())


def test_a_server_that_takes_no_ids_gets_text_and_is_not_compared_with_one_that_does(
    tmp_path: Path, servers: dict[str, FakeServer]
) -> None:
    outcome = quantcheck.run(experiment(servers, "a", "texts", noise_floor=False), tmp_path / "out")
    assert outcome.problems == []
    words = {row.variant: row.word for row in outcome.summary.speed if row.metric == "output_throughput"}
    assert words["texts"] == "not comparable"
    alike = quantcheck.run(experiment(servers, "a", "texts", noise_floor=False, engine={"tokenizer": None}),
                           tmp_path / "alike")
    assert {row.word for row in alike.summary.speed if row.variant == "texts"} <= {
        "faster", "slower", "no detectable difference", "inconclusive"}


def test_one_that_is_gone_costs_its_variant_only(tmp_path: Path, servers: dict[str, FakeServer]) -> None:
    plan = experiment(servers, "a", "b", noise_floor=False, blocks=1)
    servers["b"].stop()
    outcome = quantcheck.run(plan, tmp_path / "out")
    (problem,) = outcome.problems
    assert problem["variant"] == "b"
    assert "/v1/models: does not answer" in problem["reason"]
    assert "start the server" in problem["reason"]
    assert outcome.measured == 1
    with pytest.raises(EngineError, match="does not answer"):
        quantcheck.run(experiment(servers, "b", "a", blocks=1), tmp_path / "other")


@pytest.mark.parametrize(("engine", "model", "message"), [
    ({"api_key_env": "NO_SUCH_KEY"}, "m", "the environment variable NO_SUCH_KEY is not set"),
    ({}, "other", r"has no model 'other' \(it has m\); check `model:`"),
    ({"tokenizer": "no/folder"}, "m", "no/folder is no folder"),
])
def test_a_mistake_is_told_before_anything_is_measured(
    tmp_path: Path, servers: dict[str, FakeServer], engine: dict[str, Any], model: str, message: str
) -> None:
    plan = experiment(servers, "a", engine=engine)
    variants = {"a": plan.variants["a"].model_copy(update={"model": model})}
    with pytest.raises(SpecError, match=message) as caught:
        quantcheck.run(plan.model_copy(update={"variants": variants}), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(Store(tmp_path / "out").cells()) == []


def test_the_variable_of_the_key_changes_no_cell(tmp_path: Path, servers: dict[str, FakeServer],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret")
    small = {"noise_floor": False, "blocks": 1}
    quantcheck.run(experiment(servers, "a", **small), tmp_path / "out")
    again = quantcheck.run(experiment(servers, "a", engine={"api_key_env": "THE_KEY"}, **small), tmp_path / "out")
    assert again.measured == 0
    assert "s3cret" not in json.dumps(again.summary.model_dump(mode="json"))
    assert all("quantcheck.engines.fake" in line for line in left_running()), "the servers, which are not ours to end"
