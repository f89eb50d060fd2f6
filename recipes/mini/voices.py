"""The bundled reference recordings: teacher voices, two clips each, as the service would be given them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from recipes.mini import corpus, paths

PAUSE_SECONDS = 0.25
MIN_SECONDS, MAX_SECONDS = 5.0, 6.0
# Name -> teacher voice. Unwarped, so that each is one of the teacher's own.
VOICES = {"amber": "af_heart", "birch": "am_michael", "cedar": "bf_emma"}


def recording(rows: list[corpus.Row], speaker: str) -> tuple[np.ndarray, str]:
    """Join the first clips of a speaker that make up 5 to 8 seconds: samples at 24 kHz, and the text."""
    own = [row for row in rows if row["speaker"] == speaker and row["warp"] == 1.0 and row["duration"] > 2.0]
    for first in own:
        for second in own:
            seconds = first["duration"] + second["duration"] + PAUSE_SECONDS
            if first is not second and MIN_SECONDS < seconds < MAX_SECONDS:
                pause = np.zeros(int(PAUSE_SECONDS * corpus.TEACHER_RATE), dtype=np.float32)
                waves = [corpus.read_audio(paths.SPEECH / row["file"]) for row in (first, second)]
                return np.concatenate([waves[0], pause, waves[1]]), f"{first['text']} {second['text']}"
    raise SystemExit(f"no clips of {speaker} add up to {MIN_SECONDS} to {MAX_SECONDS} s")


def write(root: Path) -> None:
    rows = [row for row in corpus.read_rows(paths.SPEECH) if not corpus.is_held_out(row)]
    folder = root / "voices"
    folder.mkdir(parents=True, exist_ok=True)
    for name, speaker in VOICES.items():
        samples, _ = recording(rows, speaker)
        soundfile.write(folder / f"{name}.flac", samples, corpus.TEACHER_RATE, subtype="PCM_16")
