"""Step 4: semantic features and codes of every unwarped clip, with its mel and its alignment to the text.

python -m recipes.mini.encode
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recipes.mini import dims, features, paths, phonemes, training
from recipes.mini.prepare import save
from recipes.mini.semantic_network import SemanticModel


@dataclass(frozen=True)
class EncodedClip:
    """What the later steps train on."""

    id: str
    speaker: str
    held_out: bool
    text: str
    tokens: Tensor  # (L,) int16, one per phoneme character
    codes: Tensor  # (n,) int16
    character: Tensor  # (n,) int16 index into `$` + phonemes + `$`
    features: Tensor  # (n, width) fp16
    mel: Tensor  # (80, T) fp16
    bank: Tensor  # (2n, 80) fp16, mean removed
    bank_mean: Tensor  # (80,)


def load_model(device: torch.device) -> SemanticModel:
    model = SemanticModel()
    state = training.load_state(paths.run_directory("semantic") / "state.pt")
    if state is None:
        raise SystemExit("no semantic encoder yet: run `python -m recipes.mini.semantic` first")
    model.load_state_dict(state["model"])
    return model.to(device).eval()


@torch.no_grad()
def encode_clip(model: SemanticModel, entry: dict[str, Any], mel: Tensor, device: torch.device) -> dict[str, Any]:
    x = features.encoder_input(entry["bank"].float())
    hidden = model.features(x[None].to(device))
    codes = model.codec.quantize(hidden)[0].cpu()
    return {
        **{name: entry[name] for name in ("id", "speaker", "held_out", "text", "bank", "bank_mean")},
        "tokens": torch.tensor(phonemes.token_ids(entry["phonemes"]), dtype=torch.int16),
        "codes": codes.to(torch.int16),
        "character": entry["character"][: len(codes)],
        "features": hidden[0].half().cpu(),
        "mel": mel,
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    device = training.pick_device()
    model = load_model(device)
    shards = sorted(paths.FEATURES.glob("*.pt"))
    for number, path in enumerate(shards):
        mels = {entry["id"]: entry["mel"] for entry in torch.load(paths.AUDIO / path.name, weights_only=True)}
        entries = [entry for entry in torch.load(path, weights_only=True) if entry["warp"] == 1.0]
        encoded = [encode_clip(model, entry, mels[entry["id"]], device) for entry in entries]
        save(encoded, paths.CODES / path.name)
        print(f"encode: shard {number + 1}/{len(shards)}", flush=True)
    table = model.codec.embed(torch.arange(dims.CODEBOOK_SIZE, device=device)[None])[0].detach().cpu()
    save(table, paths.STATE / "code_vectors.pt")


def load_clips() -> tuple[list[EncodedClip], list[EncodedClip]]:
    """Training clips, held-out clips."""
    clips = [
        EncodedClip(**entry)
        for path in sorted(paths.CODES.glob("*.pt"))
        for entry in torch.load(path, weights_only=True)
    ]
    return [clip for clip in clips if not clip.held_out], [clip for clip in clips if clip.held_out]


def code_vectors() -> Tensor:
    """(codebook, width): what vq2emb gives for every code."""
    table: Tensor = torch.load(paths.STATE / "code_vectors.pt", weights_only=True)
    return table


if __name__ == "__main__":
    main()
