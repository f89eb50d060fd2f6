"""The packed synthetic speech: its rows, its audio, and frame labels from the teacher's own durations."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from recipes.mini.features import CODES_PER_SECOND
from recipes.mini.phonemes import SILENT, alphabet

TEACHER_RATE = 24000
DURATION_UNIT = 600  # samples at 24 kHz
F0_PERIOD = 300
# Measured: phoneme labels lag the sound by 50 ms, F0 does not lag.
LABEL_SHIFT_SECONDS = 0.050
FRAME_CENTRE_SECONDS = 0.0175
SHORT_SPACE_FRAMES = 3
HELD_OUT_SPEAKERS = ("mix:am_puck+if_sara:", "mix:am_adam+am_echo:")

Row = dict[str, Any]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrameLabels:
    """One entry per 20 ms frame."""

    phoneme: npt.NDArray[np.int64]  # 0 is silence, else alphabet index + 2
    stress: npt.NDArray[np.int64]
    log_f0: npt.NDArray[np.float64]  # speaker-normalised, 0 where unvoiced
    voiced: npt.NDArray[np.bool_]
    has_f0: bool
    character: npt.NDArray[np.int64]  # index into the phoneme string, for guided attention


def read_rows(folder: Path) -> list[Row]:
    f0: dict[str, list[float]] = {}
    with gzip.open(folder / "f0.jsonl.gz", "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            f0[entry["id"]] = entry["f0"]
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").open()]
    for row in rows:
        if row["id"] in f0:
            row["f0"] = f0[row["id"]]
    return rows


def is_held_out(row: Row) -> bool:
    """One clip in a hundred, and every clip of a few voices, is never trained on."""
    return zlib.crc32(row["id"].encode()) % 100 == 0 or row["speaker"].startswith(HELD_OUT_SPEAKERS)


def speaker_of(row: Row) -> str:
    """A warp makes another apparent speaker of the same voice."""
    return f"{row['speaker']}@{row['warp']:.2f}"


def read_audio(path: Path) -> FloatArray:
    """Decode to 24 kHz mono float32."""
    resampler = av.AudioResampler("flt", "mono", TEACHER_RATE)
    pieces: list[FloatArray] = []
    with av.open(str(path)) as container:
        for frame in (*container.decode(audio=0), None):
            pieces += [resampled.to_ndarray()[0] for resampled in resampler.resample(frame)]
    return np.concatenate(pieces)


def runs_of(labels: npt.NDArray[np.int64], value: int) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels == value, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def settle_spaces(labels: npt.NDArray[np.int64], space: int) -> npt.NDArray[np.int64]:
    """A short space in speech belongs to the sound before it; a long one, or one at a pause, is silence."""
    out = labels.copy()
    for start, end in runs_of(labels, space):
        at_pause = start == 0 or out[start - 1] == 0 or (end < len(out) and out[end] == 0)
        out[start:end] = 0 if at_pause or end - start > SHORT_SPACE_FRAMES else out[start - 1]
    return out


def character_classes(string: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Class and stress of every character; marks of stress and length count as the sound they belong to."""
    ids = {character: index + 2 for index, character in enumerate(alphabet())}
    sound = list(range(len(string)))
    stress = np.zeros(len(string), dtype=np.int64)
    for index, character in enumerate(string):
        if character in "ˈˌ" and index + 1 < len(string):
            sound[index] = index + 1
        elif character == "ː" and index > 0:
            sound[index] = index - 1
        if character == "ˈ":
            stress[index : index + 2] = 1
    classes = [0 if string[s] in SILENT else ids[string[s]] for s in sound]
    return np.array(classes, dtype=np.int64), stress


def frame_labels(row: Row, num_frames: int, extra_warp: float = 1.0) -> FrameLabels | None:
    """Labels of a clip that is additionally resampled by `extra_warp`; None where the row is inconsistent."""
    string = "$" + row["phonemes"] + "$"
    if len(row["tokdur"]) != len(string):
        return None
    warp = row["warp"] * extra_warp
    ends = np.cumsum(row["tokdur"]) * DURATION_UNIT / warp - row["trim"] / extra_warp
    centres = np.arange(num_frames) / CODES_PER_SECOND + FRAME_CENTRE_SECONDS
    shifted = (centres + LABEL_SHIFT_SECONDS / warp) * TEACHER_RATE
    at = np.minimum(np.searchsorted(ends, shifted, side="right"), len(string) - 1)
    classes, stress = character_classes(string)
    log_f0 = np.zeros(num_frames)
    voiced = np.zeros(num_frames, dtype=bool)
    if "f0" in row:
        f0 = np.asarray(row["f0"], dtype=np.float64)
        index = (centres * TEACHER_RATE * extra_warp / F0_PERIOD).astype(np.int64)
        picked = f0[np.minimum(index, len(f0) - 1)]
        voiced = picked > 0
        if voiced.sum() > 3:
            log_f0[voiced] = np.log(picked[voiced])
            log_f0[voiced] = (log_f0[voiced] - np.median(log_f0[voiced])) / 0.25
    phoneme = settle_spaces(classes[at], alphabet().index(" ") + 2)
    return FrameLabels(phoneme, stress[at], log_f0, voiced, "f0" in row, at)
