"""Clips as padded batches for the GPT."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from recipes.mini import dims
from recipes.mini.encode import EncodedClip
from recipes.mini.phonemes import SILENT, SPECIAL, alphabet

PROMPT_FRAMES = (75, 100, 150, 200, 300)


@dataclass(frozen=True)
class Batch:
    """B clips; L text ids with start and stop, n codes."""

    prompt: Tensor  # (B, T, W)
    text: Tensor  # (B, L)
    text_mask: Tensor  # (B, L)
    codes: Tensor  # (B, n), padded with 0
    target: Tensor  # (B, n + 1), -100 where padded
    aligned: Tensor  # (B, n + 1) position in the text that each target belongs to, -1 where padded


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


class Collator:
    """Clips to padded batches; the prompt is speech of the same speaker, another clip where there is one."""

    def __init__(self, clips: list[EncodedClip]) -> None:
        self.of_speaker: dict[str, list[EncodedClip]] = defaultdict(list)
        for clip in clips:
            self.of_speaker[clip.speaker].append(clip)

    def prompt(self, clip: EncodedClip, num_frames: int, chance: random.Random) -> Tensor:
        others = [other for other in self.of_speaker[clip.speaker] if other.id != clip.id]
        features = chance.choice(others or [clip]).features
        while len(features) < num_frames:
            features = torch.cat([features, features])
        start = chance.randrange(len(features) - num_frames + 1)
        return features[start : start + num_frames].float()

    def __call__(self, clips: list[EncodedClip], chance: random.Random) -> Batch:
        num_frames = chance.choice(PROMPT_FRAMES)
        size = len(clips)
        num_text = round_up(max(len(clip.tokens) for clip in clips) + 2, 8)
        num_codes = round_up(max(len(clip.codes) for clip in clips) + 1, 32) - 1
        text = torch.full((size, num_text), dims.STOP_TEXT)
        text_mask = torch.zeros(size, num_text, dtype=torch.bool)
        codes = torch.zeros(size, num_codes, dtype=torch.long)
        target = torch.full((size, num_codes + 1), -100)
        aligned = torch.full((size, num_codes + 1), -1)
        for row, clip in enumerate(clips):
            end, length = len(clip.codes), len(clip.tokens)
            text[row, 0] = dims.START_TEXT
            text[row, 1 : length + 1] = clip.tokens.long()
            text_mask[row, : length + 2] = True
            codes[row, :end] = clip.codes.long()
            target[row, :end], target[row, end] = clip.codes.long(), dims.STOP_CODE
            aligned[row, :end], aligned[row, end] = clip.character.long(), length + 1
        prompt = torch.stack([self.prompt(clip, num_frames, chance) for clip in clips])
        return Batch(prompt, text, text_mask, codes, target, aligned)


def labels_of(clip: EncodedClip) -> list[int]:
    """Labels of the sounds in a text: no marks, no spaces, no punctuation."""
    letters = [alphabet()[token - len(SPECIAL)] for token in clip.tokens.tolist()]
    return [alphabet().index(c) + 2 for c in letters if c not in SILENT and c not in " ˈˌː"]
