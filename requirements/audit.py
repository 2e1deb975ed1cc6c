"""Ask for known weaknesses of every package that we lock: `make audit`, or `python requirements/audit.py [LOCK ...]`.

pip-audit, and its many dependencies, go into an environment that is thrown away. It asks a service on the network
(PyPI's, or OSV's): where that does not answer nothing was audited, which is said, with exit code 2. 1: weaknesses
found.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from quantcheck.environments.uv import find_uv, uv_environment

ROOT = Path(__file__).parents[1]
LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")),
         *sorted((ROOT / "src" / "quantcheck" / "environments" / "locks").glob("*.txt"))]
UNREACHED = ("ConnectionError", "ServiceError", "Max retries", "ReadTimeout", "HTTPError", "Name or service not known",
             "Temporary failure", "Could not connect", "not found at service")


def main(names: list[str]) -> int:
    locks = [path for path in LOCKS if not names or path.stem in names]
    worst = 0
    with tempfile.TemporaryDirectory(prefix="quantcheck-audit-") as folder:
        python = Path(folder) / "bin" / "python"
        for command in ([find_uv(), "venv", "--quiet", "--python", sys.executable, folder],
                        [find_uv(), "pip", "install", "--quiet", "--python", str(python), "pip-audit"]):
            done = subprocess.run(command, env=uv_environment(), capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"nothing was audited: pip-audit cannot be installed ({done.stderr.strip().splitlines()[-1:]})")
                return 2
        for path in locks:
            # The locks are complete: nothing is resolved, and so nothing is downloaded or built.
            done = subprocess.run(
                [str(python), "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off",
                 "-r", str(path)],
                capture_output=True, text=True, check=False)
            said = f"{done.stdout}\n{done.stderr}".strip()
            if done.returncode and any(word in said for word in UNREACHED):
                print(f"{path.name}: not audited, because the service that knows weaknesses was not reached "
                      f"({said.splitlines()[-1][:200]})")
                worst = max(worst, 2)
                continue
            print(f"{path.name}: {said}")
            worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
