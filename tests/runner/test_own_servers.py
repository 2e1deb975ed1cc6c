"""Servers that run already, as a user runs it: the fake server stands in for speed, a scripted one for quality."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import quantcheck
from quantcheck import EngineError, Experiment, SpecError, reference
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.quality.divergence import kl_divergence
from quantcheck.quality.job import encode
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.report.markdown import escape
from quantcheck.runner.estimate import estimate
from quantcheck.store import Store
from tests.conftest import left_running
from tests.engines.completions import rows_of
from tests.engines.endpoints import EndpointServer

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
    assert "paired by round over the servers" in report
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
    again = quantcheck.run(experiment(servers, "a", engine={"api_key_env": "THE_KEY", "top_logprobs": 2},
                                      **small), tmp_path / "out")
    assert again.measured == 0
    assert "s3cret" not in json.dumps(again.summary.model_dump(mode="json"))
    assert all("quantcheck.engines.fake" in line for line in left_running()), "the servers, which are not ours to end"


CORPUS, TASK, CHOICE = "reference/stories", "reference/format", "reference/knowledge"
QUALITY = {"suites": [CORPUS, TASK, CHOICE], "items": 4, "tokens": 150, "context": 64, "stride": 32,
           "continuations": {"items": 3, "max_tokens": 9}}
WORDS = FolderTokenizer(reference.model_dir())


def scripted(damage: float, **options: Any) -> EndpointServer:
    row = rows_of(4096, damage)

    def rows(tokens: Sequence[int]) -> NDArray[np.float64]:
        return np.stack([row(int(token)) for token in tokens])

    return EndpointServer(rows, WORDS.spellings(), text=WORDS.decode, **options)


def scored(servers: dict[str, EndpointServer], **changes: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "e", "model": "thing", "baseline": "a", "quality": QUALITY, "noise_floor": False,
        "engine": {"kind": "openai", "tokenizer": str(reference.model_dir()), "concurrency": 4, "top_logprobs": 8},
        "variants": {name: {"url": server.url + "/v1", "model": "m"} for name, server in servers.items()}, **changes})


def test_quality_comes_through_echo(tmp_path: Path) -> None:
    with scripted(0.0, ids=False) as a, scripted(0.5, ids=False) as b:
        outcome = quantcheck.run(scored({"a": a, "b": b}, noise_floor=True), tmp_path / "out")
    assert (outcome.measured, outcome.problems) == (12, [])
    found = {(cell.key.variant, cell.key.subject): cell.record for cell in Store(tmp_path / "out").cells()}

    plan = scored({"a": a, "b": b}).quality
    assert plan is not None
    corpus = load_suites(plan)[0]
    assert isinstance(corpus, Corpus)
    work = encode(corpus, WORDS, plan)
    exact: dict[str, list[Any]] = {"a": [], "b": []}
    for name, server in (("a", a), ("b", b)):
        for window in work.windows:
            rows = server.rows(window.tokens.tolist())[:-1][-window.scored:]
            exact[name].append((rows, rows[np.arange(window.scored), window.tokens[-window.scored:]]))
    for name, parts in exact.items():
        nll = -np.concatenate([own for _, own in parts]).mean()
        assert found[name, CORPUS]["result"]["nll_mean"] == pytest.approx(nll, rel=1e-6)
    full, _ = kl_divergence(*(np.concatenate([rows for rows, _ in exact[name]]) for name in ("a", "b")))
    result = found["b", CORPUS]["result"]
    assert (result["kl_kind"], result["kl_top"]) == ("top-k lower bound", 8)
    assert 0 < result["kl_divergence"] < full.mean()
    assert found["a@again", CORPUS]["result"]["kl_divergence"] == pytest.approx(0, abs=1e-5)
    assert result["prompts_sha256"] == work.sha256
    engine = found["b", TASK]["engine"]
    assert (engine["kind"], engine["top_k"], engine["concurrency"]) == ("openai", 8, 4)
    assert engine["software"].startswith("BaseHTTP")
    assert found["a@again", TASK]["engine"]["concurrency"] == 1
    assert "KL (lower bound, top 8)" in (tmp_path / "out" / "comparison.md").read_text()
    assert left_running() == []


def test_a_server_that_cannot_be_trusted_costs_its_variant_only(tmp_path: Path) -> None:
    with scripted(0.0) as a, scripted(0.5, fault="ignores echo") as b:
        outcome = quantcheck.run(scored({"a": a, "b": b}, quality={"suites": [TASK], "items": 2}), tmp_path / "out")
        (problem,) = outcome.problems
        assert problem["variant"] == "b"
        assert "ignores echo" in problem["reason"]
        assert "speed can be measured" in problem["reason"]
        with pytest.raises(EngineError, match="ignores echo"):
            quantcheck.run(scored({"a": b, "b": a}, quality={"suites": [TASK], "items": 2}), tmp_path / "other")


def test_what_does_not_fit_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with scripted(0.0) as a, pytest.raises(SpecError, match=r"quality\.context: 64 is too large: a holds 40 .*39"):
        quantcheck.run(scored({"a": a}, engine={"kind": "openai", "tokenizer": str(reference.model_dir()),
                                                "context": 40}), tmp_path / "out")
    assert a.bodies == []
