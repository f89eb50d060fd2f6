"""What a caller asks of the stage, checked: the ids of a text, and the numbers by which its codes are chosen."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.arrays import Array
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.common.stage.checks import tensor_error
from services.common.stage.session import Chunk
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.spec import max_text_ids


def check_text(chunk: Chunk, dimensions: GptDimensions) -> None:
    """Raise InvalidRequestError unless the chunk is a whole segment of ids that the model knows."""
    ids, limit = chunk.tensors["ids"], max_text_ids(dimensions)
    if not chunk.is_segment_end or not 1 <= len(ids) <= limit:
        raise tensor_error(f"a segment is one chunk of 1 to {limit} ids; this one has {len(ids)}", "chunk.tensors[ids]")
    check_ids(ids, dimensions.text_tokens, "chunk.tensors[ids]")


def check_ids(ids: Array, limit: int, field: str) -> None:
    """Raise InvalidRequestError unless all ids are 0 to limit - 1."""
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= limit):
        raise tensor_error(f"ids must be 0 to {limit - 1}", field)


def sampling_options(params: Mapping[str, float]) -> SamplingOptions:
    """How the codes of a session are chosen.

    Raises:
        InvalidRequestError: Beams are asked for where codes are streamed.
    """
    if params["num_beams"] > 1 and not params["compat"]:
        raise InvalidRequestError(
            "num_beams above 1 needs the compat policy",
            field="open.params[num_beams]",
            reason=Reason.FIELD_CONFLICT,
        )
    return SamplingOptions(
        temperature=params["temperature"],
        top_k=int(params["top_k"]),
        top_p=params["top_p"],
        repetition_penalty=params["repetition_penalty"],
        do_sample=not params["greedy"],
        num_beams=int(params["num_beams"]),
        length_penalty=params["length_penalty"],
        max_codes=int(params["max_codes"]),
    )
