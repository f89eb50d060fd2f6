"""Named arrays as they travel between the gateway and the workers: raw little-endian bytes, never pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from protos.tts.stages.v1 import stage_pb2
from services.common.arrays import Array, Tensors
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason

DTYPES = ("float64", "float32", "float16", "int16", "int32", "int64", "uint8")


def to_proto(tensors: Mapping[str, Array]) -> list[stage_pb2.Tensor]:
    """Turn named arrays into messages, in the order of the mapping."""
    return [
        stage_pb2.Tensor(
            name=name,
            dtype=array.dtype.name,
            shape=array.shape,
            data=np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
        )
        for name, array in tensors.items()
    ]


def from_proto(messages: Iterable[stage_pb2.Tensor]) -> Tensors:
    """Turn messages into named arrays; they are read-only views of the messages' bytes.

    Raises:
        InvalidRequestError: A dtype is unknown, a shape negative, a name repeated, or the bytes are too few or many.
    """
    tensors: Tensors = {}
    for message in messages:
        if message.name in tensors:
            raise _error(f"tensor {message.name!r} is given twice", "tensors")
        tensors[message.name] = _array(message)
    return tensors


def _array(message: stage_pb2.Tensor) -> Array:
    field = f"tensors[{message.name}]"
    if message.dtype not in DTYPES:
        allowed = ", ".join(DTYPES)
        raise _error(f"dtype {message.dtype!r} is not one of {allowed}", f"{field}.dtype")
    shape = tuple(message.shape)
    if len(shape) > 8 or any(size < 0 for size in shape):
        raise _error(f"shape {shape} is not a shape", f"{field}.shape")
    dtype = np.dtype(message.dtype).newbyteorder("<")
    expected = dtype.itemsize
    for size in shape:
        expected *= size
    if expected != len(message.data):
        raise _error(
            f"{message.dtype} of shape {shape} takes {expected} bytes, not {len(message.data)}", f"{field}.data"
        )
    return np.frombuffer(message.data, dtype=dtype).reshape(shape)


def _error(message: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(message, field=field, reason=Reason.TENSOR_INVALID)


def digest(tensors: Mapping[str, Array]) -> str:
    """SHA-256 in hex over names, dtypes, shapes and bytes, whatever the order of the mapping."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        state.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        state.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return state.hexdigest()
