"""Loads a Hugging Face folder as the transformers library does: as it is, quantized already, or quantized now."""

# mypy: disable-error-code="import-not-found"
import json
import logging
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

__all__: list[str] = []

PACKAGES = ("transformers", "torch", "accelerate", "bitsandbytes", "torchao", "compressed-tensors", "gptqmodel",
            "optimum")
WEIGHT = 0.02
"""Standard deviation of random weights, as models are initialized."""


class LoadError(Exception):
    """What the user can mend: (kind, message); kinds as in `worker`."""


def load(job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model and facts about it.

    `job`: `folder`, `dtype` (a name of torch's, or auto), `device` (auto, cpu, cuda), `attention`, `threads` (or null),
    `quantization` (what the library is to make of the weights as it loads them, or null), `random` (the folder has no
    weights: they are made now, from `seed`).
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise LoadError("unavailable", f"its environment has no torch or transformers ({error})") from error
    transformers.utils.logging.disable_progress_bar()
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = pick_device(job["device"])
    made = tempfile.mkdtemp(prefix="quantcheck-weights-") if job["random"] else None
    try:
        if made is not None:
            random_checkpoint(job, Path(made), device)
        model = from_folder(job, made or job["folder"], device)
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    model.eval()
    model.requires_grad_(False)
    if device == "cuda":
        torch.cuda.empty_cache()  # what loading alone needed is no memory of the model
    return model, facts(model, device)


def pick_device(asked: str) -> str:
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise LoadError("unavailable", f"torch {torch.__version__} sees no GPU: take `device: cpu`, or an environment "
                                       "whose torch is a CUDA build")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def from_folder(job: dict[str, Any], folder: str, device: str) -> Any:
    """The library's own `from_pretrained`; an error where it left out, or made up, a weight."""
    import torch
    from transformers import AutoModelForCausalLM

    arguments: dict[str, Any] = {
        "dtype": job["dtype"] if job["dtype"] == "auto" else getattr(torch, job["dtype"]),
        "attn_implementation": job["attention"], "use_safetensors": True, "trust_remote_code": False,
        "output_loading_info": True,
    }
    if device == "cuda":
        arguments["device_map"] = {"": 0}
    heard = Heard()
    try:
        if job["quantization"]:
            arguments["quantization_config"] = quantization(job["quantization"])
        with heard:
            model, told = AutoModelForCausalLM.from_pretrained(folder, **arguments)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except ImportError as error:
        # Of this variant's format alone: the others may load.
        raise LoadError("model", f"its format needs a library that the environment lacks ({error}); install it there, "
                                 "or take the environment `transformers`") from error
    except Exception as error:
        raise LoadError("model", f"transformers cannot load it: {heard.cause or reason(error)}") from error
    missing = sorted({*told.get("missing_keys", ()), *map(str, told.get("mismatched_keys", ()))})
    if missing:
        raise LoadError("model", f"{len(missing)} weights of the model are not in its files, or not as it needs them, "
                                 f"the first is {missing[0]}")
    return model


class Heard(logging.Handler):
    """What the library logs meanwhile: it tells why a weight could not be converted there, and not in its error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.cause: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        found = re.findall(r"^(\w+(?:Error|Exception): .+)$", record.getMessage(), re.MULTILINE)
        self.cause = self.cause or (found[0] if found else None)

    def __enter__(self) -> "Heard":
        logging.getLogger("transformers").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("transformers").removeHandler(self)


def reason(error: BaseException) -> str:
    """The first cause, in one line."""
    shown = error
    while shown.__cause__ is not None or (shown.__context__ is not None and not shown.__suppress_context__):
        shown = shown.__cause__ or shown.__context__ or shown
    lines = [line.strip() for line in str(shown).splitlines() if line.strip()]
    return f"{type(shown).__name__}: {' '.join(lines)}"


def quantization(asked: dict[str, Any]) -> Any:
    """The library's object for a `quantization_config` that it carries out as it loads."""
    import transformers

    settings = dict(asked)
    method = settings.pop("quant_method")
    if method == "bitsandbytes":
        return transformers.BitsAndBytesConfig(**settings)
    if method == "torchao":
        import torchao.quantization

        kind = getattr(torchao.quantization, settings.pop("quant_type"))
        return transformers.TorchAoConfig(kind(**settings))
    raise LoadError("spec", f"the library makes no {method} of a model as it loads it")


def facts(model: Any, device: str) -> dict[str, Any]:
    """JSON values for the record; bytes are those of the model's own tensors, as allocated after the load."""
    import importlib.metadata

    import timing
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    text = model.config.get_text_config()
    after = timing.memory(model)
    linear = Counter(type(module).__name__ for name, module in model.named_modules()
                     if "Linear" in type(module).__name__)
    return {
        "packages": versions,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "model_class": type(model).__name__,
        "linear_layers": dict(sorted(linear.items())),
        "attention": model.config._attn_implementation,
        "vocabulary": int(text.vocab_size),
        "context": getattr(text, "max_position_embeddings", None),
        "model_bytes": tensor_bytes(model),
        "allocated_bytes": after["allocated_bytes"],
        "load_peak_bytes": after["peak_bytes"],
    }


def tensor_bytes(model: Any) -> int:
    """Of parameters and buffers, shared ones once. What is packed in a subclass counts as it is packed."""
    seen: dict[int, int] = {}
    for tensor in [*model.parameters(), *model.buffers(), *extras(model)]:
        for part in flat(tensor):
            if part.device.type != "meta":
                seen[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
    return sum(seen.values())


def flat(tensor: Any) -> list[Any]:
    """The plain tensors in which a subclass keeps its numbers."""
    tensor = tensor.data
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in flat(getattr(tensor, name))]


def extras(model: Any) -> list[Any]:
    """What bitsandbytes keeps beside a weight: scales of INT8 rows, and of 4-bit blocks."""
    found = []
    for parameter in model.parameters():
        if (scales := getattr(parameter, "SCB", None)) is not None:
            found.append(scales)
        if (state := getattr(parameter, "quant_state", None)) is not None:
            nested = getattr(state, "state2", None)
            found += [tensor for tensor in (state.absmax, state.code, getattr(nested, "absmax", None),
                                            getattr(nested, "code", None)) if tensor is not None]
    return found


def random_checkpoint(job: dict[str, Any], folder: Path, device: str) -> None:
    """A checkpoint of the folder's configuration with random weights: speed and memory of a format are real in it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = json.loads((Path(job["folder"]) / "config.json").read_text(encoding="utf-8"))
    made = source.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(source), encoding="utf-8")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    torch.manual_seed(job["seed"])
    name = job["dtype"] if job["dtype"] != "auto" else str(source.get("dtype") or source.get("torch_dtype"))
    dtype = getattr(torch, name, torch.bfloat16)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    if made is None:
        model.save_pretrained(folder)
        return
    from safetensors.torch import save_file

    method = made["quant_method"]
    if method not in PACKED:
        raise LoadError("spec", f"transformers gets no random weights of format {method}: take fp16, bnb-int8, "
                                "bnb-nf4, torchao-int8, torchao-int4, awq or gptq")
    tensors = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    for key, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and key != "lm_head":
            del tensors[f"{key}.weight"]
            packed = PACKED[method](module.in_features, module.out_features, made, dtype)
            tensors |= {f"{key}.{part}": value for part, value in packed.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**source, "quantization_config": made}), encoding="utf-8")


def bits(*shape: int) -> Any:
    import torch

    return torch.randint(-2**31, 2**31, shape, dtype=torch.int64).to(torch.int32)


def scales(columns: int, rows: int, group: int) -> Any:
    import torch

    return torch.full((columns // group, rows), WEIGHT / 4, dtype=torch.float16)


def awq(columns: int, rows: int, how: dict[str, Any], _dtype: Any) -> dict[str, Any]:
    """AutoAWQ's layout (gemm): `rows` packed, eight 4-bit numbers in an int32."""
    each = 32 // how["bits"]
    return {"qweight": bits(columns, rows // each), "scales": scales(columns, rows, how["group_size"]),
            "qzeros": bits(columns // how["group_size"], rows // each)}


def gptq(columns: int, rows: int, how: dict[str, Any], _dtype: Any) -> dict[str, Any]:
    """AutoGPTQ's layout: `columns` packed; `g_idx` is the group of each column."""
    import torch

    each = 32 // how["bits"]
    return {"qweight": bits(columns // each, rows), "scales": scales(columns, rows, how["group_size"]),
            # A zero point of 8 in every place: stored less one.
            "qzeros": torch.full((columns // how["group_size"], rows // each), 0x77777777, dtype=torch.int32),
            "g_idx": torch.arange(columns, dtype=torch.int32) // how["group_size"]}


PACKED = {"awq": awq, "gptq": gptq}
