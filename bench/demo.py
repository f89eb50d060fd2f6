"""`python -m bench.demo`: one sentence through all four processes into a WAV file, and what it took."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from triptych import AsyncClient, Audio, Model, Options, Samples, Timings, TtsError, Utterance, WavWriter

from bench.local import LocalSystem, StartError
from bench.local.progress import StatusLine

SENTENCE = "The first light of the morning came over the hills, and the whole valley began to sing."

_N_FFT = 1024
_HOP = 256
_MEL_BINS = 80


@dataclass
class Spoken:
    """One speech, and when it came."""

    samples: Samples
    sample_rate_hz: int
    first_audio_seconds: float
    total_seconds: float
    utterance: Utterance
    timings: Timings

    @property
    def audio_seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz


def main() -> int:
    arguments = _parser().parse_args()
    system = LocalSystem(arguments.model, threads=arguments.threads)
    try:
        print("starting the gateway and three workers", file=sys.stderr)
        system.start(timeout_seconds=900.0, report=StatusLine())
        spoken, model = asyncio.run(_speak(system.address, arguments))
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except TtsError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        system.stop()
    output: Path = arguments.out
    output.parent.mkdir(parents=True, exist_ok=True)
    with WavWriter(output) as writer:
        writer.write(spoken.samples, spoken.sample_rate_hz)
    picture = output.with_suffix(".png")
    _draw(spoken, picture)
    _print(spoken, model, output, picture)
    return 0


async def _speak(address: str, arguments: argparse.Namespace) -> tuple[Spoken, Model]:
    options: Options = {}
    if arguments.voice:
        options["voice"] = arguments.voice
    if arguments.seed is not None:
        options["seed"] = arguments.seed
    async with AsyncClient(address) as client:
        if "voice" in options:
            # Registered beforehand: the features of a new voice are no part of the time to first audio.
            options["voice"] = await client.voices.resolve(arguments.voice)
        started = monotonic()
        arrivals: list[tuple[float, Audio]] = [
            (monotonic() - started, audio)
            async for audio in client.synthesize_stream(arguments.text or SENTENCE, **options)
        ]
        (first_seconds, first), (total_seconds, last) = arrivals[0], arrivals[-1]
        assert first.utterance is not None
        assert last.timings is not None
        spoken = Spoken(
            samples=np.concatenate([audio.samples for _, audio in arrivals]),
            sample_rate_hz=first.sample_rate_hz,
            first_audio_seconds=first_seconds,
            total_seconds=total_seconds,
            utterance=first.utterance,
            timings=last.timings,
        )
        return spoken, await client.model(first.utterance.model)


def _print(spoken: Spoken, model: Model, output: Path, picture: Path) -> None:
    print(f"\nmodel            {spoken.utterance.model}, revision {spoken.utterance.model_revision}")
    print(f"voice            {spoken.utterance.voice_id}")
    print(f"seed             {spoken.utterance.seed}")
    print(f"audio            {spoken.audio_seconds:.2f} s at {spoken.sample_rate_hz} Hz")
    print(f"first audio      {1000 * spoken.first_audio_seconds:.0f} ms after the request")
    rtf = spoken.total_seconds / spoken.audio_seconds
    print(f"real-time factor {rtf:.2f} ({spoken.total_seconds:.2f} s in all)")
    for stage in model.stages:
        compute_ms = spoken.timings.compute_ms.get(stage.name, 0.0)
        first_ms = spoken.timings.first_output_ms.get(stage.name, 0.0)
        where = f"first output after {first_ms:.0f} ms, on {stage.device} in {stage.dtype}"
        print(f"  {stage.name:<14} {compute_ms:.0f} ms of computing, {where}")
    print(f"speech           {output}")
    print(f"picture          {picture}")


def _draw(spoken: Spoken, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only the picture needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    signal = spoken.samples.astype(np.float64)
    seconds = np.arange(len(signal)) / spoken.sample_rate_hz
    figure, (wave, mel) = plt.subplots(2, 1, figsize=(10, 5), sharex=True, layout="constrained")
    wave.plot(seconds, signal, linewidth=0.4)
    wave.set(ylim=(-1, 1), ylabel="amplitude")
    spectrogram = mel_decibels(signal, spoken.sample_rate_hz)
    mel.imshow(
        spectrogram,
        origin="lower",
        aspect="auto",
        extent=(0, len(signal) / spoken.sample_rate_hz, 0, _MEL_BINS),
        vmin=spectrogram.max() - 80,
    )
    mel.set(xlabel="seconds", ylabel="mel bin")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def mel_decibels(signal: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Return a mel spectrogram for looking at: (bins, frames) in decibels."""
    padded = np.pad(signal, (_N_FFT // 2, _N_FFT // 2 + _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_N_FFT), axis=1)) ** 2
    decibels: NDArray[np.float64] = 10 * np.log10(power @ _mel_filters(rate).T + 1e-10).T
    return decibels


def _mel_filters(rate: int) -> NDArray[np.float64]:
    """Return triangles that are evenly spaced on the mel scale: (bins, frequencies)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, _MEL_BINS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_N_FFT, 1 / rate)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--text", help="what to say")
    parser.add_argument("--voice", help="a recording of the speaker, or the name of a voice")
    parser.add_argument("--out", type=Path, default=Path("var/demo.wav"), help="WAV file to write")
    parser.add_argument("--model", type=Path, default=Path("models/mini"), help="checkpoint directory")
    parser.add_argument("--seed", type=int, help="the same seed gives the same speech")
    parser.add_argument("--threads", type=int, help="CPU threads of each worker")
    return parser


if __name__ == "__main__":
    sys.exit(main())
