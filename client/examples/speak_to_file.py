"""Speak a text into a WAV file: `python speak_to_file.py "Good morning." morning.wav`."""

import sys

import triptych


def main(text: str, path: str) -> None:
    with triptych.Client(timeout=60) as client:
        try:
            speech = client.synthesize(text, seed=7)
        except triptych.QosError as error:
            sys.exit(f"the server is full; try again in {error.retry_after_seconds or 1:.0f} s")
        except triptych.TtsError as error:
            sys.exit(f"{error} ({error.reason})")
    speech.save(path)
    for warning in speech.warnings:
        print(f"not spoken: {text[slice(*warning.text_span)]!r}", file=sys.stderr)
    print(f"{speech.duration_seconds:.1f} s at {speech.sample_rate_hz} Hz, seed {speech.utterance.seed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
