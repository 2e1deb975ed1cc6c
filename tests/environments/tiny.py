"""A lock of local wheels, so that environments can be made without network."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["variables", "write_lock"]


def write_lock(folder: Path, name: str = "transformers", packages: Sequence[str] = ("transformers",)) -> Path:
    """Write the lock of `name` and the wheels that it names; the lock's path."""
    wheels, locks = folder / "wheels", folder / "locks"
    wheels.mkdir(exist_ok=True)
    locks.mkdir(exist_ok=True)
    for package in packages:
        info = f"{package}-1.0.dist-info"
        with zipfile.ZipFile(wheels / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}.py", "here = 1\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    lock = locks / f"{name}.txt"
    lock.write_text("# python: >=3.11,<3.14\n" + "".join(f"{package}==1.0\n" for package in packages))
    return lock


def variables(folder: Path) -> dict[str, str]:
    """The environment variables under which uv finds that wheel and nothing else."""
    return {"QUANTCHECK_CACHE": str(folder / "cache"), "UV_FIND_LINKS": str(folder / "wheels"), "UV_OFFLINE": "1",
            "UV_DEFAULT_INDEX": (folder / "locks").as_uri(), "PIP_CONFIG_FILE": os.devnull}
