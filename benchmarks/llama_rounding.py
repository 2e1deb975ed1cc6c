"""What llama.cpp's rounding does to a token's log-probability: F16 weights, an F16 cache, fused attention, each alone.

    python benchmarks/llama_rounding.py

The same 200 tokens of the reference text by transformers in float64, and by llama.cpp from the F16 file and from the
same numbers in an F32 file, with keys and values kept as F16 or F32, and with fused attention or without (fused, it
keeps F16 whatever it is told). Needs torch and transformers.

Printed for each: the greatest and the median difference of a token's log-probability, in nats.
"""

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from scipy.special import log_softmax

from harness_agreement import widened
from quantcheck import reference
from quantcheck.engines.packing import pack_sequences
from quantcheck.ggml.library import load
from quantcheck.ggml.model import Context, Model
from quantcheck.spec.experiment import Variant
from quantcheck.variants.make import prepare

TOKENS = 200
CACHES = {kind.name: kind.value for kind in (GGMLQuantizationType.F16, GGMLQuantizationType.F32)}


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = reference.model_dir()
    text = json.loads((folder.parent / "corpora" / "documentation.jsonl").read_text(encoding="utf-8").splitlines()[0])
    ids = np.array(AutoTokenizer.from_pretrained(folder)(text["text"])["input_ids"][:TOKENS], np.int32)
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        truth = log_softmax(model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy(), axis=-1)
    lib: Any = load()
    defaults, chosen = lib.llama_context_default_params, {"cache": 1}

    def params() -> Any:
        found = defaults()
        found.type_k = found.type_v = chosen["cache"]
        return found

    lib.llama_context_default_params = params
    at = np.arange(TOKENS - 1), ids[1:]
    with tempfile.TemporaryDirectory() as cache:
        f16 = prepare(str(folder), {"F16": Variant(scheme="gguf/F16")}, cache=Path(cache))["F16"].path
        files = {"F16": f16, "F32": widened(f16, Path(cache) / "F32.gguf")}
        for weights, kept, fused in itertools.product(files, CACHES, (True, False)):
            chosen["cache"] = CACHES[kept]
            with Model(files[weights]) as ours, Context(ours, length=512, flash_attention=fused) as context:
                rows = log_softmax(pack_sequences([ids], [0]).evaluate(context).astype(np.float64), axis=-1)
            apart = np.abs(rows[at] - truth[at])
            how = "fused" if fused else "plain"
            print(f"weights {weights}, cache {kept}, attention {how}: at most {apart.max():.1e}, "
                  f"median {np.median(apart):.1e}", flush=True)


if __name__ == "__main__":
    main()
