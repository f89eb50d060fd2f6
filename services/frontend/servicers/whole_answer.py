"""All of an utterance's speech in one message."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from protos.tts.v1 import synthesis_pb2
from services.common.channels import MAX_MESSAGE_BYTES
from services.common.errors import TooLargeError
from services.common.reasons import Reason
from services.frontend.audio import encoding
from services.frontend.servicers import convert
from services.frontend.speaking.packets import Packet
from services.frontend.speaking.usage import Usage
from services.frontend.speaking.utterance import Utterance


async def whole_answer(
    utterance: Utterance, packets: AsyncGenerator[Packet, None]
) -> tuple[synthesis_pb2.SynthesizeResponse, float]:
    """Take in all packets; returns the answer and the seconds of its audio.

    Raises:
        TtsError: The speech could not be made in time, or does not fit into a message: its work ends there and then.
    """
    usage, parts, segments = Usage(), list[bytes](), list[synthesis_pb2.SegmentInfo]()
    num_bytes = 0
    async with aclosing(packets):
        async for packet in packets:
            usage.add(packet)
            num_bytes += len(packet.audio)
            _check_fits(num_bytes)
            parts.append(packet.audio)
            segments += [convert.segment_to_proto(ended) for ended in packet.segment_ends]
    # Nothing of it was sent before.
    if usage.num_samples:
        utterance.note_audio()
    utterance.timings.finish()
    audio = utterance.request.audio
    answer = synthesis_pb2.SynthesizeResponse(
        audio=b"".join([encoding.header(audio, usage.num_samples), *parts]),
        sample_rate_hz=audio.sample_rate_hz,
        utterance=convert.utterance_to_proto(utterance.request, utterance.language),
        segments=segments,
        timings=convert.timings_to_proto(utterance.timings),
        usage=convert.usage_to_proto(usage, utterance),
        warnings=map(convert.warning_to_proto, utterance.warnings),
    )
    _check_fits(answer.ByteSize())
    return answer, answer.usage.audio_seconds


def _check_fits(num_bytes: int) -> None:
    if num_bytes > MAX_MESSAGE_BYTES:
        raise TooLargeError(
            f"the speech of this text takes more than the {MAX_MESSAGE_BYTES} bytes of one answer; "
            "SynthesizeStream has no such limit",
            field="text",
            reason=Reason.MESSAGE_TOO_LARGE,
            metadata={"maximum": str(MAX_MESSAGE_BYTES)},
        )
