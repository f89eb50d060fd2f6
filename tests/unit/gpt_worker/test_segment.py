"""One segment in work: which codes leave when, and how it ends; the network is made up of its scores."""

from __future__ import annotations

from collections import deque

import numpy as np

from services.common.stage.session import Chunk, FinishReason
from services.gpt_worker.model.decoding import RowOutput
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.sampling import CodeChooser
from services.gpt_worker.segment import SegmentDecode

VOCABULARY, START, STOP, WIDTH = 10, 8, 9, 3


def segment(*replay: int, size: int = 3, max_codes: int = 100) -> SegmentDecode:
    greedy = SamplingOptions(do_sample=False, repetition_penalty=1.0)
    return SegmentDecode(
        segment=5,
        row=0,
        codes_per_chunk=size,
        max_codes=max_codes,
        stop_code=STOP,
        positions="fast",
        chooser=CodeChooser(greedy, vocabulary=VOCABULARY, start_code=START),
        prefix=deque(),
        replay=deque(replay),
        next_start=len(replay),
    )


def fed(decode: SegmentDecode, *codes: int) -> list[Chunk | None]:
    """What leaves after each step, where the network would choose these codes; latents count the steps."""
    made = []
    for step, code in enumerate(codes):
        scores = np.eye(VOCABULARY, dtype=np.float32)[code]
        reason = decode.advance(RowOutput(scores, np.full(WIDTH, step, np.float32)))
        made.append(decode.take_group(reason, WIDTH))
    return made


def borders(chunk: Chunk | None) -> tuple[int, int, FinishReason]:
    """Start, stop and why it is the last one."""
    assert chunk is not None
    assert chunk.segment == 5
    assert chunk.is_segment_end == bool(chunk.finish_reason)
    return chunk.start, chunk.start + chunk.length, chunk.finish_reason


def test_codes_wait_for_their_group_and_leave_with_their_latents() -> None:
    chunks = fed(segment(size=3), 1, 2, 3, 4)

    assert chunks[0] is chunks[1] is chunks[3] is None
    assert borders(chunks[2]) == (0, 3, FinishReason.NONE)
    assert chunks[2] is not None
    assert chunks[2].tensors["codes"].tolist() == [1, 2, 3]
    assert chunks[2].tensors["latents"].tolist() == [[0] * WIDTH, [1] * WIDTH, [2] * WIDTH]


def test_the_stop_code_ends_a_segment_with_what_is_left_and_does_not_leave() -> None:
    last = fed(segment(size=3), 1, 2, 3, 4, STOP)[-1]

    assert borders(last) == (3, 4, FinishReason.STOP)
    assert last is not None
    assert last.tensors["codes"].tolist() == [4]


def test_a_segment_that_stops_behind_a_group_ends_without_a_code() -> None:
    for codes, start in (((STOP,), 0), ((1, 2, 3, STOP), 3)):
        last = fed(segment(size=3), *codes)[-1]
        assert borders(last) == (start, start, FinishReason.STOP)
        assert last is not None
        assert last.tensors["latents"].shape == (0, WIDTH)


def test_the_limit_of_codes_ends_a_segment() -> None:
    *_, last = fed(segment(size=3, max_codes=4), 1, 2, 3, 4)

    assert borders(last) == (3, 4, FinishReason.MAX_CODES)


def test_replayed_codes_are_fed_instead_of_chosen_and_do_not_leave_again() -> None:
    """Not even where they fill a group; what follows leaves at the borders of the whole segment."""
    decode = segment(7, 6, 5, 4, size=3)
    chunks = fed(decode, 0, 0, 0, 0, 1, 2, 3)

    assert chunks[:5] == [None] * 5
    assert borders(chunks[5]) == (4, 6, FinishReason.NONE)
    assert chunks[5] is not None
    assert chunks[5].tensors["codes"].tolist() == [1, 2]
    assert chunks[5].tensors["latents"].tolist() == [[4] * WIDTH, [5] * WIDTH]
    assert decode.next.code == 3
    assert decode.next.position == 7


def test_what_was_replayed_is_penalised_like_what_was_chosen() -> None:
    options = SamplingOptions(do_sample=False, repetition_penalty=10.0)
    scores = np.array([0, 5, 4, 0, 0, 0, 0, 0, 0, 0], np.float32)
    decode = segment(1)
    decode.chooser = CodeChooser(options, vocabulary=VOCABULARY, start_code=START)
    for _ in range(2):
        decode.advance(RowOutput(scores, np.zeros(WIDTH, np.float32)))

    assert decode.codes == [2]
