"""Make the tables of expected types with llama.cpp's own llama-quantize (not run by the tests).

    PYTHONPATH=src:. python tests/variants/expected/make.py PATH_TO_LLAMA_QUANTIZE

For each shape of tests/variants/shapes.py a GGUF file with all weights zero is written and quantized to each scheme
of the ladder, with and without an importance matrix; the types in the resulting files are the table. For one small
model with weights by formula, bytes.json keeps a hash over the bytes of all tensors of each result.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader

from quantcheck.ggml.library import WHEEL, WHEEL_VERSION
from quantcheck.variants.imatrix import ImportanceMatrix
from quantcheck.variants.mix import SCHEMES
from tests.variants.shapes import SHAPES, SMALL, small_imatrix, small_weights
from tests.variants.tables import folded, tensor_hash

HERE = Path(__file__).parent
HEAD = {
    "made": "PYTHONPATH=src:. python tests/variants/expected/make.py llama-quantize",
    "with": f"llama-quantize of the llama.cpp in {WHEEL} {WHEEL_VERSION}",
}


def main(program: str) -> None:
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            source, matrix, target = (Path(folder) / n for n in ("f16.gguf", "imatrix.gguf", "out.gguf"))
            shape.write(source)
            ImportanceMatrix({"blk.0.attn_q.weight": np.ones(shape.hidden)}, 1024, "").save(matrix, "ones")
            types = {}
            for scheme in SCHEMES:
                for label, options in (("plain", []), ("imatrix", ["--imatrix", str(matrix)])):
                    command = [program, *options, str(source), str(target), scheme, "2"]
                    subprocess.run(command, check=True, capture_output=True)
                    found = {t.name: GGMLQuantizationType(t.tensor_type).name for t in GGUFReader(target).tensors}
                    types.setdefault(scheme, {})[label] = folded(found)
        table = HEAD | {"types": types}
        (HERE / f"{name}.json").write_text(json.dumps(table, indent=1) + "\n")
    (HERE / "bytes" / "small.json").write_text(json.dumps(HEAD | {"sha256": small(program)}, indent=1) + "\n")


def small(program: str) -> dict[str, dict[str, str]]:
    hashes: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, matrix, target = (Path(folder) / n for n in ("f16.gguf", "imatrix.gguf", "out.gguf"))
        SMALL.write(source, small_weights)
        means = small_imatrix()
        ImportanceMatrix({n: v.astype(np.float64) * 1024 for n, v in means.items()}, 1024, "").save(matrix, "formula")
        for scheme in SCHEMES:
            for label, options in (("plain", []), ("imatrix", ["--imatrix", str(matrix)])):
                command = [program, *options, str(source), str(target), scheme, "2"]
                subprocess.run(command, check=True, capture_output=True)
                hashes.setdefault(scheme, {})[label] = tensor_hash(target)
    return hashes


if __name__ == "__main__":
    main(sys.argv[1])
