"""Quantizes a Hugging Face folder with llm-compressor, in the environment that has it.

Run by path, under another interpreter, which has no quantcheck:

    python compress_job.py JOB.json

The job says `source`, `folder`, `scheme` (llm-compressor's name), `method`, `ignore`, `seed`, `calibration` (or null)
and `events`: the file to which one JSON object a line goes: `{"stage"}`, then `{"result"}` or `{"error", "message"}`,
where the error is `spec`, `model`, `memory` or `unavailable`.
"""

# mypy: disable-error-code="import-not-found"
import hashlib
import json
import os
import random
import struct
import sys
import time
from pathlib import Path
from typing import Any

__all__: list[str] = []

SMOOTHING_STRENGTH = 0.8  # what llm-compressor's own W8A8 example uses
PACKAGES = ("llmcompressor", "compressed-tensors", "torch", "transformers")


class JobError(Exception):
    """What the user can mend: (kind, message)."""


class Events:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115, PTH123

    def tell(self, **event: Any) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()


def main(path: str) -> int:
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    events = Events(job["events"])
    try:
        events.tell(result=run(job, events))
    except JobError as error:
        kind, message = error.args
        events.tell(error=kind, message=one_line(message))
    except MemoryError:
        events.tell(error="memory", message="out of memory")
    except Exception as error:
        if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError") or "out of memory" in str(error):
            events.tell(error="memory", message=one_line(error))
        else:
            raise
    else:
        return 0
    return 1


def run(job: dict[str, Any], events: Events) -> dict[str, Any]:
    began = time.monotonic()
    events.tell(stage="load llm-compressor")
    try:
        import torch
        from transformers import AutoTokenizer
    except ImportError as error:
        raise JobError("unavailable", error) from error
    random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    # Same seed, same artifact; warnings only, as some CUDA kernels have no deterministic form.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    layers = check_layers(job)
    notes: list[str] = []
    loader, calibration = None, None
    if job["calibration"] is not None:
        events.tell(stage="read the calibration samples")
        try:
            tokenizer = AutoTokenizer.from_pretrained(job["source"], trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise JobError("model", f"the tokenizer cannot be loaded: {error}") from error
        samples, calibration = calibration_samples(job, tokenizer)
        loader = torch.utils.data.DataLoader(samples, batch_size=None, shuffle=False)
    try:
        from llmcompressor import oneshot  # late: it takes seconds, and what the user can mend has been found by now
    except ImportError as error:
        raise JobError("unavailable", error) from error
    events.tell(stage="load the model")
    model = load_model(job)
    if not torch.accelerator.is_available() and job["method"] == "awq":
        leave_memory_unpinned()
        notes.append("AWQ without an accelerator: llm-compressor's pinning of memory, which fails there, was left out")
    recipe, gptq = modifiers(job)
    events.tell(stage="quantize")
    fallbacks = watch_fallbacks(gptq)
    kwargs = {} if loader is None else {
        "dataset": loader, "num_calibration_samples": len(samples), "shuffle_calibration_samples": False,
        "max_seq_length": job["calibration"]["tokens"]}
    try:
        oneshot(model=model, recipe=recipe, trust_remote_code_model=False, **kwargs)
    except (ValueError, NotImplementedError, KeyError, AttributeError) as error:
        raise JobError("model", f"llm-compressor cannot quantize it: {type(error).__name__}: {error}") from error
    if fallbacks:
        notes.append(f"GPTQ fell back to rounding in {len(fallbacks)} layers, whose Hessian could not be inverted "
                     f"(more or longer calibration samples may help), the first is {fallbacks[0]}")
    events.tell(stage="save")
    save(model, job["folder"])
    return {
        "versions": versions(),
        "device": device_name(torch),
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - began, 3),
        "peak_rss_bytes": peak_rss(),
        "peak_cuda_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "dtype": str(model.dtype).removeprefix("torch."),
        "layers": layers,
        "calibration": calibration,
        "smoothing_strength": SMOOTHING_STRENGTH if job["method"] == "smoothquant-gptq" else None,
        "notes": notes,
    }


def calibration_samples(job: dict[str, Any], tokenizer: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Samples of at most `tokens` token ids, as the model takes them, and what the recipe records of them."""
    import torch

    asked = job["calibration"]
    wanted, most = asked["samples"], asked["tokens"]
    more: dict[str, Any] = {}
    if asked["kind"] == "text":
        ids = cut(tokenizer, asked["text"], wanted, most, job["seed"])
    else:
        rows = asked["rows"]
        if asked["kind"] == "hub":
            rows, more = fetch_rows(asked["name"], wanted, job["seed"])
        ids = [encode(tokenizer, row)[:most] for row in rows]
    ids = [one for one in ids if one]
    if len(ids) < wanted:
        raise JobError("spec", f"the calibration data gives {len(ids)} samples of up to {most} tokens, {wanted} are "
                               "asked for: lower quantize.calibration.samples or .tokens, or use a longer file")
    digest = hashlib.sha256()
    for one in ids:
        digest.update(struct.pack(f"<I{len(one)}I", len(one), *one))
    samples = [{"input_ids": torch.tensor([one]), "attention_mask": torch.ones(1, len(one), dtype=torch.long)}
               for one in ids]
    return samples, {"samples": len(ids), "tokens": sum(map(len, ids)), "token_ids_sha256": digest.hexdigest(), **more}


def encode(tokenizer: Any, row: dict[str, Any]) -> list[int]:
    if "messages" not in row:
        return list(tokenizer(row["text"])["input_ids"])
    try:
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    except Exception as error:
        raise JobError("spec", f"the model's chat template does not take the calibration's `messages` ({error}): "
                               "give `text` on every line instead") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # the template wrote them


def cut(tokenizer: Any, text: str, wanted: int, most: int, seed: int) -> list[list[int]]:
    """Whole samples of `most` tokens from one long text, drawn by `seed`, each begun as the tokenizer begins a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    special = tokenizer("a")["input_ids"]
    begin: list[int] = next((special[:i] for i in range(len(special)) if special[i : i + len(plain)] == plain), [])
    step = most - len(begin)
    if step < 1:
        raise JobError("spec", f"quantize.calibration.tokens is {most}: the model needs {len(begin) + 1} at least")
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    starts = range(0, len(ids) - step + 1, step)
    chosen = random.Random(seed).sample(starts, min(wanted, len(starts)))
    return [begin + ids[start : start + step] for start in chosen]


def fetch_rows(name: str, wanted: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """`wanted` rows of a data set's train split, drawn by `seed`."""
    import datasets

    try:
        splits = datasets.get_dataset_split_names(name)
        split = next((s for s in splits if s.startswith("train")), splits[0])
        data = datasets.load_dataset(name, split=split)
    except Exception as error:
        raise JobError("spec", f"the data set {name} cannot be had ({error}): name a local file instead") from error
    columns = [c for c in ("text", "messages") if c in data.column_names]
    if not columns:
        raise JobError("spec", f"the data set {name} has neither `text` nor `messages` but "
                               f"{', '.join(data.column_names)}: write them to a JSONL file")
    order = random.Random(seed).sample(range(len(data)), len(data))
    rows = []
    for i in order:
        row = {columns[0]: data[i][columns[0]]}
        if row[columns[0]]:
            rows.append(row)
        if len(rows) == wanted:
            break
    told = hashlib.sha256("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()).hexdigest()
    return rows, {"split": split, "rows_sha256": told}


def check_layers(job: dict[str, Any]) -> int:
    """How many linear layers will be quantized; an error when there are none or a group does not divide a width.

    Seen on a model without weights, so that it costs nothing. llm-compressor finds the latter after loading them, and
    fails with a message about tensor sizes where a layer is narrower than one group.
    """
    import torch
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.utils import match_named_modules
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(job["source"], trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise JobError("model", f"transformers {versions()['transformers']} cannot load it: {error}") from error
    linear = list(match_named_modules(model, ["Linear"], job["ignore"]))
    if not linear:
        raise JobError("model", f"{type(model).__name__} has no linear layers that llm-compressor knows how to "
                                "quantize: use a ready checkpoint, or gguf/ schemes with llama.cpp")
    weights = preset_name_to_scheme(job["scheme"], ["Linear"]).weights
    group = weights.group_size if weights is not None else None
    if group and group > 0:
        uneven = [(name, module.in_features) for name, module in linear if module.in_features % group]
        if uneven:
            name, width = uneven[0]
            raise JobError("model", f"groups of {group} do not divide {len(uneven)} of {len(linear)} layers, the first "
                                    f"is {name}, {width} wide: use a scheme without groups (fp8-dynamic, w8a8-int8)")
    return len(linear)


def load_model(job: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            job["source"], dtype="auto", use_safetensors=True, trust_remote_code=False)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise JobError("model", f"it cannot be loaded: {error}") from error


def modifiers(job: dict[str, Any]) -> tuple[list[Any], Any]:
    """llm-compressor's recipe, and its GPTQ modifier if there is one."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    what = {"targets": "Linear", "scheme": job["scheme"], "ignore": job["ignore"]}
    if job["method"] == "rtn":
        return [QuantizationModifier(**what)], None
    if job["method"] == "awq":
        from llmcompressor.modifiers.transform.awq import AWQModifier

        return [AWQModifier(), QuantizationModifier(**what)], None
    gptq = GPTQModifier(**what)
    if job["method"] == "gptq":
        return [gptq], gptq
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    return [SmoothQuantModifier(smoothing_strength=SMOOTHING_STRENGTH), gptq], gptq


def watch_fallbacks(gptq: Any) -> list[str]:
    """Fills with the names of layers that GPTQ could only round; the modifier forgets them when it is done."""
    names: list[str] = []
    if gptq is not None and hasattr(gptq, "_rtn_fallback_module_names"):
        gptq._rtn_fallback_module_names = names
    return names


def leave_memory_unpinned() -> None:
    """AWQ pins its cache for copies to an accelerator; torch raises where there is none."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache._pin_intermediate = classmethod(lambda cls, intermediate: None)


def save(model: Any, folder: str) -> None:
    from transformers import GenerationConfig

    # transformers refuses to write settings that contradict each other, as published models have them: the caller
    # copies the source's own file.
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, save_compressed=True)


def versions() -> dict[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in PACKAGES}


def device_name(torch: Any) -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"


def peak_rss() -> int | None:
    """Bytes. Not getrusage's, which counts what the process that started this one had."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def one_line(message: Any) -> str:
    return " ".join(str(message).split())[:800]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main(sys.argv[1]))
