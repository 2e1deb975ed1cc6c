"""A made-up run with what the stored ones lack: an SLO, an open loop that saturates, failures, outputs side by side."""

from functools import cache
from itertools import takewhile
from typing import Any

import numpy as np

from quantcheck.report.summary import ChangedRow, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell

RATE = "short@r4"
LOAD: dict[str, Any] = {
    "workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8], "rate": [4],
    "slo": {"ttft_ms": 90, "itl_ms": 3.6, "share": 0.95},
}  # fmt: skip


def _open_loop(variant: str, block: int) -> FakeCell:
    """The load of eight streams, as if it had been sent by a schedule; one variant does not keep up."""
    cell = synthetic.load_cell(variant, "short@c8", block, failed=5 if variant == "Q2_K" else 0)
    cell.record["key"]["subject"] = RATE
    cell.record["result"] |= {
        "rate": 4.0, "window": {"steady": variant != "Q4_K_M"},
        "client": {"schedule_lag": {"p50": 1e-5, "p99": 2e-4}, "read_lag": {"p50": 1e-5, "p99": 1e-4}},
    }  # fmt: skip
    cell.tables["requests"]["due_s"] = np.asarray(cell.tables["requests"]["sent_s"])
    return cell


@cache
def made() -> Summary:
    names = [*synthetic.TRUTH, synthetic.AGAIN]
    cells = synthetic.cells(blocks=4)
    cells += [synthetic.continuation_cell(name) for name in names]
    cells += [_open_loop(name, block) for name in names for block in range(4)]
    quality = {"suites": [*synthetic.TASKS, *synthetic.CORPORA], "continuations": {}}
    experiment = synthetic.experiment(load=LOAD, quality=quality, blocks=4, policy={"price": {"gpu_hour_usd": 2.0}})
    return build_summary(experiment, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


def crowded(summary: Summary, times: int) -> Summary:
    """The same run with every workload `times` times, so that its charts are drawn only while they are near."""
    loads, speed = ([row.model_copy(update={"load": f"{at}-{row.load}"}) for at in range(times) for row in rows]
                    for rows in (summary.loads, summary.speed))
    return summary.model_copy(update={"loads": loads, "speed": speed, "degradation": []})


def changed(variant: str, rank: int, baseline: str, text: str, prompt: str = "Count.") -> ChangedRow:
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(baseline, text, strict=False))
    return ChangedRow(
        variant=variant, rank=rank, id=f"stories/{rank}", prompt=prompt, baseline_text=baseline, variant_text=text,
        first_divergence=1, character=sum(1 for _ in shared),
        common=0.5, baseline_tokens=3, variant_tokens=3,
    )  # fmt: skip
