"""A GGUF model and the contexts that evaluate it, over llama.cpp's C functions.

`Model` owns the weights, `Context` a key-value cache and the work buffers. Close both, or use them as context
managers; closing a model closes its contexts first. A context belongs to one thread at a time, but several
contexts of one model may decode in several threads at once: the foreign call releases the GIL.
"""

import ctypes
import os
import threading
import weakref
from ctypes import POINTER, c_int8, c_int32
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import EngineError, ModelError, SpecError
from quantcheck.ggml.layout import Batch
from quantcheck.ggml.library import load, log
from quantcheck.ggml.observe import Observer, eval_callback

__all__ = ["ALL_SEQUENCES", "Context", "Model"]

_NO_SLOT = 1
_FLASH_AUTO, _FLASH_OFF, _FLASH_ON = -1, 0, 1
_MAX_SEQUENCES = 256
"""`LLAMA_MAX_SEQ`."""
ALL_SEQUENCES = -1
"""`remove` takes it for every sequence at once."""


class Model:
    """The weights of one GGUF file, mapped into memory.

    Raises ModelError, with llama.cpp's own reason, when the file is missing, truncated, corrupt, not a GGUF file or
    of an architecture that llama.cpp does not know.
    """

    def __init__(self, path: Path) -> None:
        self._lib = load()
        self._handle: int | None = None
        self._contexts: weakref.WeakSet[Context] = weakref.WeakSet()
        if not path.is_file():
            raise ModelError(f"{path} is not a file: name a GGUF file")
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = 0
        log.clear()
        self._handle = self._lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self._handle:
            raise ModelError(f"{path} cannot be loaded by llama.cpp: {log.reason()}: make or fetch the file again")
        self.path = path
        vocab = self._lib.llama_model_get_vocab(self._handle)
        self.vocab_size = int(self._lib.llama_vocab_n_tokens(vocab))
        self.bos = _token(self._lib.llama_vocab_bos(vocab))
        self.eos = _token(self._lib.llama_vocab_eos(vocab))
        self.adds_bos = bool(self._lib.llama_vocab_get_add_bos(vocab))

    @property
    def handle(self) -> int:
        """The `llama_model *`; ModelError after `close`."""
        if self._handle is None:
            raise ModelError(f"{self.path} was closed: open it again")
        return self._handle

    @property
    def context_length(self) -> int:
        """Tokens of context that the model was trained for."""
        return int(self._lib.llama_model_n_ctx_train(self.handle))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return int(self._lib.llama_model_n_params(self.handle))

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, without the file's header."""
        return int(self._lib.llama_model_size(self.handle))

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token takes in an F16 cache, if all heads are equally wide."""
        width = int(self._lib.llama_model_n_embd(self.handle)) // int(self._lib.llama_model_n_head(self.handle))
        heads = int(self._lib.llama_model_n_head_kv(self.handle))
        return 2 * 2 * int(self._lib.llama_model_n_layer(self.handle)) * heads * width

    @property
    def description(self) -> str:
        """llama.cpp's own words, such as `llama 7B Q4_K - Medium`."""
        buffer = ctypes.create_string_buffer(256)
        self._lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def adopt(self, context: "Context") -> None:
        """Makes `close` free `context` first (called by `Context`)."""
        self._contexts.add(context)

    def close(self) -> None:
        """Frees the contexts and the weights; again is harmless."""
        for context in list(self._contexts):
            context.close()
        if self._handle is not None:
            self._lib.llama_model_free(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Context:
    """A key-value cache of `sequences` x `length` tokens over `model`, and `decode`.

    Args:
        length: tokens that one sequence may hold. llama.cpp rounds it up to a multiple of 256.
        batch: the most tokens of one `decode`.
        step: tokens computed at once (`n_ubatch`), at most `batch`; default `batch`.
        sequences: how many sequences live side by side, at most 256.
        threads: OpenMP threads; with 1, OpenMP is not used at all.
        unified: one cache shared by all sequences. It lets `copy` share tokens without copying them, but every
            token then looks at the cells of all sequences (masked): slower when they have nothing in common.
        flash_attention: on, off, or None for llama.cpp's choice.
        observer: sees the activations that enter each matrix product (`observe.Observer`).
    """

    def __init__(
        self,
        model: Model,
        *,
        length: int,
        batch: int = 512,
        step: int | None = None,
        sequences: int = 1,
        threads: int = 1,
        unified: bool = False,
        flash_attention: bool | None = None,
        observer: Observer | None = None,
    ) -> None:
        if not 1 <= sequences <= _MAX_SEQUENCES:
            raise SpecError(f"llama.cpp holds 1 to {_MAX_SEQUENCES} sequences at once, not {sequences}")
        if length < 1 or batch < 1 or threads < 1:
            raise SpecError("a context needs a length, a batch and threads of at least 1")
        self.model = model
        self.batch = batch
        self.sequences = sequences
        self.halt: threading.Event | None = None
        """When it is set, `decode` raises instead of computing: how a pool ends the jobs that nobody waits for."""
        self._lib = load()
        self._handle: int | None = None
        params = self._lib.llama_context_default_params()
        params.n_ctx = length if unified else -(-length // 256) * 256 * sequences
        params.n_batch = batch
        params.n_ubatch = min(step or batch, batch)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = unified
        params.flash_attn_type = {None: _FLASH_AUTO, False: _FLASH_OFF, True: _FLASH_ON}[flash_attention]
        self._observer = observer
        self._callback: Any = None  # the C side keeps its address: it must live as long
        self._failure: list[BaseException] = []
        if observer is not None:
            self._callback = eval_callback(observer, self._failure)
            params.cb_eval = self._callback
        log.clear()
        self._handle = self._lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise EngineError(f"llama.cpp gave no context for {model.path.name}: {log.reason()}")
        self._memory = self._lib.llama_get_memory(self._handle)
        self.length = int(self._lib.llama_n_ctx_seq(self._handle))
        self._ones = np.ones(batch, dtype=np.int32)
        model.adopt(self)

    @property
    def handle(self) -> int:
        """The `llama_context *`; EngineError after `close`."""
        if self._handle is None:
            raise EngineError("the context was closed: make a new one")
        return self._handle

    def decode(
        self,
        tokens: NDArray[np.int32],
        positions: NDArray[np.int32],
        sequences: NDArray[np.int32],
        wanted: NDArray[np.bool_],
        counts: NDArray[np.int32] | None = None,
    ) -> NDArray[np.float32]:
        """Evaluates a batch; the four arrays have one entry a token, at most `batch` of them.

        A token is added to the cache of its sequence at its position, and sees that sequence's earlier positions.
        In a unified cache a token may belong to several sequences: `counts` says to how many, and `sequences` then
        holds the numbers of all, token after token.
        Returns the raw logits [wanted tokens, vocabulary], in batch order: a read-only view of llama.cpp's buffer,
        which the next `decode` overwrites and `close` frees. Copy what must stay.

        Raises ModelError for a token outside the vocabulary or logits that are not finite (damaged weights),
        SpecError for a batch or position that is too large, EngineError when llama.cpp fails.
        """
        handle = self.handle
        if self.halt is not None and self.halt.is_set():
            raise EngineError("scoring was stopped before its end")
        count = len(tokens)
        if not 1 <= count <= self.batch:
            raise SpecError(f"a batch holds 1 to {self.batch} tokens, not {count}")
        if positions.max() >= self.length:
            raise SpecError(f"position {positions.max()} is outside the context of {self.length} tokens: raise it")
        if tokens.min() < 0 or tokens.max() >= self.model.vocab_size:
            raise ModelError(
                f"token ids {tokens.min()} to {tokens.max()} do not fit the vocabulary of {self.model.vocab_size}: "
                "these tokens are another tokenizer's"
            )
        token = np.ascontiguousarray(tokens, dtype=np.int32)
        position = np.ascontiguousarray(positions, dtype=np.int32)
        sequence = np.ascontiguousarray(sequences, dtype=np.int32)
        want = np.ascontiguousarray(wanted, dtype=np.int8)
        shares = self._ones if counts is None else np.ascontiguousarray(counts, dtype=np.int32)
        if len(positions) != count or len(wanted) != count or len(sequence) != shares[:count].sum():
            raise SpecError("tokens, positions, sequences and wanted do not have the same length")
        if sequence.min() < 0 or sequence.max() >= self.sequences:
            raise SpecError(f"sequence {sequence.max()} is outside the {self.sequences} of this context")
        # llama_batch wants a pointer to each token's list of sequences: its place in the flat array.
        firsts = np.cumsum(shares[:count], dtype=np.uint64) - shares[:count].astype(np.uint64)
        lists = firsts * np.uint64(4) + np.uint64(sequence.ctypes.data)
        batch = Batch(
            n_tokens=count,
            token=token.ctypes.data_as(POINTER(c_int32)),
            embd=None,
            pos=position.ctypes.data_as(POINTER(c_int32)),
            n_seq_id=shares.ctypes.data_as(POINTER(c_int32)),
            seq_id=lists.ctypes.data_as(POINTER(POINTER(c_int32))),
            logits=want.ctypes.data_as(POINTER(c_int8)),
        )
        log.clear()
        status = self._lib.llama_decode(handle, batch)
        if self._failure:
            raise self._failure.pop()
        if status == _NO_SLOT:
            raise EngineError(f"the key-value cache has no room for {count} more tokens: raise the context")
        if status != 0:
            raise EngineError(f"llama_decode failed with {status} on {self.model.path.name}: {log.reason()}")
        rows = int(np.count_nonzero(want))
        if rows == 0:
            return np.empty((0, self.model.vocab_size), dtype=np.float32)
        view = np.ctypeslib.as_array(self._lib.llama_get_logits(handle), (rows, self.model.vocab_size))
        view.flags.writeable = False
        if not np.isfinite(view.sum()):  # a NaN or an infinity anywhere shows in the sum
            raise ModelError(f"{self.model.path} computes logits that are not finite: its weights are damaged")
        return view

    def clear(self) -> None:
        """Forgets all sequences."""
        self._lib.llama_memory_clear(self._alive(), False)

    def remove(self, sequence: int, start: int = 0, stop: int = -1) -> None:
        """Forgets positions start to stop (exclusive; -1: to the end) of a sequence, or of `ALL_SEQUENCES`."""
        self._lib.llama_memory_seq_rm(self._alive(), sequence, start, stop)

    def copy(self, source: int, target: int) -> None:
        """Gives `target` all that `source` holds; without moving data in a unified cache."""
        self._lib.llama_memory_seq_cp(self._alive(), source, target, -1, -1)

    def close(self) -> None:
        """Frees the cache and buffers (views returned by `decode` are void then); again is harmless."""
        if self._handle is not None:
            self._lib.llama_free(self._handle)
            self._handle = None

    def _alive(self) -> int:
        memory: int = self._memory
        return memory if self.handle else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _token(value: int) -> int | None:
    """llama.cpp's -1 means that the vocabulary has no such token."""
    return value if value >= 0 else None
