"""What docs/ holds is what the code says."""

import json
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGES = f"""
import importlib.util, json
spec = importlib.util.spec_from_file_location("generate", {str(DOCS / "generate.py")!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps({{str(name): text for name, text in module.pages().items()}}))
"""


def test_the_generated_pages_are_current() -> None:
    # In a process of its own: click keeps a command's help option as whoever asked first wanted it.
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name, text in json.loads(done.stdout).items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, f"{name}: run python docs/generate.py"
