"""Messages between us and a worker: JSON and arrays over a socket. Needs numpy and the standard library alone.

A message is the length of its head (4 bytes, big-endian), the head (UTF-8 JSON: `meta`, and of each array its name,
dtype and shape), then the arrays' bytes one after the other, in C order and little-endian.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "Message", "receive", "send"]

Arrays = Mapping[str, NDArray[Any]]
Message = tuple[dict[str, Any], dict[str, NDArray[Any]]]

_LENGTH = struct.Struct(">I")
_KINDS = frozenset("biuf")


def send(connection: socket.socket, meta: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write one message; raises `OSError` when the other side is gone."""
    parts = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in (arrays or {}).items()}
    head = json.dumps({
        "meta": dict(meta),
        "arrays": [[name, array.dtype.str, array.shape] for name, array in parts.items()],
    }).encode()
    connection.sendall(_LENGTH.pack(len(head)) + head)
    for array in parts.values():
        connection.sendall(array.reshape(-1).view(np.uint8).data)


def receive(connection: socket.socket) -> Message | None:
    """The next message; None when the other side has ended between two of them. Raises `OSError` amid one."""
    length = _read(connection, _LENGTH.size)
    if length is None:
        return None
    head = _read(connection, _LENGTH.unpack(length)[0])
    if head is None:
        raise ConnectionResetError("ended amid a message")
    told = json.loads(bytes(head))
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in told["arrays"]:
        dtype = np.dtype(kind)
        if dtype.kind not in _KINDS:
            raise ConnectionResetError(f"an array of {dtype} in a message")
        array = np.empty(shape, dtype)
        if array.size:
            _fill(connection, array.reshape(-1).view(np.uint8).data)
        arrays[name] = array
    return told["meta"], arrays


def _read(connection: socket.socket, size: int) -> bytearray | None:
    """`size` bytes; None when there are none at all."""
    data = bytearray(size)
    if size:
        first = connection.recv_into(data)
        if not first:
            return None
        if first < size:
            _fill(connection, memoryview(data)[first:])
    return data


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionResetError("ended amid a message")
        view = view[count:]
