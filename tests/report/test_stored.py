"""A stored run under another policy."""

from pathlib import Path

import pytest

from quantcheck.errors import SpecError
from quantcheck.report.stored import StoredRun
from quantcheck.spec.load import SLO
from quantcheck.spec.policy import Margin, Policy
from quantcheck.store import Store
from tests.report import synthetic

LOAD = {
    "workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8], "slo": {"ttft_ms": 50},
}  # fmt: skip


def stored(folder: Path) -> StoredRun:
    experiment = synthetic.experiment(load=LOAD, policy={"memory_gb": 1})
    return StoredRun(Store(folder), {"artifacts": synthetic.artifacts()}, experiment, ())


def test_a_policy_takes_the_place_of_the_experiments_whole(tmp_path: Path) -> None:
    run = stored(tmp_path).under(Policy(minimum_speedup=1.2), "p.yaml")
    assert (run.experiment.policy.memory_gb, run.experiment.policy.minimum_speedup) == (None, 1.2)
    assert run.experiment.slo == SLO(ttft_ms=50)


def test_its_slo_takes_the_place_of_the_loads(tmp_path: Path) -> None:
    assert stored(tmp_path).under(Policy(slo=SLO(e2e_ms=900)), "p.yaml").experiment.slo == SLO(e2e_ms=900)


def test_a_policy_for_another_experiment_is_refused(tmp_path: Path) -> None:
    message = "p.yaml: does not fit the run in .*: policy.margin.tasks: 'gsm8k' is no suite of this experiment"
    with pytest.raises(SpecError, match=message):
        stored(tmp_path).under(Policy(margin=Margin(tasks={"gsm8k": 1.0})), "p.yaml")
