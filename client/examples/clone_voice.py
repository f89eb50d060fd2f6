"""Speak with the voice of a recording, gladly: `python clone_voice.py me.wav glad.wav`."""

import sys
import wave

import numpy as np
import triptych


def samples_of(path: str) -> tuple[np.ndarray, int]:
    """Read a 16-bit WAV file as a program does that has the samples already."""
    with wave.open(path) as file:
        steps = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return steps.astype(np.float32) / 32768, file.getframerate()


def main(recording: str, path: str) -> None:
    samples, rate = samples_of(recording)
    with triptych.Client(timeout=120) as client:
        # The samples go with the request and are not kept. `voice=recording` would send the file as it is,
        # and `client.voices.create("me", recording)` would keep it under a name.
        speech = client.synthesize(
            "I did not expect to hear my own voice today!",
            voice=triptych.Recording(samples, rate),
            emotion=triptych.Emotion({"happy": 0.7, "surprised": 0.3}, weight=0.8),
            speaking_rate=1.1,
        )
    speech.save(path)
    print(f"{speech.duration_seconds:.1f} s with voice {speech.utterance.voice_id[:12]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
