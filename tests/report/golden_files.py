"""Goldens: readable files that the renderings must equal.

`QUANTCHECK_WRITE_GOLDENS=1 pytest tests/report` writes them again; read the difference before committing it.
"""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("QUANTCHECK_WRITE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} differs from the golden"
