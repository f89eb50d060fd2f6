"""What a stream costs and when it would be heard, by a model in CPU seconds.

The model: one core does nothing but this stream, stage after stage, and passing messages costs nothing. A packet is
ready after the prefill, the codes that it needs, and all work of S2Mel and the vocoder up to it. It leaves out the
gateway, the transport, and that stages work side by side on several cores. So it ranks policies and is no measurement
of a running system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.quality.material import Speech
from bench.quality.rendering import Packet

_LEAST_SOUND_SECONDS = 0.04


def ready_times(speech: Speech, packets: Sequence[Packet]) -> list[float]:
    """CPU seconds from the text until each packet is there."""
    return [speech.prefill_seconds + packet.num_codes * speech.code_seconds + packet.cpu_seconds for packet in packets]


def first_heard(packets: Sequence[Packet], rate_hz: int) -> int:
    """Index of the packet with which there is enough sound to begin: less is no first audio."""
    needed = min(_LEAST_SOUND_SECONDS * rate_hz, packets[-1].start + packets[-1].num_samples)
    return next(index for index, packet in enumerate(packets) if packet.start + packet.num_samples >= needed)


def streams_without_gap(packets: Sequence[Packet], ready: Sequence[float], rate_hz: int) -> float:
    """How many such streams one core carries when playback begins with the first audio; infinite where nothing follows.

    With n streams that share the core fairly everything takes n times as long. Packet i is in time when
    n * (ready[i] - ready[first]) is at most the sound that came before it.
    """
    first = first_heard(packets, rate_hz)
    bearable = [
        packet.start / rate_hz / (time - ready[first])
        for packet, time in zip(packets[first + 1 :], ready[first + 1 :], strict=True)
        if time > ready[first]
    ]
    return min(bearable, default=math.inf)


def real_time_factor(packets: Sequence[Packet], ready: Sequence[float], rate_hz: int) -> float:
    """CPU seconds for each second of sound."""
    return ready[-1] * rate_hz / (packets[-1].start + packets[-1].num_samples)
