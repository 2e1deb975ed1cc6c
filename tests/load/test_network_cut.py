"""The network goes away under a load: streams end with an outcome of their own, and what came is kept."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.fake.log import read_log
from quantcheck.store import read_table

CUT = Path(__file__).with_name("cut_network.py")
TOKENS = 100
REQUEST_S = 6.0

pytestmark = pytest.mark.alone


def cut(folder: Path, down_s: float) -> tuple[dict[str, Any], dict[str, Any], dict[int, int]]:
    """The result of the load, its raw rows, and how many chunks the server had sent, by request."""
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no network namespace can be made here: {probe.stderr.strip()}")
    subprocess.run(["unshare", "--net", sys.executable, str(CUT), str(folder), str(down_s)], check=True, timeout=120,
                   capture_output=True)
    result = json.loads((folder / "run.json").read_text())["loads"][0]["result"]
    sent = {int(truth.request): len(truth.sent_ns) for truth in read_log(folder / "truth.jsonl")
            if truth.request.isdecimal()}
    return result, read_table(folder / "run.parquet"), sent


def test_a_link_that_stays_down(tmp_path: Path) -> None:
    result, rows, sent = cut(tmp_path, 0)
    outcome, tokens = rows["outcome"].astype(str), rows["tokens"]
    assert set(outcome) <= {"ok", "stalled", "no_first_byte", "refused", "cancelled"}
    stalled = {int(request) for request in rows["request"][outcome == "stalled"]}
    assert stalled, "some streams were under way"
    for request in stalled:
        own = rows["request"] == request
        # What came is kept, and the stream ended at its deadline. The server may have sent more into the void.
        assert 0 < tokens[own].sum() < TOKENS
        assert tokens[own].sum() <= sent.get(request, TOKENS)
        took = rows["end_s"][own][0] - rows["sent_s"][own][0]
        assert REQUEST_S - 0.1 < took < REQUEST_S + 3
    assert result["outcomes"].get("ok", 0) + sum(
        result["outcomes"].get(kind, 0) for kind in ("stalled", "no_first_byte", "refused")) == result["requests"]
    assert json.loads((tmp_path / "code.json").read_text()) == 1


def test_a_link_that_comes_back(tmp_path: Path) -> None:
    result, rows, _ = cut(tmp_path, 0.5)
    assert result["outcomes"] == {"ok": 8}
    measured = rows["phase"].astype(str) == "measured"
    counts = np.unique(rows["request"][measured], return_counts=True)[1]
    assert (counts <= TOKENS).all()
    assert rows["tokens"][measured].sum() == 8 * TOKENS
    # The silence is in the figures: no gap is made up.
    longest = max(np.diff(rows["at_s"][rows["request"] == request]).max(initial=0.0)
                  for request in np.unique(rows["request"]))
    assert longest > 0.4
    assert json.loads((tmp_path / "code.json").read_text()) == 0
