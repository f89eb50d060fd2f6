"""Speak text while a language model still writes it: `python speak_tokens.py answer.wav`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from time import monotonic

import triptych


async def tokens() -> AsyncIterator[str]:
    """Stand in for a language model: some words a second, cut anywhere."""
    answer = "Here is a first thought, and it is spoken at once. The second one is still being written meanwhile."
    for start in range(0, len(answer), 5):
        yield answer[start : start + 5]
        await asyncio.sleep(0.02)


async def main(path: str) -> None:
    started = monotonic()
    async with triptych.AsyncClient(timeout=60) as client:
        # The speech ends when the tokens do.
        stream = client.stream_text(tokens(), priority="interactive")
        with triptych.WavWriter(path) as writer:
            async for audio in stream:
                if audio.utterance:
                    print(f"first audio after {monotonic() - started:.1f} s")
                writer.write(audio.samples, audio.sample_rate_hz)
                for segment in audio.segment_ends:
                    print(f"characters {segment.text_span.start} to {segment.text_span.end} are spoken")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
