"""How soon does the report's page paint, and how soon does it answer?

    python benchmarks/report_page.py [--keep DIR] > docs/results/report/page.txt

Two runs, both made up. The first has 20 variants of 500 cells each (5 workloads, 10 loads, 10 blocks) and, of quality,
6 tasks, 2 corpora and 600 slices; its summary is written row by row, as measuring it is not the question. The second is
a results folder of 2,000 cells, written with `Store` and reported by `quantcheck report`.

Each page is opened over file:// in headless Chromium, with the network cut, several times: ms until the first view is
painted (from the navigation's start to the second frame after it is in the document); from a click to the second frame
after its answer is in the document (the view, the pressed button, the picked point); and to rest, when every chart has
followed. Asked: below 1.5 s to paint and 100 ms to answer. A frame is 16.7 ms, so an answer takes 17 to 33 at least.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from quantcheck.metrics import METRICS
from quantcheck.report.html import render
from quantcheck.report.summary import Summary
from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store
from report_scale import TOKENS, cell

VARIANTS, BLOCKS, TIMES = 20, 10, 5
WORKLOADS, STREAMS = ("short", "chat", "long", "code", "batch"), (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TASKS, CORPORA, SLICES = 6, 2, 30
PAINT_MS, CLICK_MS = 1500.0, 100.0
LATENCIES = {"ttft": 0.05, "itl": 0.01, "tpot": 0.01, "e2e": 1.3}

Row = dict[str, Any]


def figure(value: float, spread: float = 0.03) -> Row:
    return {"value": value, "low": value * (1 - spread), "high": value * (1 + spread), "reason": None}


def gone(reason: str) -> Row:
    return {"value": None, "low": None, "high": None, "reason": reason}


def many_rows() -> Summary:
    """A summary of 20 variants, 500 cells each."""
    rng = np.random.default_rng(0)
    names = [f"variant-{i:02d}" for i in range(VARIANTS)]
    speed = {name: 1 + 0.05 * i for i, name in enumerate(names)}
    rows: dict[str, list[Row]] = {key: [] for key in ("speed", "loads", "degradation", "quality", "corpora", "slices")}
    for name in names:
        for workload in WORKLOADS:
            for streams in STREAMS:
                _load(rows, rng, name, f"{workload}@c{streams}", workload, streams, speed[name])
        _quality(rows, rng, name, names[0])
    variants: list[Row] = [{
        "name": name, "baseline": name == names[0], "scheme": "made up",
        "size": {"bytes": figure(8e9 / speed[name]), "bits_per_weight": figure(16 / speed[name]),
                 "ratio": figure(1 / speed[name])},
        "speed": {"ratio": figure(speed[name]), "loads": 50, "blocks": BLOCKS, "word": "faster"},
        "quality": {"word": "safe", "basis": "tasks", "n": 6000, "accuracy": figure(0.8), "delta": figure(-0.001, 3.0),
                    "lost": 60, "gained": 54, "harmed": [], "undecided": []},
        "perplexity_ratio": figure(1.01), "perplexity_corpus": "corpus 0", "perplexity_word": "safe",
        "kl_divergence": figure(0.01), "top1_agreement": figure(0.95),
    } for name in names]
    blocks = [{"block": block, "drift": figure(float(rng.normal(0, 0.01))), "invalid_for": []}
              for block in range(BLOCKS)]
    frontiers = [{"frontier": "quality against size", "workload": None, "variant": v["name"], "load": None,
                  "x": v["size"]["bytes"], "y": v["quality"]["delta"], "on": True, "dominated_by": []}
                 for v in variants]
    memory = [{"variant": name, "weights_bytes": figure(8e9), "rss_bytes": figure(9e9), "pss_bytes": figure(9e9),
               "kv_cache_bytes": figure(1e9), "ready_s": figure(20.0)} for name in names]
    return Summary.model_validate({
        "experiment": {"name": "made up", "model": "none", "baseline": names[0], "engine": "fake"},
        "headline": {"sentence": "Made up.", "clauses": []}, "recommendation": {"variant": None, "sentence": "None."},
        "variants": variants, "memory": memory, "noise_floor": [], "blocks": blocks, "frontiers": frontiers, **rows,
        "environment": {"cpu": "made up", "gpus": []}, "settings": {"margin": {"throughput_ratio": 0.05}},
        "artifacts": {}, "metrics": {key: {"unit": metric.unit} for key, metric in METRICS.items()}, "warnings": [],
        "not_measured": [],
    })  # fmt: skip


def _load(rows: dict[str, list[Row]], rng: np.random.Generator, name: str, load: str, workload: str, streams: int,
          speed: float) -> None:
    slow = (1 + streams / 64) / speed * float(np.exp(rng.normal(0, 0.05)))
    values = {key: base * slow for key, base in LATENCIES.items()} | {
        "output_throughput": streams / LATENCIES["tpot"] / slow, "request_throughput": streams / slow}
    rows["speed"] += [{"load": load, "metric": key, "variant": name, "value": figure(value), "ratio": figure(speed),
                       "blocks": BLOCKS, "spread": 0.02, "word": "faster"} for key, value in values.items()]
    percentiles = [{"metric": key, "percentile": p, "value": {"value": values[key] * more, "reason": None}}
                   for key in LATENCIES for p, more in (("p90", 1.3), ("p95", 1.5), ("p99", 2.0))]
    cells = [f"{name}.{load}.b{block}-{'0' * 12}" for block in range(BLOCKS)]
    rows["loads"].append({"load": load, "variant": name, "blocks": BLOCKS, "requests": 160, "failed": 0,
                          "percentiles": percentiles, "cells": cells})
    if streams > 1:
        rows["degradation"].append({"load": load, "lowest": f"{workload}@c1", "variant": name,
                                    "ratio": figure(1 + streams / 64), "blocks": BLOCKS})


def _quality(rows: dict[str, list[Row]], rng: np.random.Generator, name: str, baseline: str) -> None:
    for corpus in range(CORPORA):
        rows["corpora"].append({
            "corpus": f"corpus {corpus}", "variant": name, "tokens": 65536, "documents": 50, "unit": "document",
            "units": 50, "context": 512, "stride": 256, "perplexity": figure(8.0), "ratio": figure(1.01, 0.005),
            "kl_divergence": figure(0.01), "top1_agreement": figure(0.95), "word": "safe"})
    if name == baseline:
        return
    for task in range(TASKS):
        rows["quality"].append({
            "task": f"task {task}", "variant": name, "n": 1000, "baseline_accuracy": figure(0.8),
            "accuracy": figure(0.8), "delta": figure(float(rng.normal(0, 0.003)), 2.0), "lower_bound": -0.01,
            "upper_bound": 0.01, "lost": 10, "gained": 9, "p": 0.9, "p_safe": 0.01, "p_harmed": 0.5, "detectable": 0.01,
            "groups": None, "design_effect": None, "word": "safe", "margin": 0.01})
    rows["slices"] += [{"task": "task 0", "variant": name, "by": "group", "slice": f"group {i}", "n": 33,
                        "delta": figure(-0.01, 2.0), "lost": 1, "gained": 1, "p": 0.5, "q": 0.9}
                       for i in range(SLICES)]


def write_store(folder: Path) -> int:
    """A results folder of 2,000 cells: 3 variants and the twin, 25 loads, 20 blocks, 8 requests each."""
    rng, blocks, loads = np.random.default_rng(1), 20, range(1, 26)
    chosen = Experiment.model_validate({
        "name": "store", "model": "none", "baseline": "fp16", "blocks": blocks, "engine": {"kind": "fake"},
        "variants": {name: {"scheme": "gguf/F16"} for name in ("fp16", "fp8", "int4")},
        "load": {"workloads": {"chat": {"prompt_tokens": 512, "output_tokens": TOKENS}}, "concurrency": list(loads)},
    })  # fmt: skip
    store = Store(folder)
    store.lock()
    written: list[str] = []
    for entry in ("fp16", "fp16@again", "fp8", "int4"):
        for streams in loads:
            for block in range(blocks):
                key = CellKey("load", entry, f"chat@c{streams}", block, f"{len(written):064x}")
                result, tables = cell(rng, entry, streams, 8)
                store.write(key, {"started_at": float(len(written)), "duration_s": 1.0, "artifact_sha256": "0" * 64,
                                  "result": result}, tables)
                written.append(key.id)
    store.write_document("experiment.json", json.dumps({
        "schema": 1, "experiment": chosen.model_dump(mode="json", by_alias=True),
        "experiment_sha256": content_hash(chosen), "hardware_id": "none", "environment": {}, "cells": written,
        "artifacts": {name: {"scheme": name, "bytes": 1} for name in chosen.variants}, "problems": [],
    }))
    store.unlock()
    return len(written)


WATCH = """
const frames = () => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
window.after = (there) => new Promise(done => {
  const look = () => there() ? frames().then(done) : setTimeout(look, 1);
  look();
});
// When the page came to rest: its last change before 250 ms without one.
window.settled = () => new Promise(done => {
  let last = performance.now();
  const watch = new MutationObserver(() => { last = performance.now(); });
  watch.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  const look = () => performance.now() - last > 250 ? (watch.disconnect(), done(last)) : setTimeout(look, 20);
  look();
});
window.painted = new Promise(done => document.addEventListener('readystatechange', () => {
  if (document.readyState === 'interactive') window.after(() => document.querySelector('[role="tabpanel"]')).then(done);
}));
"""

CLICK = """async ([selector, there]) => {
  const settled = window.settled();
  const began = performance.now();
  document.querySelector(selector).dispatchEvent(new MouseEvent('click', { bubbles: true }));
  const answered = await window.after(() => document.querySelector(there));
  return [answered - began, Math.max(await settled, answered) - began];
}"""

TABS = ("size", "throughput", "latency", "memory", "cost", "tasks", "roofline", "run", "verdict")


def clicks() -> Iterator[tuple[str, str, str, str]]:
    """(what, where it is done: a view, what is clicked, what is then there)."""
    for before, after in zip(("verdict", *TABS[:-1]), TABS, strict=True):
        yield f"open {after}", before, f"#tab-{after}", f"#view-{after} > *:nth-child(2)"
    group = '[aria-label="{}"] button:nth-child({})'
    for view in ("throughput", "latency"):
        scale = group.format("Scale", 2)
        yield f"{view}: log scale", view, scale, f'{scale}[aria-pressed="true"]'
        legend = group.format("Variants", 3)
        yield f"{view}: hide a variant", view, legend, f'{legend}[aria-pressed="false"]'
        yield f"{view}: pick a point", view, "[data-point]", ".picked"
        yield f"{view}: open the figures", view, ".behind > summary", ".behind td"
    percentile = group.format("Percentile of the time per token", 3)
    yield "throughput: p95", "throughput", percentile, f'{percentile}[aria-pressed="true"]'
    percentile = group.format("Percentile held against the limits", 3)
    yield "cost: p95", "cost?price=2&tpot=15", percentile, f'{percentile}[aria-pressed="true"]'


Times = dict[str, list[tuple[float, float]]]


def measure(page: Page, address: str) -> tuple[list[float], Times]:
    """ms to the first view; of each click ms to the answer and to rest; TIMES of each."""
    paints: list[float] = []
    found: Times = {}
    for _ in range(TIMES):
        page.goto("about:blank")
        page.goto(f"{address}#verdict")
        paints.append(page.evaluate("window.painted"))
        for what, view, selector, there in clicks():
            page.goto("about:blank")
            page.goto(f"{address}#{view}")
            page.evaluate("window.painted")
            page.wait_for_timeout(300)
            if page.locator(selector).count():
                found.setdefault(what, []).append(tuple(page.evaluate(CLICK, [selector, there])))
    return paints, found


def show(title: str, paints: list[float], found: Times) -> bool:
    print(f"\n{title}\n{'ms, median and worst of ' + str(TIMES):34}{'answer':>9}{'worst':>8}{'rest':>9}{'worst':>8}")
    print(f"  {'first view painted':32}{statistics.median(paints):9.0f}{max(paints):8.0f}")
    for what, times in found.items():
        columns = [f"{statistics.median(part):9.0f}{max(part):8.0f}" for part in zip(*times, strict=True)]
        print(f"  {what:32}{''.join(columns)}")
    slowest = max(statistics.median(answer for answer, _ in times) for times in found.values())
    print(f"  slowest answer: {slowest:.0f} ms; asked: below {PAINT_MS:.0f} ms to paint, {CLICK_MS:.0f} ms to answer")
    return statistics.median(paints) < PAINT_MS and slowest < CLICK_MS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    print(f"$ python {' '.join(sys.argv)}\n\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        root = args.keep or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        made = root / "made.html"
        made.write_text(render(many_rows()), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_context(offline=True, viewport={"width": 1440, "height": 900}).new_page()
        page.add_init_script(WATCH)
        print(f"Chromium {browser.version}")
        cells = VARIANTS * len(WORKLOADS) * len(STREAMS) * BLOCKS
        good = show(f"{VARIANTS} variants x {cells // VARIANTS} cells, a page of {made.stat().st_size / 1e6:.1f} MB",
                    *measure(page, made.as_uri()))
        folder = root / "store"
        count = write_store(folder)
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "quantcheck", "report", str(folder)], stdout=subprocess.DEVNULL,
                       check=True)
        wall, file = time.monotonic() - began, folder / "report.html"
        good &= show(f"a store of {count:,} cells: `quantcheck report` {wall:.1f} s, a page of "
                     f"{file.stat().st_size / 1e6:.1f} MB", *measure(page, file.as_uri()))
        browser.close()
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
