"""Quantizing a Hugging Face folder with llm-compressor, in a process and an environment of its own.

llm-compressor and vLLM cannot share an environment, and neither belongs into ours: `compress_job.py` runs by path
under the other interpreter. What can be wrong with the request is found here, before that process is started.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineError, EngineUnavailable, ModelError, SpecError
from quantcheck.process.managed import ManagedProcess
from quantcheck.spec.variant import Quantize
from quantcheck.variants.calibration import CalibrationData, calibration_inputs, read_calibration
from quantcheck.variants.checkpoint import read_quantization
from quantcheck.variants.gguf_file import disk_errors

__all__ = ["SCHEMES", "compress", "compressor_versions", "inputs", "method_of"]

SCHEMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fp8-dynamic": ("FP8_DYNAMIC", ("rtn",)),
    "fp8-block": ("FP8_BLOCK", ("rtn",)),
    "w8a8-int8": ("W8A8", ("rtn", "gptq", "smoothquant-gptq")),
    "w4a16": ("W4A16", ("rtn", "gptq", "awq")),
    "gptq": ("W4A16", ("gptq",)),
    "awq": ("W4A16", ("awq",)),
    "nvfp4": ("NVFP4", ("rtn",)),
    "nvfp4a16": ("NVFP4A16", ("rtn",)),
    "mxfp4": ("MXFP4", ("rtn",)),
}
"""Scheme to llm-compressor's name of it and the methods that can make it; the first is the default."""

SILENCE_S = 1800.0
"""The job is given up when it has said nothing, in its log or its events, for so long."""

INSTALL = "install it with: quantcheck engines install llm-compressor"

_JOB = Path(__file__).with_name("compress_job.py")
_POLL_S = 0.2
_VERSIONS_S = 60.0
_TAIL_BYTES = 16_384
_STEP = re.compile(r"\((\d+)/(\d+)\): (Calibrating|Propagating)")  # llm-compressor's own bars, layer by layer
_STATIC_INPUTS = ("nvfp4",)  # its scale of the inputs is fixed beforehand
_MOE_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_ROUTERS = ("re:.*mlp.gate$", "re:.*block_sparse_moe.gate$", "re:.*router$", "re:.*shared_expert_gate$")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".onnx")
_NOT_KEPT = ("config.json", "README.md", "LICENSE", "NOTICE", "model.safetensors.index.json")
_MOST_KEPT_BYTES = 100_000_000

_KINDS = {"spec": SpecError, "model": ModelError, "unavailable": EngineUnavailable, "memory": EngineError}


def method_of(scheme: str, how: Quantize) -> str:
    """How `scheme` is made. `SpecError` for a scheme, method or calibration that do not go together."""
    if scheme not in SCHEMES:
        raise SpecError(f"llm-compressor makes no {scheme!r}; it makes {', '.join(SCHEMES)}")
    methods = SCHEMES[scheme][1]
    method = how.method or methods[0]
    if method not in methods:
        raise SpecError(f"scheme {scheme} cannot be made by method {method}: "
                        f"{'use' if len(methods) == 1 else 'use one of'} {', '.join(methods)}")
    if how.imatrix is not None:
        raise SpecError(f"scheme {scheme} takes no `imatrix:`, which is for gguf/ schemes: leave it out")
    needed = method != "rtn" or scheme in _STATIC_INPUTS
    if needed and how.calibration is None:
        raise SpecError(f"scheme {scheme} by {method} needs text to calibrate on: "
                        "add quantize.calibration: {dataset: FILE}")
    if not needed and how.calibration is not None:
        raise SpecError(f"scheme {scheme} by {method} looks at no text: leave quantize.calibration out"
                        + (f", or choose method {methods[1]}" if len(methods) > 1 else ""))
    return method


def inputs(scheme: str, how: Quantize, base: Path) -> dict[str, Any]:
    """What goes into the artifact's hash besides source and versions: method and calibration. Errors as `method_of`."""
    method = method_of(scheme, how)
    return {"with": "llm-compressor", "method": method,
            "calibration": None if how.calibration is None else calibration_inputs(how.calibration, base),
            **({"ignore": list(how.ignore)} if how.ignore else {})}


def compressor_versions(python: Path) -> dict[str, str]:
    """Versions in the environment of `python`, without importing them. `EngineUnavailable` when one is missing."""
    code = ("import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in "
            "('llmcompressor', 'compressed-tensors', 'torch', 'transformers')}))")
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False,
                              timeout=_VERSIONS_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"llm-compressor's interpreter {python} cannot be run: {INSTALL}") from error
    if done.returncode != 0:
        raise EngineUnavailable(f"the environment of {python} has no llm-compressor: {INSTALL}")
    return {str(name): str(version) for name, version in json.loads(done.stdout).items()}


def compress(
    source: Path,
    folder: Path,
    scheme: str,
    how: Quantize,
    *,
    python: Path,
    log: Path,
    progress: Callable[[float | str], None],
    base: Path | None = None,
    silence_s: float = SILENCE_S,
) -> dict[str, Any]:
    """Quantize the Hugging Face folder `source` into the empty `folder`; facts for the recipe.

    Args:
        python: interpreter of the environment that has llm-compressor.
        log: file for what it prints.
        progress: hears a line when a stage begins, and the fraction of the layers that are done.
        base: folder that a calibration file's name starts from; default the current one.
        silence_s: the job is ended when it has printed nothing for so long.

    The facts: `method`, `versions`, `device`, `threads`, `seconds`, `peak_rss_bytes`, `peak_cuda_bytes` (None without
    CUDA), `calibration` (None, or data hash, samples, tokens in all, most tokens of one, seed and the SHA-256 over the
    samples' token ids, each as length and ids in little-endian uint32), `ignored` layers, `layers` quantized, `dtype`,
    `quantization` as `read_quantization` has it, and `notes`.

    Raises `SpecError` for what cannot be combined and for calibration data that does not do, `EngineUnavailable`
    without llm-compressor, `ModelError` for a source that cannot be quantized, `EngineError` when the job dies.
    """
    method = method_of(scheme, how)
    config = _check_source(source)
    compressor_versions(python)
    calibration = how.calibration
    data = None if calibration is None else read_calibration(calibration, base or Path.cwd(), source)
    ignore = ["lm_head", *how.ignore, *(_ROUTERS if any(config.get(key) for key in _MOE_KEYS) else ())]
    work = log.parent / f".{log.name}.job"
    with disk_errors(folder):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        job = {
            "source": str(source.absolute()), "folder": str(folder.absolute()), "scheme": SCHEMES[scheme][0],
            "method": method, "ignore": ignore, "events": str(work / "events.jsonl"),
            "seed": calibration.seed if calibration else 0,
            "calibration": None if data is None or calibration is None else {
                "kind": data.kind, "name": data.name, "rows": data.rows, "text": data.text,
                "samples": calibration.samples, "tokens": calibration.tokens},
        }
        with disk_errors(work):
            (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
        result = _run(python, work, log, progress, silence_s, online=data is not None and data.kind == "hub")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with disk_errors(folder):
        _keep(source, folder)
    return _finished(folder, scheme, how, method, result, data)


def _check_source(source: Path) -> dict[str, Any]:
    found = read_quantization(source)
    if found["quant_method"] is not None:
        raise ModelError(f"{source} is quantized already ({found['quant_method']}): quantize the original model, or "
                         "name this one as the variant's `checkpoint:`")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return dict(config)


def _run(python: Path, work: Path, log: Path, progress: Callable[[float | str], None], silence_s: float, *,
         online: bool) -> dict[str, Any]:
    environment = {
        "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not the same twice
        "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONNOUSERSITE": "1",
        **({} if online else {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}),
    }
    command = [str(python), str(_JOB), str(work / "job.json")]
    process = ManagedProcess(command, name="llm-compressor", log=log, environment=environment)
    watch = _Watch(work / "events.jsonl", log, progress)
    with process:
        while process.running():
            if watch.look() > silence_s:
                raise EngineError(f"llm-compressor has said nothing for {silence_s:g} s and was ended; its last log "
                                  f"lines: {process.log_tail()}; full log: {log}")
            time.sleep(_POLL_S)
        watch.look()
        if watch.error is not None:
            kind, message = watch.error
            if kind == "memory":
                message = f"it ran out of memory ({message}): use a machine or GPU with more"
            elif kind == "unavailable":
                message = f"{message}: {INSTALL}"
            raise _KINDS[kind](f"llm-compressor: {message}")
        if watch.result is None:
            process.check()  # tells how it ended, and the tail of its log
            raise EngineError(f"llm-compressor ended without a result; full log: {log}")
        return watch.result


class _Watch:
    """What a running job tells, in its events and its log."""

    def __init__(self, events: Path, log: Path, progress: Callable[[float | str], None]) -> None:
        self.result: dict[str, Any] | None = None
        self.error: tuple[str, str] | None = None
        self._events, self._log, self._progress = events, log, progress
        self._heard = 0
        self._sizes = (0, 0)
        self._last = time.monotonic()
        self._step: tuple[int, int] | None = None

    def look(self) -> float:
        """Read what is new; seconds since the last sign of life."""
        sizes = (_size(self._events), _size(self._log))
        if sizes != self._sizes:
            self._sizes, self._last = sizes, time.monotonic()
            self._read_events()
            self._read_log()
        return time.monotonic() - self._last

    def _read_events(self) -> None:
        if not self._sizes[0]:
            return
        whole = self._events.read_text(encoding="utf-8").split("\n")[:-1]  # the last line may not be whole yet
        for line in whole[self._heard :]:
            event = json.loads(line)
            if "stage" in event:
                self._progress(str(event["stage"]))
            elif "result" in event:
                self.result = event["result"]
            elif "error" in event:
                self.error = (event["error"], event["message"])
        self._heard = len(whole)

    def _read_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(max(0, self._sizes[1] - _TAIL_BYTES))
            steps = _STEP.findall(log.read().decode("utf-8", "replace"))
        if steps and (step := (int(steps[-1][0]), int(steps[-1][1]))) != self._step:
            self._step = step
            self._progress((step[0] - 1) / step[1])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _keep(source: Path, folder: Path) -> None:
    """The tokenizer's files, the chat template and the generation configuration are the source's own, to the byte."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in source.iterdir():
        kept = file.name not in _NOT_KEPT and file.suffix not in (*_WEIGHTS, ".py", ".svg", ".png", ".md")
        if kept and file.is_file() and file.stat().st_size < _MOST_KEPT_BYTES:
            shutil.copyfile(file, folder / file.name)


def _finished(folder: Path, scheme: str, how: Quantize, method: str, result: dict[str, Any],
              data: CalibrationData | None) -> dict[str, Any]:
    """Facts for the recipe, once the result has been read back and is what was asked for."""
    found = read_quantization(folder)
    wanted = {"gptq": "w4a16", "awq": "w4a16"}.get(scheme, scheme)
    if found["scheme"] != wanted:
        raise EngineError(f"llm-compressor was asked for {wanted} and wrote a configuration that says "
                          f"{found['scheme'] or found['format'] or found['quant_method'] or 'not quantized'}: "
                          "its version may be one that quantcheck does not know")
    if data is not None and how.calibration is not None:
        asked = how.calibration
        result["calibration"] = {"dataset": data.name, "data_sha256": data.sha256, "most_tokens": asked.tokens,
                                 "seed": asked.seed, **result["calibration"]}
    return {"method": method, **result, "ignored": found["ignored"], "quantization": found}
