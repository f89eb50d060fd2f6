"""Step 3: speaker vectors of the teacher network for a few clips of every speaker.

python -m recipes.mini.teacher_style
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch

from recipes.mini import paths, speaker_judge, training
from recipes.mini.prepare import save

CLIPS_PER_SPEAKER = 2
MIN_FRAMES = 200
OUTPUT = paths.STATE / "teacher_style.pt"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    training.pick_device()
    count: Counter[str] = Counter()
    entries: list[dict[str, Any]] = []
    shards = sorted(paths.FEATURES.glob("*.pt"))
    for number, path in enumerate(shards):
        for entry in torch.load(path, weights_only=True):
            is_wanted = entry["held_out"] or count[entry["speaker"]] < CLIPS_PER_SPEAKER
            if entry["warp"] != 1.0 or len(entry["bank"]) < MIN_FRAMES or not is_wanted:
                continue
            count[entry["speaker"]] += 1
            bank = entry["bank"].float() + entry["bank_mean"]
            vector = speaker_judge.embed_bank(bank)
            kept = {name: entry[name] for name in ("id", "speaker", "held_out")}
            entries.append({**kept, "vector": vector})
        print(f"teacher_style: shard {number + 1}/{len(shards)}, {len(entries)} vectors", flush=True)
    save(entries, OUTPUT)


if __name__ == "__main__":
    main()
