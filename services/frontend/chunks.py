"""What the gateway does to chunks: very little. Only text goes in and only PCM is read."""

from __future__ import annotations

import numpy as np

from protos.tts.stages.v1 import stage_pb2
from services.common import tensors
from services.common.errors import InvalidRequestError, StageFailedError
from services.frontend.segment_queue import Segment


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


def pcm(chunk: stage_pb2.Chunk, stage: str) -> bytes:
    """The samples of a chunk of the last stage.

    Raises:
        StageFailedError: They are not 16-bit samples.
    """
    if not chunk.tensors:
        return b""
    try:
        samples = tensors.from_proto(chunk.tensors[:1])[chunk.tensors[0].name]
    except InvalidRequestError as error:
        raise StageFailedError(f"stage {stage!r} gave broken samples: {error}", stage=stage) from error
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise StageFailedError(f"stage {stage!r} gave {samples.dtype} {samples.shape}, not int16 samples", stage=stage)
    return samples.tobytes()
