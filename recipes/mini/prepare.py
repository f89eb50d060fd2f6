"""Step 1: features and frame labels of every clip, and of one warped copy of it. Resumable by shard.

python -m recipes.mini.prepare [--part 0 --parts 2]
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from recipes.mini import corpus, features, paths

SHARD_ROWS = 256
WARP_RANGES = ((0.85, 0.94), (1.07, 1.17))
MIN_SECONDS = 0.8


def clip_entry(row: corpus.Row, wave: corpus.FloatArray, warp: float) -> dict[str, Any] | None:
    quality = "HQ" if warp == 1.0 else "MQ"
    wave16 = soxr.resample(wave, corpus.TEACHER_RATE, features.ENCODER_RATE / warp, quality=quality)
    if len(wave16) < MIN_SECONDS * features.ENCODER_RATE:
        return None
    bank = features.log_filter_bank(torch.from_numpy(wave16.astype(np.float32)))
    labels = corpus.frame_labels(row, len(bank) // 2, warp)
    if labels is None:
        return None
    return {
        "id": row["id"],
        "speaker": corpus.speaker_of(row),
        "warp": warp,
        "held_out": corpus.is_held_out(row),
        "text": row["text"],
        "phonemes": row["phonemes"],
        "bank": (bank - bank.mean(0)).half(),
        "bank_mean": bank.mean(0),
        "label": torch.from_numpy(labels.phoneme).to(torch.uint8),
        "stress": torch.from_numpy(labels.stress).to(torch.uint8),
        "log_f0": torch.from_numpy(labels.log_f0).half(),
        "voiced": torch.from_numpy(labels.voiced),
        "has_f0": labels.has_f0,
        "character": torch.from_numpy(labels.character).to(torch.int16),
    }


def clip_entries(row: corpus.Row) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The clip and its warped copy for the encoder, and the 22.05 kHz audio and mel of the clip itself."""
    wave = corpus.read_audio(paths.SPEECH / row["file"])
    chance = random.Random(row["id"])
    warps = (1.0, round(chance.uniform(*chance.choice(WARP_RANGES)), 3))
    entries = [entry for warp in warps if (entry := clip_entry(row, wave, warp)) is not None]
    wave22 = soxr.resample(wave, corpus.TEACHER_RATE, features.MEL_RATE).astype(np.float32)
    wave22 = wave22[: len(wave22) // features.MEL_HOP * features.MEL_HOP]
    tensor = torch.from_numpy(wave22)
    audio = {
        "id": row["id"],
        "mel": features.log_mel(tensor[None])[0].half(),
        "wave": (tensor.clamp(-1, 1) * 32767).to(torch.int16),
    }
    return entries, audio


def save(value: object, path: Path) -> None:
    """Write whole or not at all, so that a stopped run leaves no half shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = corpus.read_rows(paths.SPEECH)
    shards = [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]
    for index in range(arguments.part, len(shards), arguments.parts):
        name = f"{index:03d}.pt"
        if (paths.FEATURES / name).exists():
            continue
        started = time.time()
        entries, audio = [], []
        for row in shards[index]:
            clip, sound = clip_entries(row)
            entries += clip
            if clip:
                audio.append(sound)
        save(audio, paths.AUDIO / name)
        save(entries, paths.FEATURES / name)
        print(f"prepare: shard {index + 1}/{len(shards)}, {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
