"""Each view draws what the run holds: its marks, counted against the data by rules of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quantcheck.report.summary import Figure, LoadRow, Summary
from tests.browser.conftest import Opened

Open = Callable[..., Opened]
Read = Callable[[str], Summary]

TPOT, THROUGHPUT = "tpot", "output_throughput"
RUNS = ["reference", "vllm-awq-18-h200", "vllm-awq-18-h100", "made"]


def known(*figures: Figure | None) -> bool:
    return all(figure is not None and figure.value is not None for figure in figures)


def banded(figure: Figure | None) -> bool:
    return figure is not None and figure.low is not None


def bare(figure: Figure | None) -> bool:
    """A value that has no interval."""
    return figure is not None and figure.value is not None and figure.low is None


def broken(row: LoadRow) -> bool:
    return row.failed > 0 or row.saturated > 0


class Speed:
    """Speed rows by metric, variant and load."""

    def __init__(self, summary: Summary) -> None:
        self._rows = {(row.metric, row.variant, row.load): row.value for row in summary.speed}
        self.keys = ["ttft", "itl", "e2e", "output_throughput"]
        policy, load = (summary.settings.get(key) or {} for key in ("policy", "load"))
        self.slo: dict[str, Any] = policy.get("slo") or load.get("slo") or {}
        if self.slo.get("itl_ms"):
            self.keys.append("tpot")

    def __call__(self, metric: str, row: LoadRow) -> Figure | None:
        return self._rows.get((metric, row.variant, row.load))


def beats(ours: Figure, theirs: Figure) -> bool:
    """Better beyond the intervals; where one is missing, by the values."""
    if ours.low is None or theirs.high is None:
        return (ours.value or 0) > (theirs.value or 0)
    return ours.low > theirs.high


def inverse(figure: Figure) -> Figure:
    ends = {} if figure.low is None or figure.high is None else {"low": 1 / figure.high, "high": 1 / figure.low}
    return Figure(value=1 / (figure.value or 1), **ends)


def beaten(summary: Summary) -> int:
    """Points of the throughput view that another equals on both axes and beats on one."""
    speed = Speed(summary)
    places: dict[str, list[tuple[Figure, Figure]]] = {}
    for row in summary.loads:
        x, y = speed(TPOT, row), speed(THROUGHPUT, row)
        if x is not None and y is not None and known(x, y) and y.low is not None and not broken(row):
            places.setdefault(row.load.rpartition("@")[0], []).append((inverse(x), y))
    return sum(any(all((b.value or 0) >= (a.value or 0) for a, b in zip(p, q, strict=True))
                   and any(beats(b, a) for a, b in zip(p, q, strict=True)) for q in own)
               for own in places.values() for p in own)


def cost_bars(summary: Summary) -> int:
    """Without a limit: a bar for each workload and variant with a throughput; and with several workloads the mix."""
    speed = Speed(summary)
    names = [variant.name for variant in summary.variants]
    have = {(row.load.rpartition("@")[0], row.variant) for row in summary.loads
            if known(speed(THROUGHPUT, row))}
    workloads = {workload for workload, _ in have}
    mix = sum(all((workload, name) in have for workload in workloads) for name in names) if len(workloads) > 1 else 0
    return len(have) + mix


def views(summary: Summary) -> Iterator[tuple[str, dict[str, int]]]:
    """How often each view must draw each mark."""
    speed = Speed(summary)
    drawn = [row for row in summary.loads if known(speed(TPOT, row), speed(THROUGHPUT, row))]
    figures = [(speed(key, row), row) for key in speed.keys for row in summary.loads]
    figures += [(ratio.ratio, row) for ratio in summary.degradation for row in summary.loads
                if (row.load, row.variant) == (ratio.load, ratio.variant)]
    lines = [(figure, row) for figure, row in figures if figure is not None and known(figure)]
    others = [row for row in summary.corpora if row.variant != summary.experiment.baseline]
    frontier = [row for row in summary.frontiers if row.frontier == "quality against size"]
    judged = any(row.on is not None for row in frontier)
    sizes = [row for row in frontier if judged and known(row.x, row.y)]
    parts = [figure for row in summary.gpu_memory for figure in (
        row.gpu_weights_bytes, row.gpu_kv_cache_bytes, row.gpu_other_bytes, row.gpu_foreign_bytes, row.gpu_free_bytes)]
    if not summary.gpu_memory:
        parts = [figure for row in summary.memory for figure in (row.weights_bytes, row.kv_cache_bytes)]
    predicted = [figure for row in summary.predicted_memory for figure in (row.weights_bytes, row.kv_cache_bytes)]
    phases = [phase for row in summary.roofline for phase in ((row.mbu, row.mfu), (row.prefill_mbu, row.prefill_mfu))]
    yield "verdict", {"table.wide tbody tr": len(summary.variants), ".decision": len(summary.decisions),
                      ".warning": sum(row.key != "unfinished" for row in summary.warnings)}
    yield "size", {".mark": len(sizes), ".mark.hollow": sum(row.on is False for row in sizes),
                   ".whisker": sum(map(banded, (row.y for row in sizes)))}
    halves = [row for row in drawn if bare(speed(THROUGHPUT, row)) and not broken(row)]
    yield "throughput", {".mark": sum(not broken(row) for row in drawn), ".cross": sum(map(broken, drawn)),
                         ".mark.hollow": beaten(summary), ".mark.half": len(halves),
                         ".whisker": sum(banded(speed(key, row)) for row in drawn for key in (TPOT, THROUGHPUT))}
    yield "latency", {".mark": sum(not broken(row) for _, row in lines), ".cross": sum(broken(row) for _, row in lines),
                      ".mark.half": sum(bare(figure) and not broken(row) for figure, row in lines),
                      ".whisker": sum(banded(figure) for figure, _ in lines)}
    yield "memory", {".part": sum(map(known, parts)), ".predicted": sum(map(known, predicted))}
    yield "cost?price=2&ttft=0&tpot=0&e2e=0", {".part": cost_bars(summary)}
    changes = [figure for figure in (*(row.delta for row in summary.quality), *(row.ratio for row in others))
               if known(figure)]
    yield "tasks", {".mark": len(changes), ".whisker": sum(map(banded, changes)),
                    ".outputs": sum(row.variant == summary.most_changed[-1].variant for row in summary.most_changed)}
    yield "roofline", {".mark": sum(known(*phase) for phase in phases)}
    yield "run", {".warning": len(summary.warnings), ".drift": sum(known(row.drift) for row in summary.blocks)}


@pytest.mark.parametrize("name", RUNS)
def test_every_view_draws_what_the_run_holds(name: str, open_run: Open, stored: Read) -> None:
    opened = open_run(stored(name))
    for view, expected in views(opened.summary):
        opened.show(view)
        opened.page.wait_for_timeout(50)
        found = {selector: opened.intervals() if selector == ".whisker" else opened.count(selector)
                 for selector in expected}
        assert found == expected, view
    assert opened.complaints == []
    assert opened.asked_for == []


def test_the_slo_is_a_rule_and_its_first_miss_a_ring(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"))
    opened.show("latency")
    summary, speed = opened.summary, Speed(opened.summary)
    share = f"p{round(speed.slo['share'] * 100)}"
    misses = 0
    for metric, limit in (("ttft", speed.slo["ttft_ms"]), ("tpot", speed.slo["itl_ms"])):
        for variant in [row.name for row in summary.variants]:
            for kind in "cr":
                above = [row for row in summary.loads if row.variant == variant and f"@{kind}" in row.load
                         and any((p.metric, p.percentile) == (metric, share) and (p.value.value or 0) > limit / 1e3
                                 for p in row.percentiles)]
                misses += bool(above)
    assert misses > 0
    assert opened.count(".ring") == misses
    assert opened.count("svg .rule") + opened.count("svg .beyond") == 4  # two metrics, two ladders


def test_a_value_without_an_interval_is_not_drawn_as_beaten(open_run: Open, stored: Read) -> None:
    """As of one block: no other may push it out, and it pushes out none."""
    summary = stored("reference")
    alone = {"low": None, "high": None, "reason": "1 block: an interval needs at least 2"}
    worst = "Q2_K"
    speed = [row.model_copy(update={"value": row.value.model_copy(update=alone)}) if row.variant == worst else row
             for row in summary.speed]
    opened = open_run(summary.model_copy(update={"speed": speed}))
    opened.show("throughput")
    mine = f'.mark[data-variant="{worst}"]'
    loads = sum(row.variant == worst for row in summary.loads)
    assert (opened.count(mine), opened.count(f"{mine}.half"), opened.count(f"{mine}.hollow")) == (loads, loads, 0)
    assert opened.count(".mark.hollow") == beaten(opened.summary) > 0
    assert "value without an interval" in opened.page.locator("main").inner_text()
    opened.pick(opened.page.locator(mine).first)
    assert "1 block: an interval needs at least 2" in opened.page.locator(".picked").inner_text()


def test_every_mark_says_its_n_and_interval(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("reference"))
    asked = {"latency": ("95% CI",), "tasks": ("95% CI",), "throughput": ("95% CI", "48 requests in 4 blocks")}
    for view, words in asked.items():
        opened.show(view)
        titles = opened.page.locator(".mark title").all_text_contents()
        assert titles
        assert all(word in title for title in titles for word in words)


PICKS = {"size": ".mark", "throughput": ".mark", "latency": ".mark", "memory": ".part", "cost": ".part",
         "tasks": ".mark", "run": ".drift"}


@pytest.mark.parametrize("view", PICKS)
def test_a_picked_point_links_to_its_raw_records(view: str, open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"))
    opened.show(view)
    opened.pick(opened.page.locator(PICKS[view]).last)
    links = opened.page.locator(".picked a")
    assert links.count() >= 1
    cells = {cell for rows in (opened.summary.loads, opened.summary.quality, opened.summary.corpora,
                               opened.summary.blocks) for row in rows for cell in row.cells}
    for link in links.all():
        name = link.inner_text()
        assert name in cells
        assert link.get_attribute("href") == f"cells/{name.replace('@', '%40')}/cell.json"
    again = open_run(opened.summary)
    again.page.goto(opened.page.url)
    again.page.wait_for_selector(".picked")
    assert again.page.locator(".picked a").count() == links.count()


def test_a_moved_slo_is_interpolated_and_named(open_run: Open, stored: Read) -> None:
    opened = open_run(stored("made"))
    opened.show("cost?ttft=0&e2e=0&tpot=3.6&at=p50")
    tpot = {(row.variant, row.load): row.value.value for row in opened.summary.speed if row.metric == "tpot"}
    crossing = [row.name for row in opened.summary.variants
                if (tpot[row.name, "short@c1"] or 9) <= 3.6e-3 < (tpot[row.name, "short@c8"] or 0)]
    held = [row.name for row in opened.summary.variants if (tpot[row.name, "short@c1"] or 9) <= 3.6e-3]
    assert opened.count(".part") == len(held)
    assert opened.count(".between") == len(crossing)
    assert crossing
    titles = opened.page.locator(".between title").all_text_contents()
    assert all("interpolated between 1 stream and 8 streams" in title for title in titles)
    assert "changes only what this view computes" in opened.page.locator("main").inner_text()
