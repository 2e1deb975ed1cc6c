"""Watching the activations that enter a model's matrix products: what an importance matrix is computed from.

llama.cpp asks a callback about every node of the graph, before it (does the node matter?) and after it. `Observer`
is shown the products `weight x activations` only, as numpy arrays.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from quantcheck.errors import EngineError
from quantcheck.ggml.layout import EvalCallback, Tensor
from quantcheck.ggml.library import load

__all__ = ["MatrixProduct", "Observer", "eval_callback"]


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """One `MUL_MAT` of a weight with activations.

    `weight` is the tensor's GGUF name (`blk.0.attn_q.weight`; the output product of a model with tied embeddings
    goes by `token_embd.weight`), `kind` its format, `rows` x `columns` its size. `activations` is float32
    [tokens, columns]: a view that is void after the call, so reduce or copy it.
    """

    weight: str
    kind: GGMLQuantizationType
    rows: int
    columns: int
    activations: NDArray[np.float32]


Observer = Callable[[MatrixProduct], None]
"""Called once for each matrix product of each computed step, in the graph's order, in the decoding thread.

An exception that it raises stops the step and comes out of `Context.decode`.
"""

_MUL_MAT = b"MUL_MAT"
_F32 = int(GGMLQuantizationType.F32)


def eval_callback(observer: Observer, failure: list[BaseException]) -> Any:
    """The C callback that shows `observer` every product of a tensor named `*.weight`.

    Its type is `layout.EvalCallback` (a ctypes function type, which annotations cannot name).
    Mixtures of experts (`MUL_MAT_ID`) are refused by an EngineError: their activations belong to experts, which
    this observer cannot tell apart. An exception cannot cross C: it is put into `failure`, and the step ends.
    """
    lib = load()
    names: dict[int, bytes] = {}

    def operation(number: int) -> bytes:
        if number not in names:
            names[number] = lib.ggml_op_name(number)
        return names[number]

    def watched(tensor: Tensor) -> bool:
        op = operation(tensor.op)
        if op == b"MUL_MAT_ID":
            raise EngineError("importance matrices of mixtures of experts are not supported: leave the imatrix out")
        if op != _MUL_MAT:
            return False
        weight, activations = tensor.src[0].contents, tensor.src[1].contents
        return bool(weight.name.endswith(b".weight")) and activations.type == _F32

    def show(tensor: Tensor) -> None:
        weight, activations = tensor.src[0].contents, tensor.src[1].contents
        if not lib.ggml_backend_buffer_is_host(activations.buffer):
            raise EngineError("the activations are not in main memory: this build of llama.cpp is not the CPU one")
        observer(
            MatrixProduct(
                weight=weight.name.decode(),
                kind=GGMLQuantizationType(weight.type),
                rows=weight.ne[1],
                columns=weight.ne[0],
                activations=_rows(activations),
            )
        )

    def callback(address: int, ask: bool, _user_data: int | None) -> bool:
        if failure:
            return False
        tensor = ctypes.cast(address, POINTER(Tensor)).contents
        try:
            if ask:
                return watched(tensor)
            show(tensor)
        # Whatever it is, even a Ctrl-C: ctypes would print and forget it, Context.decode raises it again.
        except BaseException as error:  # noqa: BLE001
            failure.append(error)
            return ask  # asked: look at this node, so that the next call can stop the step
        return True

    return EvalCallback(callback)


def _rows(tensor: Tensor) -> NDArray[np.float32]:
    """A float32 tensor [.., columns] as a matrix [rows, columns], by its strides."""
    last = max(tensor.ne[0] * 4, *(tensor.ne[axis] * tensor.nb[axis] for axis in range(4)))
    raw = (ctypes.c_char * last).from_address(tensor.data)
    shape = tuple(tensor.ne[axis] for axis in (3, 2, 1, 0))
    strides = tuple(tensor.nb[axis] for axis in (3, 2, 1, 0))
    values: NDArray[np.float32] = np.ndarray(shape, dtype=np.float32, buffer=raw, strides=strides)
    return values.reshape(-1, shape[-1])
