"""A lock of one local wheel, so that environments can be made without network."""

import os
import zipfile
from pathlib import Path

__all__ = ["variables", "write_lock"]


def write_lock(folder: Path) -> Path:
    """Write the lock of `transformers` and the one wheel that it names; the lock's path."""
    wheels, locks = folder / "wheels", folder / "locks"
    wheels.mkdir()
    locks.mkdir()
    info = "transformers-1.0.dist-info"
    with zipfile.ZipFile(wheels / "transformers-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("transformers.py", "here = 1\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: transformers\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    lock = locks / "transformers.txt"
    lock.write_text("# python: >=3.11,<3.14\ntransformers==1.0\n")
    return lock


def variables(folder: Path) -> dict[str, str]:
    """The environment variables under which uv finds that wheel and nothing else."""
    return {"QUANTCHECK_CACHE": str(folder / "cache"), "UV_FIND_LINKS": str(folder / "wheels"), "UV_OFFLINE": "1",
            "UV_DEFAULT_INDEX": (folder / "locks").as_uri(), "PIP_CONFIG_FILE": os.devnull}
