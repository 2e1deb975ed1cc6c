"""What a child announces is found in its log, whatever other threads write around it."""

import subprocess
import sys
from pathlib import Path

from quantcheck.engines import ready
from quantcheck.engines.health import get_text
from quantcheck.engines.ready import announced


def test_an_announcement_between_other_lines() -> None:
    code = ("from quantcheck.engines.ready import announce\n"
            "print('0.1 I half a l', end='', flush=True); announce({'a': 1})")
    source = str(Path(ready.__file__).parents[2])
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": source}, timeout=60).stdout
    assert announced(text + "ine\n") == {"a": 1}


def test_half_an_announcement_is_none() -> None:
    assert announced("") is None
    assert announced('x\nquantcheck-ready {"a": 1') is None
    assert announced('x\nquantcheck-ready {"a": 1}') is None


def test_nobody_answers() -> None:
    assert get_text("http://127.0.0.1:9/health", timeout_s=1.0) is None
