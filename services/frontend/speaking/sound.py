"""An utterance as the packets that go to its caller."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from services.frontend.audio import AudioFormat
from services.frontend.speaking.packets import Packet, Packets
from services.frontend.speaking.utterance import Utterance, speak

AddText = Callable[[], Awaitable[None]]


async def sound(utterance: Utterance, add_text: AddText, audio: AudioFormat) -> AsyncGenerator[Packet, None]:
    """Yield an utterance's packets while it is spoken; leaving early frees its slots at once.

    Args:
        utterance: What to speak.
        add_text: Hands in its text meanwhile.
        audio: The request's, but for the length of a packet where that does not matter.
    """
    packets = Packets(audio, utterance.request.pipeline.sample_rate_hz)
    async with aclosing(speak(utterance, add_text)) as speech:
        async for spoken in speech:
            for packet in packets.push(spoken):
                yield packet
    for packet in packets.finish():
        yield packet
