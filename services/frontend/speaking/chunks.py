"""What the gateway does to chunks: very little. Only text goes in, and only samples and codes are read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.arrays import Array
from services.common.errors import InvalidRequestError, StageFailedError
from services.frontend.speaking.segment_queue import Segment

FULL_SCALE = 32767
"""int16 of a float sample of 1."""


def from_segment(segment: Segment, takes: stage_pb2.Edge) -> stage_pb2.Chunk:
    """A whole segment's token ids as the one chunk that the first stage takes."""
    spec = takes.tensors[0]
    ids = np.asarray(segment.token_ids, dtype=spec.dtype)
    return stage_pb2.Chunk(segment=segment.index, tensors=tensors.to_proto({spec.name: ids}), is_segment_end=True)


def forwarded(chunk: stage_pb2.Chunk, takes: stage_pb2.Edge) -> stage_pb2.Chunk:
    """The chunk with only those tensors that the next stage takes."""
    names = {spec.name for spec in takes.tensors}
    if all(tensor.name in names for tensor in chunk.tensors):
        return chunk
    reduced = stage_pb2.Chunk()
    reduced.CopyFrom(chunk)
    del reduced.tensors[:]
    reduced.tensors.extend(tensor for tensor in chunk.tensors if tensor.name in names)
    return reduced


def num_items(chunk: stage_pb2.Chunk, edge: stage_pb2.Edge) -> int:
    """How many codes, frames or samples a chunk holds: the length that its edge leaves open."""
    for spec in edge.tensors:
        for tensor in chunk.tensors:
            if tensor.name == spec.name and -1 in spec.shape and len(tensor.shape) == len(spec.shape):
                return int(tensor.shape[list(spec.shape).index(-1)])
    return 0


def pcm(chunk: stage_pb2.Chunk, stage: str) -> npt.NDArray[np.int16]:
    """The samples of a chunk of the last stage as int16; float32 samples, 1 being the loudest, are converted.

    Raises:
        StageFailedError: They are no samples.
    """
    if not chunk.tensors:
        return np.zeros(0, np.int16)
    samples = _array(chunk.tensors[0], stage)
    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise StageFailedError(
            f"stage {stage!r} gave {samples.dtype} {samples.shape}, not int16 or float32 samples", stage=stage
        )
    if samples.dtype == np.int16:
        return samples
    if not np.isfinite(samples).all():
        raise StageFailedError(f"stage {stage!r} gave samples that are no numbers", stage=stage)
    scaled: npt.NDArray[np.int16] = np.rint(np.clip(samples, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    return scaled


def codes(chunk: stage_pb2.Chunk, edge: stage_pb2.Edge, stage: str) -> list[int]:
    """The codes of a chunk, those of one instant together, whatever the order of the tensor's axes.

    Raises:
        StageFailedError: They are not what the edge says.
    """
    spec = next((spec for spec in edge.tensors if np.dtype(spec.dtype).kind in "iu"), None)
    tensor = next((tensor for tensor in chunk.tensors if spec is not None and tensor.name == spec.name), None)
    if spec is None or tensor is None:
        return []
    values = _array(tensor, stage)
    if values.ndim != len(spec.shape) or values.dtype.kind not in "iu" or (values.size and values.min() < 0):
        raise StageFailedError(f"stage {stage!r} gave {values.dtype} {values.shape}, not codes", stage=stage)
    time_axis = list(spec.shape).index(-1) if -1 in spec.shape else 0
    return [int(code) for code in np.moveaxis(values, time_axis, 0).ravel()]


def _array(tensor: stage_pb2.Tensor, stage: str) -> Array:
    try:
        return tensors.from_proto([tensor])[tensor.name]
    except InvalidRequestError as error:
        raise StageFailedError(f"stage {stage!r} gave a broken tensor: {error}", stage=stage) from error
