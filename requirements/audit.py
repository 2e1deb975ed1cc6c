"""Ask for known weaknesses of every package that we lock: `make audit`, or `python requirements/audit.py [LOCK ...]`.

pip-audit, and its many dependencies, go into an environment that is thrown away. It asks a service on the network
(PyPI's): where that does not answer, or does not know a package, nothing was audited, which is said, with exit code 2.
1: weaknesses found.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from quantcheck.environments.uv import find_uv, uv_environment

ROOT = Path(__file__).parents[1]
LOCKS = [*sorted((ROOT / "requirements").glob("*.txt")),
         *sorted((ROOT / "src" / "quantcheck" / "environments" / "locks").glob("*.txt"))]
PIN = re.compile(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==[^\\\n]+", re.M)
UNREACHED = ("ConnectionError", "ServiceError", "Max retries", "ReadTimeout", "HTTPError", "Name or service not known",
             "Temporary failure", "Could not connect", "not found at service")


def main(names: list[str]) -> int:
    locks = [path for path in LOCKS if not names or path.stem in names]
    worst, found = 0, False
    with tempfile.TemporaryDirectory(prefix="quantcheck-audit-") as folder:
        python = Path(folder) / "bin" / "python"
        for command in ([find_uv(), "venv", "--quiet", "--python", sys.executable, folder],
                        [find_uv(), "pip", "install", "--quiet", "--python", str(python), "pip-audit"]):
            done = subprocess.run(command, env=uv_environment(), capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"nothing was audited: pip-audit cannot be installed ({done.stderr.strip().splitlines()[-1:]})")
                return 2
        for path in locks:
            # The locks are complete: nothing is resolved, and so nothing is downloaded or built. Without the hashes,
            # because pip-audit takes those of all packages or of none, and torch has none.
            bare = Path(folder) / path.name
            bare.write_text("\n".join(PIN.findall(path.read_text(encoding="utf-8"))), encoding="utf-8")
            done = subprocess.run(
                [str(python), "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off",
                 "-r", str(bare)],
                capture_output=True, text=True, check=False)
            said = f"{done.stdout}\n{done.stderr}".strip()
            if done.returncode and any(word in said for word in UNREACHED):
                print(f"{path.name}: not audited, because the service that knows weaknesses was not reached "
                      f"({said.splitlines()[-1][:200]})")
                worst = max(worst, 2)
                continue
            # A service that does not know a package says nothing of its weaknesses, and pip-audit then ends with 0.
            unknown = said.count("could not be audited")
            told = "\n".join(line for line in said.splitlines() if "could not be audited" not in line
                             and not line.startswith(("WARNING", "Name ", "----")) and line.strip())
            print(f"{path.name}: {told or 'nothing was found'}"
                  + (f" ({unknown} packages are not known to the service, and were not audited)" if unknown else ""))
            found |= done.returncode == 1
            worst = max(worst, done.returncode, 2 if unknown else 0)
    return 1 if found else worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
