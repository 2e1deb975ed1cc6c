"""The raw samples of loads as tables: what is stored, and what `quantcheck load --raw` writes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.records import Record

__all__ = ["Table", "raw_table", "tables"]

Table = dict[str, NDArray[Any]]

OF_REQUEST = ("request", "stream", "phase", "outcome", "prompt_tokens", "output_tokens", "due_s", "sent_s", "end_s",
              "status")


def tables(records: Sequence[Record], zero_ns: int) -> dict[str, Table]:
    """`requests` and `chunks`, times in s after `zero_ns`; NaN where there is none. `status` 0: no response head.

    Requests of all phases are kept: throughput counts every token that arrived in the window. `at_s` and
    `first_s`, `last_s` go by the best stamps of each answer (`Record.stamps`).
    """
    exchanges = [record.exchange for record in records]
    counts = np.array([len(record.answer.chunks) for record in records], np.int64)
    index = np.array([exchange.request for exchange in exchanges], np.int32)
    requests: Table = {
        "request": index,
        "stream": np.array([exchange.stream for exchange in exchanges], np.int32),
        "phase": np.array([exchange.phase for exchange in exchanges], object),
        "prompt_tokens": np.array([record.prompt_tokens for record in records], np.int32),
        "output_tokens": np.array([record.output_tokens for record in records], np.int32),
        "due_s": _seconds([exchange.due_ns for exchange in exchanges], zero_ns),
        "sent_s": _seconds([exchange.sent_ns for exchange in exchanges], zero_ns),
        "first_s": _seconds([record.first_ns for record in records], zero_ns),
        "last_s": _seconds([record.last_ns for record in records], zero_ns),
        "end_s": _seconds([exchange.end_ns for exchange in exchanges], zero_ns),
        "status": np.array([exchange.status or 0 for exchange in exchanges], np.int32),
        "outcome": np.array([record.outcome for record in records], object),
        "detail": np.array([record.detail for record in records], object),
    }
    kernel = _joined([record.kernel_stamps_ns for record in records], np.int64)
    chunks: Table = {
        "request": np.repeat(index, counts),
        "at_s": (_joined([record.stamps_ns for record in records], np.int64) - zero_ns) / 1e9,
        "user_at_s": (_joined([record.user_stamps_ns for record in records], np.int64) - zero_ns) / 1e9,
        "kernel_at_s": np.where(kernel > 0, (kernel - zero_ns) / 1e9, np.nan),
        "tokens": _joined([record.chunk_tokens for record in records], np.int32),
    }
    return {"requests": requests, "chunks": chunks}


def raw_table(names: Sequence[str], loads: Sequence[Mapping[str, Table]]) -> Table:
    """The `tables` of several loads as one: a row for each chunk, with its load's name and its request's columns.

    A request without chunks has one row, times NaN, tokens 0. `at_s` and the other times are s after the beginning of
    the load's window.
    """
    columns: dict[str, list[NDArray[Any]]] = {}
    for number, (name, found) in enumerate(zip(names, loads, strict=True)):
        requests, chunks = found["requests"], found["chunks"]
        place = {request: row for row, request in enumerate(requests["request"].tolist())}
        rows = np.array([place[request] for request in chunks["request"].tolist()], np.int64)
        silent = np.setdiff1d(np.arange(len(requests["request"])), rows)
        both = np.concatenate([rows, silent])
        part: Table = {"load": np.full(len(both), name, object), "window": np.full(len(both), number, np.int32)}
        part |= {column: requests[column][both] for column in OF_REQUEST}
        for column in ("at_s", "user_at_s", "kernel_at_s"):
            part[column] = np.concatenate([chunks[column], np.full(len(silent), np.nan)])
        part["tokens"] = np.concatenate([chunks["tokens"], np.zeros(len(silent), np.int32)])
        for column, values in part.items():
            columns.setdefault(column, []).append(values)
    return {column: np.concatenate(values) for column, values in columns.items()}


def _joined(arrays: Sequence[NDArray[Any]], kind: type[np.int32] | type[np.int64]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def _seconds(times_ns: Sequence[int | None], zero_ns: int) -> NDArray[np.float64]:
    return np.array([np.nan if ns is None else (ns - zero_ns) / 1e9 for ns in times_ns], np.float64)
