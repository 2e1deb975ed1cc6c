"""Every anti-pattern both ways: told where it holds, silent where it does not."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantcheck.report import markdown, terminal
from quantcheck.report.summary import Summary, WarningRow
from quantcheck.report.view import build_summary
from quantcheck.report.warnings import PATTERNS
from quantcheck.spec.experiment import Experiment
from tests.report import synthetic
from tests.report.synthetic import FakeCell

DOCS = Path(__file__).parents[2] / "docs"


class Run:
    """The quiet synthetic run; a case changes a part of it."""

    def __init__(self) -> None:
        self.cells: list[FakeCell] = synthetic.cells()
        self.changes: dict[str, Any] = {}
        self.artifacts = synthetic.artifacts()
        self.overlaps: list[dict[str, Any]] = []
        self.finished = True
        self.environment = dict(synthetic.ENVIRONMENT)

    def warnings(self) -> list[WarningRow]:
        return self.summary().warnings

    def summary(self) -> Summary:
        experiment: Experiment = synthetic.experiment(**self.changes)
        return build_summary(experiment, self.cells, self.artifacts, self.environment, [],
                             overlaps=self.overlaps, finished=self.finished)

    def load(self, **changes: Any) -> None:
        given = {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8]}
        self.changes["load"] = given | changes

    def of(self, kind: str, variant: str | None = None) -> list[FakeCell]:
        return [cell for cell in self.cells if cell.record["key"]["kind"] == kind
                and variant in (None, cell.record["key"]["variant"])]

    def gpu(self, variant: str, load: str, block: int) -> dict[str, Any]:
        """The first GPU in the telemetry of one window, all of whose windows are then on a GPU."""
        if "telemetry" not in self.of("load")[0].record:
            synthetic.on_gpu(self.cells)
        (cell,) = [c for c in self.of("load", variant) if (c.record["key"]["subject"], c.record["key"]["block"])
                   == (load, block)]
        found: dict[str, Any] = cell.record["telemetry"]["gpu"]["gpus"][0]
        return found


def unfinished(run: Run) -> None:
    run.cells, run.finished = run.of("quality") + run.of("load")[:3], False


def client_limited(run: Run) -> None:
    run.of("load", "Q8_0")[0].record["result"]["client"] = {"limited": ["schedule lag p99 12 ms"]}


def failed_requests(run: Run) -> None:
    run.cells.append(synthetic.load_cell("Q8_0", "short@c8", 0, failed=7))


def baseline_moved(run: Run) -> None:
    for cell in run.of("load", synthetic.AGAIN):
        cell.record["result"]["metrics"]["output_throughput"] *= 3


def clocks_moved(run: Run, high: float = 3_000.0) -> None:
    for at, cell in enumerate(run.of("load")):
        cell.record["telemetry"] = {"cpu_mhz": {"low": 1.0, "median": high if at == 3 else 2_500.0, "high": 9e9}}


def sm_clock(run: Run, slow: float = 1_500.0) -> None:
    run.gpu("Q8_0", "short@c8", 1)["sm_mhz"]["median"] = slow


def gpu_reserves(run: Run) -> None:
    """Weights on a GPU are not in the resident memory that stays as it is."""
    peak_memory(run)
    synthetic.on_gpu(run.cells)


def gpu_heat(run: Run, above: float = 20.0) -> None:
    run.gpu("Q8_0", "short@c8", 1)["temperature_c"]["median"] = 55.0 + above


def gpu_throttled(run: Run, share: float = 0.4, reason: str = "power cap") -> None:
    run.gpu("Q8_0", "short@c8", 1)["throttle"] = {reason: share}


def foreign_process(run: Run, count: int = 2) -> None:
    run.gpu("Q8_0", "short@c8", 1)
    run.of("load", "Q8_0")[3].record["telemetry"]["gpu"] |= {"foreign_processes": count, "foreign_bytes": 3 * 10**9}


def unpriced_gpus(run: Run, **counted: int) -> None:
    run.gpu("Q8_0", "short@c8", 1)
    gpu = run.of("load", "Q8_0")[3].record["telemetry"]["gpu"]
    gpu["gpus"] = [gpu["gpus"][0], {**gpu["gpus"][0], "index": 1}]
    run.changes["policy"] = {"price": {"gpu_hour_usd": 3.5, "gpus": counted}}


def server_differs(run: Run, difference: str | None = "the server counts 1,280 generated tokens, the client 1,281",
                   preemptions: int | None = 0) -> None:
    run.of("load", "Q8_0")[3].record["result"]["server"] = {
        "differences": [difference] if difference else [], "preemptions": preemptions}


def other_client(run: Run) -> None:
    for cell in run.of("load"):
        cell.record["result"] |= {"measured_by": "guidellm", "client": {"version": "0.8.1", "limited": []}}


def few_blocks(run: Run) -> None:
    run.cells, run.changes["blocks"] = synthetic.cells(blocks=2), 2


def portable_build(run: Run, build: str = "wheel") -> None:
    run.environment["cpu_flags"] = ["avx2", "fma", "avx512f", "avx512_vnni"]
    run.changes["engine"] = {"kind": "llama.cpp", "build": build}


def no_warmup(run: Run) -> None:
    run.load(warmup_requests=0)


def one_load(run: Run) -> None:
    run.load(concurrency=[8])
    run.cells = [cell for cell in run.cells if cell.record["key"]["subject"] != "short@c1"]


def prefix_cache(run: Run, cached: int = 100, **workload: Any) -> None:
    run.load(workloads={"short": {"prompt_tokens": 32, "output_tokens": 32, **workload}})
    for cell in run.of("load"):
        cell.record["result"] |= {"prompt_tokens": 1_280, "token_counts": {"prompt_cached": cached}}


def same_prompts(run: Run, cached: int | None = None) -> None:
    prefix_cache(run, 0)
    run.changes["engine"] = {"kind": "openai"}
    run.changes["variants"] = {name: {"url": "http://127.0.0.1:1/v1", "model": name}
                               for name in synthetic.experiment().variants}
    run.changes["quality"] = None
    run.cells = run.of("load")
    for cell in run.cells:
        cell.record["result"]["token_counts"] = {"prompt_cached": cached}


def calibration_overlap(run: Run, found: int = 40) -> None:
    run.overlaps = [{"calibration": "cal.txt", "suite": "reference/arithmetic", "unit": "items", "of": 1_500,
                     "judged": 1_400, "found": found, "share": found / 10_000}]


def unlike_sizes(run: Run, count: int = 6_000_000) -> None:
    for name, recipe in run.artifacts.items():
        recipe["parameters"] = count if name == "Q2_K" else 7_344_384


def one_benchmark(run: Run) -> None:
    run.cells = [cell for cell in run.cells
                 if cell.record["key"]["kind"] == "load" or cell.record["key"]["subject"] == "reference/arithmetic"]
    run.changes["quality"] = {"suites": ["reference/arithmetic"]}


def harmed_text(run: Run) -> None:
    for cell in run.of("quality", "Q8_0"):
        if cell.record["key"]["subject"] == "reference/stories":
            cell.tables["tokens"]["nll"] += 0.02


def too_few_items(run: Run) -> None:
    run.cells = run.of("load") + [synthetic.task_cell(name, task, items=250) for name in ("F16", "Q8_0", "Q4_K_M")
                                  for task in synthetic.TASKS]
    run.changes |= {"variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q8_0", "Q4_K_M")},
                    "quality": {"suites": list(synthetic.TASKS)}}


def greedy_only(run: Run) -> None:
    for cell in run.of("quality"):
        if cell.record["key"]["subject"] == "reference/arithmetic":
            cell.record["result"]["answers"] = "written"


def peak_memory(run: Run, reserved: float = 60e9) -> None:
    for cell in run.of("load"):
        memory = cell.record["result"]["memory"]
        memory["weights_bytes"] *= 2_000
        memory["rss_bytes"] = memory["pss_bytes"] = memory["weights_bytes"] + 1e9 if reserved == 0 else reserved


def unlike_options(run: Run) -> None:
    variants = synthetic.experiment().variants
    run.changes["engine"] = {"kind": "vllm", "args": {"max-num-seqs": 256}}
    run.changes["variants"] = {name: {"args": {"max-num-seqs": 64} if name == "Q8_0" else {}} for name in variants}


CASES: dict[str, tuple[Callable[[Run], None], str]] = {
    "unfinished": (unfinished, "33 of 80 cells are stored: the run was interrupted"),
    "client_limited": (client_limited, "Q8_0, short@c1, block 1 is left out, invalid (client-limited): schedule lag"),
    "failed_requests": (failed_requests, "Q8_0 at short@c8: 7 of 200 requests failed"),
    "baseline_moved": (baseline_moved, "the baseline measured again came out faster than itself"),
    "clocks_moved": (clocks_moved, "the CPU's clock moved between 2,500 and 3,000 MHz at short@c8"),
    "gpu_heat": (gpu_heat, "the GPU at short@c8 was at 55 degrees C for F16 (block 1) and at 75 for Q8_0 (block 2)"),
    "gpu_throttled": (gpu_throttled, "Q8_0 at short@c8: the GPU's clocks were held back in 40% of the samples (power"),
    "foreign_process": (foreign_process, "Q8_0 (block 2) at short@c8: 2 processes not of the engine, with 3.0 GB of "
                                         "its memory, were on its GPU"),
    "unpriced_gpus": (unpriced_gpus, "Q8_0 ran on 2 GPUs, and its cost counts 1"),
    "server_differs": (server_differs, "Q8_0 (block 2) at short@c8: the server counts 1,280 generated tokens"),
    "preemptions": (lambda run: server_differs(run, None, 3),
                    "Q8_0 (block 2) at short@c8: the engine took the KV cache from 3 running requests"),
    "other_client": (other_client, "speed was measured by GuideLLM 0.8.1"),
    "few_blocks": (few_blocks, "fewer than 3 blocks"),
    "portable_build": (portable_build, "knows AVX2 and not this processor's avx512f, avx512_vnni: compiled for it"),
    "no_warmup": (no_warmup, "no request warms the engine up"),
    "one_load": (one_load, "speed was measured at 8 streams only"),
    "prefix_cache": (prefix_cache, "8% of the random prompts' tokens at short@c1 came from a prefix cache"),
    "same_prompts": (same_prompts, "F16@again is sent the prompts of F16 again, to the same running server"),
    "calibration_overlap": (calibration_overlap, "arithmetic overlaps the calibration text cal.txt: 40 of 1400 items"),
    "unlike_options": (unlike_options, "Q8_0 was served with other options than the baseline, max-num-seqs 64 (F16"),
    "unlike_sizes": (unlike_sizes, "Q2_K has 6.0 million weights, F16 7.3"),
    "one_benchmark": (one_benchmark, "rest on one benchmark, reference/arithmetic"),
    "too_few_items": (too_few_items, "has 250 items for Q4_K_M, a margin of 1 pp takes about"),
    "harmed_text": (harmed_text, "Q8_0 is safe on every task and harmed on the text stories: perplexity 1.02"),
    "greedy_only": (greedy_only, "written answers (arithmetic) are greedy only"),
    "peak_memory": (peak_memory, "Q8_0's weights are 14.38 GB smaller, its resident memory only 0.00 GB"),
}


def test_a_quiet_run_is_warned_of_nothing() -> None:
    assert Run().warnings() == []


def test_every_pattern_is_tested_and_documented() -> None:
    keys = [pattern.key for pattern in PATTERNS]
    assert set(CASES) == set(keys)
    page = (DOCS / "methodology.md").read_text(encoding="utf-8")
    assert all(f"| `{key}` |" in page for key in keys)


@pytest.mark.parametrize("key", CASES)
def test_told_where_it_holds_and_alone(key: str) -> None:
    change, text = CASES[key]
    run = Run()
    change(run)
    rows = {row.key: row for row in run.warnings()}
    assert set(rows) == {key}
    assert text in rows[key].text
    assert rows[key].remedy == next(pattern.remedy for pattern in PATTERNS if pattern.key == key)


@pytest.mark.parametrize("change", [
    lambda run: clocks_moved(run, 2_700.0),
    lambda run: sm_clock(run, 1_850.0),
    lambda run: gpu_heat(run, 9.0),
    lambda run: gpu_throttled(run, 0.04),
    lambda run: gpu_throttled(run, 1.0, "applications clocks"),
    lambda run: foreign_process(run, 0),
    lambda run: unpriced_gpus(run, Q8_0=2),
    lambda run: server_differs(run, None),
    lambda run: server_differs(run, None, None),
    lambda run: gpu_reserves(run),
    lambda run: prefix_cache(run, 0),
    lambda run: prefix_cache(run, 12),  # a begin mark in each of 40 prompts is no cache hit worth a word
    lambda run: prefix_cache(run, 100, shared_prefix=0.5),
    lambda run: same_prompts(run, 0),
    lambda run: calibration_overlap(run, 5),
    lambda run: unlike_sizes(run, 7_344_000),
    lambda run: peak_memory(run, 0),
    lambda run: portable_build(run, "native"),
], ids=["clocks", "SM clock", "warm", "a few looks", "set clocks", "alone", "priced", "agrees", "not told",
       "host memory", "no cache", "begin mark", "shared prefix", "cache told", "common phrase", "padding",
       "follows the weights", "compiled for it"])
def test_silent_just_below(change: Callable[[Run], None]) -> None:
    run = Run()
    change(run)
    assert run.warnings() == []


def test_a_gpus_clock_is_told_and_its_block_is_marked_with_what_throttled_it() -> None:
    run = Run()
    sm_clock(run)
    gpu_throttled(run, 0.03)
    summary = run.summary()
    (row,) = summary.warnings
    assert row.key == "clocks_moved"
    assert row.text == ("the GPU's SM clock at short@c8 was 1,500 MHz for Q8_0 (block 2) (power cap in 3% of the "
                        "samples) and 1,900 MHz for F16 (block 1)")
    mark = ("the GPU's SM clock at short@c8 was 1,500 MHz for Q8_0 (power cap in 3% of the samples) and 1,900 MHz for "
            "F16")
    assert [block.marks for block in summary.blocks] == [[], [mark], [], [], []]
    assert f"- Block 2 is marked: {mark}.\n" in markdown.render(summary)
    # Its figures stand.
    assert summary.variants[1].speed.blocks == synthetic.BLOCKS


def test_of_several_gpus_the_slowest_and_the_hottest_count() -> None:
    run = Run()
    synthetic.on_gpu(run.cells, gpus=2)
    sm_clock(run)
    gpu_heat(run)
    assert {row.key for row in run.warnings()} == {"clocks_moved", "gpu_heat"}


def test_a_block_is_marked_without_a_noise_floor_too() -> None:
    run = Run()
    run.cells = [cell for cell in run.cells if cell.record["key"]["variant"] != synthetic.AGAIN]
    run.changes["noise_floor"] = False
    foreign_process(run)
    (block,) = run.summary().blocks
    assert (block.block, block.drift.reason) == (1, "no noise floor was measured")
    assert "2 processes not of the engine" in block.marks[0]
    assert "is marked: Q8_0 at short@c8: 2 processes" in markdown.render(run.summary())


def test_an_unfinished_run_leads_its_headline_with_it_and_recommends_nothing() -> None:
    run = Run()
    unfinished(run)
    summary = run.summary()
    assert summary.headline.sentence.startswith("Not finished (33 of 80 cells); ")
    assert summary.recommendation.sentence.startswith("No recommendation before the run is finished; ")
    assert summary.cells is not None
    assert (summary.cells.stored, summary.cells.planned, summary.cells.finished) == (33, 80, False)


def test_greedy_is_no_matter_where_answers_are_drawn_or_chosen() -> None:
    run = Run()
    greedy_only(run)
    run.changes["quality"] = {"suites": [*synthetic.TASKS, *synthetic.CORPORA], "sampling": {"draws": 2}}
    assert "greedy_only" not in {row.key for row in run.warnings()}
    for cell in run.of("quality"):
        cell.record["result"].pop("answers", None)
    run.changes.pop("quality")
    assert run.warnings() == []


def test_a_pattern_that_holds_in_many_places_takes_one_line() -> None:
    run = Run()
    for cell in copy.copy(run.of("load", "Q8_0")):
        cell.record["result"]["client"] = {"limited": ["lag"]}
    (row,) = [row for row in run.warnings() if row.key == "client_limited"]
    assert row.text.endswith("(and 9 more like it)")


def test_both_renderings_show_text_and_remedy() -> None:
    run = Run()
    no_warmup(run)
    summary = build_summary(synthetic.experiment(**run.changes), run.cells, run.artifacts, synthetic.ENVIRONMENT, [])
    (row,) = summary.warnings

    class Plain:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return False

    shown = " ".join(terminal.render(summary, Plain(), width=200).split())  # type: ignore[arg-type]
    assert f"! {row.text}; {row.remedy}" in shown
    assert f"> **Warning:** {markdown.escape(row.text)}; {markdown.escape(row.remedy)}." in markdown.render(summary)
