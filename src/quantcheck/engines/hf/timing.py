"""How long a batch takes: reading its prompts (prefill) and each further token (decode), by the engine itself.

With CUDA the stamps are events on the stream, read when all is done: nothing waits for the host between two tokens
that generation itself does not wait for. On a CPU they are the monotonic clock's, after each token.
"""

# mypy: disable-error-code="import-not-found"
import gc
import time
from typing import Any

import numpy as np
import passes

__all__: list[str] = []


def time_batch(model: Any, ids: Any, lengths: Any, output_tokens: int, cache: str) -> tuple[dict[str, Any],
                                                                                            dict[str, Any]]:
    """Read the prompts and write exactly `output_tokens` after each, greedily, whatever the tokens are.

    `stamps_ns` [output_tokens]: when each column of tokens was chosen, ns after the begin; the first is the prefill.
    `began_ns`: CLOCK_MONOTONIC. `tokens` int32 [prompts, output_tokens]. `kv_bytes`: of the cache when all is written.
    `cache`: dynamic, which grows, or static, whole from the begin. Memory as `allocated`.
    """
    import torch

    cuda = model.device.type == "cuda"
    with torch.inference_mode():
        tokens, mask = passes.padded(model, ids, lengths, left=True)
        prompt = tokens.shape[1]
        whole = torch.ones(len(lengths), prompt + output_tokens, dtype=mask.dtype, device=mask.device)
        whole[:, :prompt] = mask
        places = passes.positions(whole)
        state = _static(model, prompt + output_tokens) if cache == "static" else None
        written = torch.empty(len(lengths), output_tokens, dtype=torch.long, device=model.device)
        clock = _Events() if cuda else _Clock()
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        was = gc.isenabled()
        gc.disable()
        try:
            clock.begin()
            more = {"past_key_values": state} if state is not None else {}
            found = passes.forward(model, tokens, mask, 1, position_ids=places[:, :prompt], use_cache=True, **more)
            written[:, 0] = found.logits[:, -1].argmax(-1)
            clock.stamp()
            state = found.past_key_values
            for step in range(1, output_tokens):
                end = prompt + step
                found = passes.forward(model, written[:, step - 1 : step], whole[:, :end], 1, use_cache=True,
                                       position_ids=places[:, end - 1 : end], past_key_values=state)
                written[:, step] = found.logits[:, -1].argmax(-1)
                clock.stamp()
            stamps = clock.stamps()
        finally:
            if was:
                gc.enable()
        told = {"began_ns": clock.began_ns, "kv_bytes": _bytes(state), "clock": clock.name, **memory(model)}
        return told, {"stamps_ns": stamps, "tokens": written.cpu().numpy().astype(np.int32)}


class _Clock:
    name = "monotonic clock"

    def __init__(self) -> None:
        self._at: list[int] = []
        self.began_ns = 0

    def begin(self) -> None:
        self.began_ns = time.monotonic_ns()

    def stamp(self) -> None:
        self._at.append(time.monotonic_ns())

    def stamps(self) -> Any:
        return np.array(self._at, np.int64) - self.began_ns


class _Events:
    name = "CUDA events"

    def __init__(self) -> None:
        self._events: list[Any] = []
        self.began_ns = 0

    def begin(self) -> None:
        self.began_ns = time.monotonic_ns()
        self.stamp()

    def stamp(self) -> None:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._events.append(event)

    def stamps(self) -> Any:
        import torch

        torch.cuda.synchronize()
        first, *others = self._events
        return np.array([round(first.elapsed_time(event) * 1e6) for event in others], np.int64)


def _static(model: Any, length: int) -> Any:
    from transformers import StaticCache

    return StaticCache(config=model.config, max_cache_len=length)


def _bytes(cache: Any) -> int | None:
    """Of keys and values; None where the cache is of a kind that does not tell."""
    total = 0
    for layer in getattr(cache, "layers", []):
        for name in ("keys", "values"):
            if (tensor := getattr(layer, name, None)) is not None:
                total += tensor.nbytes
    return total or None


def memory(model: Any) -> dict[str, Any]:
    """`allocated_bytes` now and `peak_bytes` since the last reset: of CUDA's allocator; of the process on a CPU."""
    import torch

    if model.device.type == "cuda":
        return {"allocated_bytes": torch.cuda.memory_allocated(), "peak_bytes": torch.cuda.max_memory_allocated()}
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            told = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status if line.startswith("Vm")}
    except (OSError, ValueError, IndexError):
        return {"allocated_bytes": None, "peak_bytes": None}
    return {"allocated_bytes": told.get("VmRSS"), "peak_bytes": told.get("VmHWM")}
