"""What one utterance used."""

from __future__ import annotations

from dataclasses import dataclass

from services.frontend.speaking.packets import Packet


@dataclass(slots=True)
class Usage:
    """Sums over the segments that were heard."""

    text_tokens: int = 0
    codes: int = 0
    num_samples: int = 0
    """At the rate that is sent, silences included."""

    def add(self, packet: Packet) -> None:
        self.num_samples += packet.num_samples
        for ended in packet.segment_ends:
            if ended.num_samples:
                self.text_tokens += len(ended.spoken.segment.token_ids)
                self.codes += ended.spoken.codes
